"""Vocabularies of styles: the labels that an archive is scored against, in groups within which they compete.

A file is a protocol of zero-shot classification (`.yaml`; see `raclap.retrieval.protocol`; its `column` is not
needed), which is one group, or a list of labels, one a line (text, or a CSV whose first column they are):

    # what a line begins so is not read
    whispering
    vocal fry
    emotion:happy
    emotion:sad

A label GROUP:TAG belongs to that group, as the tags of a manifest do, any other to the group that is named after the
file. What a list holds is put into templates.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from raclap.console import named
from raclap.errors import RecipeError
from raclap.retrieval.protocol import TEMPLATE, Protocol, load_protocol, prompts_of_names

_PROTOCOLS, _TABLES = (".yaml", ".yml"), {".csv": ",", ".tsv": "\t"}
_HEADING = "label"


def read_vocabulary(files: Sequence[str], templates: Sequence[str] | None = None) -> tuple[Protocol, ...]:
    """Reads one or several files of labels.

    Args:
        files: `FILE` or `NAME=FILE` each; the name, or else that of the file, is the name of its group.
        templates: sentences with {} for the labels of lists; None takes `TEMPLATE`.

    Returns:
        The groups, each a protocol with the sentences of its labels.

    Raises:
        RecipeError: a file cannot be read or is empty, a label or a group comes twice, a group has one label alone, a
            template has no {} or no list that it is for; the message names file and label.
    """
    paths = [named(file)[1] for file in files]
    if templates is not None and all(path.suffix.lower() in _PROTOCOLS for path in paths):
        raise RecipeError("templates are for lists of labels; a protocol has its own sentences")
    groups: dict[str, Protocol] = {}
    for file, path in zip(files, paths, strict=True):
        for group in _groups(path, named(file)[0] or path.stem, (TEMPLATE,) if templates is None else templates):
            other = groups.setdefault(group.name, group)
            if other is not group:
                raise RecipeError(
                    f"{path}: the group '{group.name}' is in {other.origin} already; name one of them, as in "
                    f"NAME={path}"
                )
    return tuple(groups.values())


def _groups(path: Path, name: str, templates: Sequence[str]) -> list[Protocol]:
    if path.suffix.lower() in _PROTOCOLS:
        protocol = load_protocol(path, needs_column=False)
        return [Protocol(name, protocol.column, protocol.prompts, about=protocol.about, origin=str(path))]
    labels: dict[str, list[str]] = {}
    for line in _lines(path):
        group, colon, tag = line.partition(":")
        if not colon:
            group, tag = name, line
        if not group.strip() or not tag.strip():
            raise RecipeError(f"{path}: '{line}' is no label; expected LABEL or GROUP:LABEL")
        if tag.strip() in labels.setdefault(group.strip(), []):
            raise RecipeError(f"{path}: the label '{line}' comes twice")
        labels[group.strip()].append(tag.strip())
    if not labels:
        raise RecipeError(f"{path}: no labels; expected one a line")
    return [_of_names(path, group, tags, templates) for group, tags in labels.items()]


def _of_names(path: Path, group: str, tags: Sequence[str], templates: Sequence[str]) -> Protocol:
    if len(tags) == 1:
        raise RecipeError(f"{path}: '{tags[0]}' is the one label of '{group}'; expected two or more to choose among")
    return Protocol(group, "", prompts_of_names(tags, templates, str(path)), origin=str(path))


def _lines(path: Path) -> list[str]:
    """What stands in the lines of a list, or in the first column of a table, without headings and remarks."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text; expected a protocol (.yaml) or labels, one a line") from error
    lines = text.splitlines()
    if delimiter := _TABLES.get(path.suffix.lower()):
        lines = [row[0] if row else "" for row in csv.reader(lines, delimiter=delimiter)]
        lines = lines[1:] if lines and lines[0].strip().lower() == _HEADING else lines
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
