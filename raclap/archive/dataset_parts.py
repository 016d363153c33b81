"""The data files of a data set: their rows, in units, with or without the recordings in them.

What an index has already need not be read again, so rows are looked at without their recordings first: of Parquet,
which holds each column by itself, nothing else is read then; of Arrow files on this machine neither. Whatever else the
library `datasets` can read is streamed, recordings and all. Nothing is decoded, and no code of a data set is run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from raclap.archive.dataset_address import RowAddress

_UNIT_ROWS = 1_000  # of a file that has no units of its own
_ROWS = 16  # read at a time: each may hold minutes of audio
_LOOKED_AT = 2**18  # bytes that are fetched at once where names are wanted
_READ = 2**23  # where recordings are


@dataclass(frozen=True)
class Unit:
    """Rows that are read together.

    Attributes:
        first: number of the first, in the part.
        rows: of all columns but the recordings.
        paths: what the data set calls the recordings; None where it does not.
        are_files: whether a recording is known to be a file of its own, which its path names.
        row_bytes: of a recording, about.
        recordings: reads what the column holds, in the order of the rows: bytes, paths, or both as a mapping.
    """

    first: int
    rows: pa.Table
    paths: list[str | None]
    are_files: list[bool]
    row_bytes: int
    recordings: Callable[[], Iterator[Any]]


class Part(Protocol):
    """A data file of a split, or all of them where they cannot be told apart.

    Attributes:
        split: as the data set calls it.
        name: of the file, for messages.
        version: another number where the file is another.
        is_divisible: whether units can be read by themselves; if not, reading one reads those before it.
    """

    split: str
    name: str
    version: int
    is_divisible: bool

    def units(self) -> Iterator[Unit]:
        """All rows, in order."""

    def address(self, row: int) -> RowAddress:
        """Where the recording of a row is."""


@dataclass(frozen=True)
class _FilePart:
    """A file whose rows can be reached one by one.

    Attributes:
        file: its path or address.
        column: of recordings.
    """

    split: str
    name: str
    version: int
    file: str
    column: str
    is_divisible: bool = field(default=True, init=False)

    def address(self, row: int) -> RowAddress:
        """The file and the row."""
        return RowAddress(self.file, self.column, row)


@dataclass(frozen=True)
class ParquetPart(_FilePart):
    """A Parquet file, on this machine or on the Hub."""

    def units(self) -> Iterator[Unit]:
        """A unit a row group."""
        first, reading = 0, cache(partial(open_parquet, self.file))
        with open_parquet(self.file, _LOOKED_AT) as file:
            kind = file.schema_arrow.field(self.column).type
            wanted = [name for name in file.schema_arrow.names if name != self.column]
            if is_recording(kind) or _is_text(kind):
                wanted.append(f"{self.column}.path" if is_recording(kind) else self.column)
            for group in range(file.num_row_groups):
                held = file.metadata.row_group(group)
                table = file.read_row_group(group, columns=wanted)
                has_paths = self.column in table.column_names
                paths = _paths(table[self.column]) if has_paths else [None] * held.num_rows
                rows = table.drop_columns([self.column]) if has_paths else table
                size = held.total_byte_size // max(1, held.num_rows)
                read = partial(self._recordings, reading, group)
                are_files = [_is_text(kind) and path is not None for path in paths]
                yield Unit(first, rows, paths, are_files, size, read)
                first += held.num_rows

    def _recordings(self, opened: Callable[[], pq.ParquetFile], group: int) -> Iterator[Any]:
        for batch in opened().iter_batches(_ROWS, row_groups=[group], columns=[self.column]):
            yield from batch.column(0).to_pylist()


@dataclass(frozen=True)
class ArrowPart(_FilePart):
    """A file that `save_to_disk` wrote, mapped into memory."""

    def units(self) -> Iterator[Unit]:
        """A unit some rows."""
        yield from _units(open_arrow(self.file), self.column)


@dataclass(frozen=True)
class StreamedPart:
    """Rows that the library `datasets` streams.

    Attributes:
        rows: an `IterableDataset` of the part alone.
        place: address of the data set, without a row.
        column: of recordings.
        is_divisible: whether its rows are paths alone, which cost nothing to pass over.
    """

    split: str
    name: str
    version: int
    rows: Any
    place: RowAddress
    column: str
    is_divisible: bool

    def units(self) -> Iterator[Unit]:
        """A unit a few rows."""
        first = 0
        for table in tables_of(self.rows):
            for unit in _units(table, self.column, first):
                yield unit
                first += len(unit.paths)

    def address(self, row: int) -> RowAddress:
        """The part and the row."""
        return RowAddress(self.place.file, self.column, row, self.place.part)


def open_parquet(file: str, block_bytes: int = _READ) -> pq.ParquetFile:
    """Opens a file on this machine, or on the Hub, of which no more is fetched than is read.

    Args:
        file: its path or address.
        block_bytes: that are fetched at once.
    """
    if "://" not in file:
        return pq.ParquetFile(file, buffer_size=block_bytes)
    import huggingface_hub

    remote = huggingface_hub.HfFileSystem().open(file, block_size=block_bytes)
    return pq.ParquetFile(remote, buffer_size=block_bytes, pre_buffer=False)


def open_arrow(file: str) -> pa.Table:
    """The table of an Arrow stream file, mapped into memory."""
    return ipc.open_stream(pa.memory_map(file)).read_all()


def tables_of(rows: Any) -> Iterator[pa.Table]:
    """A few rows of an `IterableDataset` at a time.

    Tables of Arrow, and not rows: `datasets` would want torchcodec to be there, even to decode nothing. One by one,
    since of the last sample of a tar archive it puts the columns into another order, and cannot join that to others.
    """
    singles = rows.with_format("arrow").iter(batch_size=1)
    while held := list(islice(singles, _ROWS)):
        yield pa.concat_tables(held, promote_options="default")


def is_recording(kind: pa.DataType) -> bool:
    """Whether a column holds recordings as `datasets` keeps them, bytes and path, whatever it takes them for."""
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def holds_recordings(kind: pa.DataType) -> bool:
    """Whether a column can hold recordings: bytes, paths, or both."""
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return is_recording(kind) or is_bytes or _is_text(kind)


def _units(table: pa.Table, column: str, first: int = 0) -> Iterator[Unit]:
    """Units of a table that holds the recordings, too."""
    for begin in range(0, len(table), _UNIT_ROWS):
        part = table.slice(begin, _UNIT_ROWS)
        held = part[column]
        paths = _paths(held)
        if is_recording(held.type):
            has_bytes = pc.struct_field(held, "bytes").is_valid().to_pylist()
        else:
            has_bytes = [not _is_text(held.type)] * len(part)
        are_files = [path is not None and not inside for path, inside in zip(paths, has_bytes, strict=True)]
        rows = part.drop_columns([column])
        yield Unit(first + begin, rows, paths, are_files, part.nbytes // len(part), partial(_values, held))


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    for begin in range(0, len(column), _ROWS):
        yield from column.slice(begin, _ROWS).to_pylist()


def _paths(column: pa.ChunkedArray) -> list[str | None]:
    if pa.types.is_struct(column.type):
        return pc.struct_field(column, "path").to_pylist()
    return column.to_pylist() if _is_text(column.type) else [None] * len(column)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
