"""Protocols of zero-shot classification: which labels are classes, what is said of each, and on which rows.

A protocol is a YAML file, so that a figure can be repeated by naming it:

    about: one line, what is told apart
    source: where classes and splits are from
    split: test                      # rows that are classified, unless others are asked for
    column: emotion                  # a tag group, an attribute or a column of the manifest
    labels: {excited: happy}         # labels that are classes under other names
    leave_out: [other]               # labels that are no class; any label that is named nowhere is an error
    templates: ["A person speaking in a {} voice."]
    classes: {happy: [happy, joyful], sad: [sad]}

With `templates` the words of a class are put into each of them; without, `classes` hold whole sentences. Either way a
class is the mean direction of its sentences. Only `column` and `classes` are needed.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raclap.data.manifest import SPLITS
from raclap.errors import RecipeError
from raclap.settings_file import read_settings

PLACEHOLDER = "{}"
TEMPLATE = "A person speaking in a {} voice."
_KEYS = ("about", "source", "split", "column", "labels", "leave_out", "templates", "classes")


@dataclass(frozen=True)
class Protocol:
    """Classes, the sentences that stand for them, and where their labels are found.

    Attributes:
        name: by which results are told apart.
        column: tag group, attribute or column of the manifest.
        prompts: sentences of each class, in the order of the confusion matrix.
        labels: classes of the labels that have another name than their class.
        leave_out: labels that are no class.
        split: rows that are classified where nobody says otherwise.
        about: what is told apart.
        source: where classes and splits are from.
        origin: the file, for messages.
    """

    name: str
    column: str
    prompts: dict[str, tuple[str, ...]]
    labels: Mapping[str, str] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    split: str = "test"
    about: str = ""
    source: str = ""
    origin: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the confusion matrix."""
        return tuple(self.prompts)


def load_protocol(path: Path | str, needs_column: bool = True) -> Protocol:
    """Reads a protocol.

    Args:
        path: of the file.
        needs_column: False where no labels are looked up; `column` may then be missing and is "".

    Raises:
        RecipeError: the file cannot be read, or a key is unknown, written twice or not of the form above; a class or
            a word comes twice; a template has no place for a word.
    """
    path = Path(path)
    content = read_settings(path, "a protocol", RecipeError)
    for key in content:
        if key not in _KEYS:
            raise RecipeError(f"{path}: unknown key '{key}'{near(key, _KEYS)}; the keys are {', '.join(_KEYS)}")
    column = content.get("column", None if needs_column else "")
    if not isinstance(column, str) or (needs_column and not column):
        raise RecipeError(f"{path}: 'column' must name the tag group, attribute or column that holds the labels")
    split = content.get("split", "test")
    if split not in SPLITS:
        raise RecipeError(f"{path}: split: '{split}'; expected one of {', '.join(SPLITS)}")
    prompts = _prompts(path, content)
    labels, leave_out = _labels(path, content, prompts)
    return Protocol(
        name=path.stem,
        column=column,
        prompts=prompts,
        labels=labels,
        leave_out=leave_out,
        split=split,
        about=_line(path, content, "about"),
        source=_line(path, content, "source"),
        origin=str(path),
    )


def protocol_of_values(
    column: str, values: Iterable[str], templates: Sequence[str] = (TEMPLATE,), split: str = "test"
) -> Protocol:
    """The protocol whose classes are the values of a column, each put into the templates.

    Args:
        column: tag group, attribute or column of the manifest.
        values: the classes; underscores are read as spaces.
        templates: sentences with a place for a value.
        split: rows that are classified.

    Raises:
        RecipeError: a template has no place for a value, or values are the same but for case, spaces or hyphens.

    Example:
        >>> protocol_of_values("emotion", ["sad", "angry"]).prompts["angry"]
        ('A person speaking in an angry voice.',)
    """
    origin = f"--column {column}"
    about = f"The values of '{column}' as classes."
    prompts = prompts_of_names(sorted(set(values)), templates, origin)
    return Protocol(column, column, prompts, split=split, about=about, origin=origin)


def prompts_of_names(names: Sequence[str], templates: Sequence[str], origin: str) -> dict[str, tuple[str, ...]]:
    """Sentences of classes that are told by their names alone.

    Args:
        names: the classes; underscores are read as spaces.
        templates: sentences with a place for a name.
        origin: where the names are from, for messages.

    Raises:
        RecipeError: a template has no place for a name, or names are the same but for case, spaces or hyphens.
    """
    _check_templates(origin, templates)
    words = {name: (name.replace("_", " "),) for name in names}
    _check_distinct(origin, words)
    return _filled(templates, words)


def fill(template: str, word: str) -> str:
    """Puts a word into a template; "a" before the place becomes "an" before a vowel.

    Example:
        >>> fill("In a {} voice.", "old"), fill("In a {} voice.", "deep")
        ('In an old voice.', 'In a deep voice.')
    """
    if word[:1].lower() in ("a", "e", "i", "o", "u"):
        template = re.sub(r"\b([aA]) \{\}", r"\1n {}", template)
    return template.replace(PLACEHOLDER, word)


def near(name: str, known: Iterable[str]) -> str:
    """A suggestion for a name that is not known, or nothing."""
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""


def _prompts(path: Path, content: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    classes, templates = content.get("classes"), content.get("templates")
    if not isinstance(classes, dict) or len(classes) < 2:
        raise RecipeError(f"{path}: 'classes' must hold at least two classes, each with a list of words or sentences")
    sentences = {name: _sentences(path, name, value) for name, value in classes.items()}
    _check_distinct(str(path), sentences)
    if templates is not None:
        if not _are_texts(templates) or not templates:
            raise RecipeError(f"{path}: templates: expected a list of sentences with {PLACEHOLDER}, at least one")
        _check_templates(f"{path}: templates", templates)
        return _filled(templates, sentences)
    for name, texts in sentences.items():
        if any(PLACEHOLDER in text for text in texts):
            raise RecipeError(f"{path}: classes.{name}: {PLACEHOLDER} is for 'templates', which this protocol has not")
    return sentences


def _sentences(path: Path, name: Any, value: Any) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise RecipeError(f"{path}: classes.{name}: YAML reads this name as {type(name).__name__}; put it in quotes")
    if not _are_texts(value) or not value:
        raise RecipeError(f"{path}: classes.{name}: expected a list of words or sentences, at least one, none empty")
    return tuple(value)


def _labels(path: Path, content: dict[str, Any], prompts: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    labels, leave_out = content.get("labels", {}), content.get("leave_out", [])
    if not isinstance(labels, dict) or not _are_texts([*labels, *labels.values()]):
        raise RecipeError(f"{path}: labels: expected a class for each label, as in {{excited: happy}}")
    if not _are_texts(leave_out):
        raise RecipeError(f"{path}: leave_out: expected a list of labels, as in [other]")
    for label, name in labels.items():
        if name not in prompts:
            raise RecipeError(f"{path}: labels.{label}: '{name}' is no class{near(name, prompts)}")
    for key, names in (("labels", list(labels)), ("leave_out", leave_out)):
        for name in names:
            if name in prompts:
                raise RecipeError(f"{path}: {key}: '{name}' is a class already")
    both = sorted(set(labels) & set(leave_out))
    if both:
        raise RecipeError(f"{path}: '{both[0]}' is both in 'labels' and in 'leave_out'")
    return labels, tuple(leave_out)


def _line(path: Path, content: dict[str, Any], key: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise RecipeError(f"{path}: {key}: expected text, not {type(value).__name__}")
    return " ".join(value.split())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)


def _check_templates(where: str, templates: Sequence[str]) -> None:
    for template in templates:
        if PLACEHOLDER not in template:
            raise RecipeError(f"{where}: '{template}' has no {PLACEHOLDER} for the word to stand in")


def _check_distinct(where: str, words: Mapping[str, Sequence[str]]) -> None:
    """Classes, or words of them, that are the same cannot be told apart."""
    classes: dict[str, str] = {}
    for name in words:
        other = classes.setdefault(_plain(name), name)
        if other != name:
            raise RecipeError(
                f"{where}: the classes '{other}' and '{name}' are the same but for case, spaces or hyphens"
            )
    owners: dict[str, str] = {}
    for name, texts in words.items():
        for text in texts:
            if (plain := _plain(text)) in owners:
                others = f"classes.{owners[plain]} and classes.{name} both have"
                whose = f"classes.{name} has twice" if owners[plain] == name else others
                raise RecipeError(f"{where}: {whose} '{text}'")
            owners[plain] = name


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text.casefold().strip(" .")))


def _filled(templates: Sequence[str], words: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(fill(template, word) for template in templates for word in texts) for name, texts in words.items()
    }
