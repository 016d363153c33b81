"""What the rows of a data set say of their recordings, as columns of an index.

Texts, numbers, truth values and classes (by their names) are taken, one level of nesting is undone, and a name is put
into lower case, letters, digits and lines: `json.Speaker-ID` becomes `json_speaker_id`. A column that a manifest has,
too (`speaker`, `sex`, `caption`, ...), is that column, if what it holds fits. Where the index itself has a column of
the name (`duration`, `split`, ...), that of the data set gets `dataset_` before it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raclap.archive.columns import schema
from raclap.archive.sources import FACT_COLUMNS, Fact

_OF_DATASET = ("corpus", "split")  # what every row is told by its data set
_PREFIX = "dataset_"


@dataclass(frozen=True)
class RowColumn:
    """A column of the index, and where it comes from.

    Attributes:
        name: in the index.
        kind: text, number or truth value, as the index keeps it.
        path: the column of the data set, with the field in it where it is nested.
        classes: names of the numbers that it holds; none: it holds what it says.
    """

    name: str
    kind: pa.DataType
    path: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def values(self, rows: pa.Table, count: int) -> list[Fact]:
        """What rows say; None where they say nothing.

        Args:
            rows: of a data file, without recordings.
            count: of rows: a table without columns has none.

        Raises:
            pyarrow.ArrowInvalid: they hold something else than the column is known for.
        """
        first, *below = self.path
        if first not in rows.column_names:
            return [None] * count
        column = rows[first]
        for field in below:
            column = pc.struct_field(column, field)
        if self.classes:
            known = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(self.classes)))
            column = pa.array(self.classes).take(pc.if_else(known, column, None).combine_chunks())
        column = column.cast(self.kind, safe=False)
        if pa.types.is_floating(self.kind):
            column = pc.if_else(pc.is_finite(column), column, None)
        return column.to_pylist()


@dataclass(frozen=True)
class DatasetColumns:
    """All columns that the rows of a data set fill.

    Attributes:
        corpus: what the data set is called.
        columns: of its rows.
    """

    corpus: str
    columns: tuple[RowColumn, ...]

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """Columns of the index, in the order of the facts."""
        own = [pa.field(name, pa.string()) for name in _OF_DATASET]
        return (*own, *(pa.field(column.name, column.kind) for column in self.columns))

    def facts(self, rows: pa.Table, split: str, count: int) -> Iterator[tuple[Fact, ...]]:
        """What is known of each row, in the order of `fields`.

        Args:
            rows, count: see `RowColumn.values`.
            split: that they are of.
        """
        known = [[value] * count for value in (self.corpus, split)]
        return zip(*known, *(column.values(rows, count) for column in self.columns), strict=True)


def columns_of(rows: pa.Schema, features: Mapping[str, Any]) -> tuple[RowColumn, ...]:
    """The columns of an index that rows can fill.

    Args:
        rows: their columns, without recordings.
        features: of `datasets`, by column.
    """
    index = {field.name: field.type for field in schema(1)}
    found: dict[str, RowColumn] = {}
    for path, kind, feature in _leaves(rows, features):
        classes = tuple(getattr(feature, "names", None) or ())
        kept = pa.string() if classes else _kept_as(kind)
        if kept is None or path[0].startswith("__"):  # keys and addresses of `datasets` and pandas
            continue
        name = re.sub(r"\W+", "_", "_".join(path)).strip("_").lower()
        if name in FACT_COLUMNS and name not in _OF_DATASET and _fits(kept, index[name]):
            kept = index[name]
        elif name in index or not name or name[0].isdigit():
            name = _PREFIX + name
        name = _unlike(name, found)
        found[name] = RowColumn(name, kept, path, classes)
    return tuple(found.values())


def _leaves(rows: pa.Schema, features: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], pa.DataType, Any]]:
    for field in rows:
        feature = features.get(field.name)
        if pa.types.is_struct(field.type):
            for own in field.type:
                nested = feature.get(own.name) if isinstance(feature, Mapping) else None
                yield (field.name, own.name), own.type, nested
        else:
            yield (field.name,), field.type, feature


def _kept_as(kind: pa.DataType) -> pa.DataType | None:
    """What an index keeps a value as; None for what no filter could ask for."""
    if pa.types.is_dictionary(kind):
        return _kept_as(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_boolean(kind):
        return pa.bool_()
    # A filter on whole numbers would not take `n > 2.5`, and what one file writes as 2 is 2.5 in another.
    return pa.float64() if pa.types.is_floating(kind) or pa.types.is_integer(kind) else None


def _fits(kind: pa.DataType, wanted: pa.DataType) -> bool:
    return kind == wanted or (pa.types.is_floating(kind) and pa.types.is_floating(wanted))


def _unlike(name: str, others: Mapping[str, Any]) -> str:
    number, plain = 2, name
    while name in others:
        name, number = f"{plain}_{number}", number + 1
    return name
