"""The columns of an index's table: what every window has, what a manifest may say of it, and its vector.

Where the rows of a data set say more, an index has columns for that behind these.

A recording is told by its source and its name: two sources may name the same file, each with windows of its own. All
windows of a recording are written together, numbered from 0.

Shapes: D dimensions.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.archive.facts import ArchiveError
from raclap.archive.failures import first_line

_REQUIRED = {
    "recording": pa.string(),
    "root": pa.string(),
    "source": pa.string(),
    "window": pa.int32(),
    "windows": pa.int32(),
    "start": pa.float64(),
    "end": pa.float64(),
    "duration": pa.float32(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "sha256": pa.string(),
}
_DESCRIBED = {
    **dict.fromkeys(
        ("pair_id", "corpus", "split", "speaker", "sex", "age", "language", "emotion", "caption"), pa.string()
    ),
    "valence": pa.float32(),
    "arousal": pa.float32(),
    "row_end": pa.float64(),  # of the manifest's row; `end` is that of the window
    "dataset_row": pa.string(),  # address of its row in a data set
}
ROW_COLUMNS = (*_REQUIRED, *_DESCRIBED)  # all but the vector


def schema(dimensions: int, added: Iterable[pa.Field] = ()) -> pa.Schema:
    """The table's columns: what every row has, what a manifest may say (null where unknown), and the vector.

    Args:
        dimensions: D of the model.
        added: those that this index has for what data sets say.
    """
    required = [pa.field(name, kind, nullable=False) for name, kind in _REQUIRED.items()]
    described = [pa.field(name, kind) for name, kind in _DESCRIBED.items()]
    vector = pa.field("vector", pa.list_(pa.float16(), dimensions), nullable=False)
    return pa.schema([*required, *described, vector, *added])


def added_fields(table: pa.Schema, dimensions: int) -> tuple[pa.Field, ...] | None:
    """The columns that a table has beyond those of every index; None where it lacks some of these."""
    common = schema(dimensions)
    added = tuple(field for field in table if field.name not in common.names)
    return added if table == schema(dimensions, added) else None


def matrix(table: pa.Table, dimensions: int) -> np.ndarray:
    """The vectors of rows: (rows, D) float16."""
    column = table["vector"].combine_chunks()
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)


def whole_recordings(rows: pa.Table, wanted: pa.Schema, dimensions: int, path: str | Path) -> pa.Table:
    """Rows as the table takes them, in its columns and their order.

    Args:
        rows: columns of `schema`, in any order; what a manifest or data set may say can be left out, and so can
            `source`, where the root is the source.
        wanted: the table's columns.
        dimensions: D.
        path: of the index, for messages.

    Raises:
        ArchiveError: a column is missing or unknown, a recording is not whole, or a vector is not finite.
    """
    table = _conformed(rows, wanted, path)
    _refuse_parts(table, path)
    if not np.isfinite(matrix(table, dimensions)).all():
        raise ArchiveError(f"{path}: a vector is not finite, which no search could rank")
    return table


def _conformed(rows: pa.Table, wanted: pa.Schema, path: str | Path) -> pa.Table:
    if "source" not in rows.column_names and "root" in rows.column_names:
        rows = rows.append_column("source", rows["root"])
    unknown = sorted(set(rows.column_names) - set(wanted.names))
    missing = [name for name in (*_REQUIRED, "vector") if name not in rows.column_names]
    if unknown or missing:
        fault = f"does not know the column '{unknown[0]}'" if unknown else f"needs the column '{missing[0]}'"
        raise ArchiveError(f"{path}: the index {fault}; its columns are {', '.join(wanted.names)}")
    for name in wanted.names:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), wanted.field(name).type))
    try:
        return rows.select(wanted.names).cast(wanted)
    except (pa.ArrowException, ValueError) as error:
        raise ArchiveError(f"{path}: rows do not fit the index ({first_line(error)})") from error


def _refuse_parts(table: pa.Table, path: str | Path) -> None:
    """Rows must be all windows of their recordings, numbered from 0."""
    counts = [("window", "count_distinct"), ("window", "count"), ("window", "max"), ("windows", "min")]
    groups = table.group_by(["source", "root", "recording"]).aggregate(counts)
    windows = groups["windows_min"]
    parts = [
        pc.not_equal(groups["window_count_distinct"], windows),
        pc.not_equal(groups["window_count"], windows),
        pc.not_equal(pc.add(groups["window_max"], 1), windows),
    ]
    partial = groups.filter(pc.or_(parts[0], pc.or_(parts[1], parts[2])))
    if len(partial):
        name = partial["recording"][0].as_py()
        raise ArchiveError(f"{path}: '{name}' is to be added in part; a recording is added with all its windows")
