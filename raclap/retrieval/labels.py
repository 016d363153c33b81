"""The labels of an evaluation: which rows of a manifest belong to which class of a protocol."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raclap.data.manifest import SCHEMA, Manifest
from raclap.data.tags import tag_entries
from raclap.errors import ManifestError
from raclap.retrieval.protocol import Protocol, near

# Text columns that hold a label of the clip rather than its name, its place or a sentence.
COLUMNS = ("corpus", "speaker", "sex", "age", "language", "emotion", "intensity", "licence")
_MOST_VALUES = 100


@dataclass(frozen=True)
class LabelledRows:
    """Rows that are of one class.

    Attributes:
        rows: their places, rising.
        labels: the class of each.
        left_out: number of the other rows by reason, commonest first.
    """

    rows: tuple[int, ...]
    labels: tuple[str, ...]
    left_out: dict[str, int]


def find_labels(manifest: Manifest, protocol: Protocol) -> LabelledRows:
    """Finds the class of each row. Rows of none or of several classes are left out and counted.

    Raises:
        ManifestError: no row has such a label; a label is named nowhere in the protocol; no row is of a class, or all
            are of one, so that there is nothing to tell apart. The message names file, row and label.
    """
    known = {name: name for name in protocol.prompts} | dict(protocol.labels)
    rows, classes, left_out = [], [], Counter()
    for row, labels in enumerate(_labels(manifest, protocol.column)):
        unknown = next((label for label in labels if label not in known and label not in protocol.leave_out), None)
        if unknown is not None:
            raise _unknown(manifest, row, unknown, protocol)
        found = {known[label] for label in labels if label in known}
        if len(found) == 1:
            rows.append(row)
            classes.append(found.pop())
        else:
            left_out[_reason(protocol.column, labels, len(found))] += 1
    present = sorted(set(classes))
    if len(present) < 2:
        what = f"only the class '{present[0]}' is" if present else "none of the classes is"
        raise ManifestError(
            f"{manifest.path}: {what} among the labels '{protocol.column}' of these {len(manifest)} rows: there is "
            f"nothing to tell apart ({protocol.origin})"
        )
    return LabelledRows(tuple(rows), tuple(classes), dict(left_out.most_common()))


def values_of(manifest: Manifest, column: str) -> tuple[str, ...]:
    """The labels that are found, sorted.

    Raises:
        ManifestError: no row has such a label, or there are so many that they are no classes.
    """
    values = sorted({label for labels in _labels(manifest, column) for label in labels})
    if not 2 <= len(values) <= _MOST_VALUES:
        number = f"one value alone, '{values[0]}'" if len(values) == 1 else f"{len(values)} values"
        raise ManifestError(f"{manifest.path}: '{column}' has {number}; expected 2 to {_MOST_VALUES} classes")
    return tuple(values)


def _labels(manifest: Manifest, column: str) -> Sequence[tuple[str, ...]]:
    """Labels of each row: its tags of that group, or its attribute; where no row has such, the column's value.

    Attributes come before columns: they hold words (`age` is "elderly") where some columns hold what the corpus has
    (64).
    """
    entries = tag_entries(manifest, column)
    if len(entries.rows):
        found: list[tuple[str, ...]] = [()] * len(manifest)
        for row, code in zip(entries.rows.tolist(), entries.codes.tolist(), strict=True):
            found[row] = (*found[row], entries.tags[code])
        return found
    if column in COLUMNS and manifest.has_values(column):
        return [() if value is None else (value,) for value in manifest.column(column)]
    raise _no_such(manifest, column)


def _reason(column: str, labels: Sequence[str], classes: int) -> str:
    if classes > 1:
        return "several classes"
    return f"'{column}' is {' and '.join(sorted(labels))}" if labels else f"no '{column}'"


def _unknown(manifest: Manifest, row: int, label: str, protocol: Protocol) -> ManifestError:
    known = [*protocol.prompts, *protocol.labels]
    return ManifestError(
        f"{manifest.path}: row {manifest[row].pair_id}: '{protocol.column}' is '{label}', which is no class"
        f"{near(label, known)}; the classes of {protocol.origin} are {', '.join(protocol.prompts)}: name '{label}' "
        f"under 'labels' or 'leave_out' there"
    )


def _no_such(manifest: Manifest, column: str) -> ManifestError:
    groups, attributes = set(), set()
    for table in manifest.tables(65_536, ["tags", "attributes"]):
        groups.update(tag.partition(":")[0] for tags in table["tags"].to_pylist() for tag in tags or () if ":" in tag)
        attributes.update(item["name"] for items in table["attributes"].to_pylist() for item in items or ())
    columns = {name for name in COLUMNS if manifest.has_values(name)}
    if column in SCHEMA.names and column not in COLUMNS:
        kind = "numbers" if pa.types.is_floating(SCHEMA.field(column).type) else "no labels"
        return ManifestError(
            f"{manifest.path}: the column '{column}' holds {kind}; {_listed(groups, attributes, columns)}"
        )
    return ManifestError(
        f"{manifest.path}: no row has a label '{column}'{near(column, groups | attributes | columns)}; "
        f"{_listed(groups, attributes, columns)}"
    )


def _listed(groups: set[str], attributes: set[str], columns: set[str]) -> str:
    named = (("tag groups", groups), ("attributes", attributes), ("columns", columns - attributes))
    return "there are the " + ", the ".join(f"{what} {', '.join(sorted(names))}" for what, names in named if names)
