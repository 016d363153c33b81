"""The Parquet files of a manifest, and what they tell without their rows being held.

A manifest is one file, or a folder of files `part-*.parquet`, which are read one after the other as one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raclap.errors import ManifestError

AUDIO_ROOT = b"raclap.audio_root"  # key of the Parquet metadata

_BATCH = 16_384


class RowBatch(NamedTuple):
    """Some rows as they lie in a file, columns unchecked.

    Attributes:
        rows: the table.
        file: where they lie.
        first: number of the first of them in its file.
    """

    rows: pa.Table
    file: Path
    first: int


class _Group(NamedTuple):
    """One row group of one file."""

    file: Path
    number: int
    first: int
    size: int
    only_split: str | None  # where the file says that all rows are of one split


@dataclass(frozen=True)
class ManifestFiles:
    """Where the rows of a manifest lie.

    Attributes:
        path: the file or folder that was named.
        files: in the order of reading.
        audio_root: the folder that `audio` is relative to.
    """

    path: Path
    files: tuple[Path, ...]
    audio_root: Path

    def __len__(self) -> int:
        return sum(group.size for group in self._groups)

    def schemas(self) -> Iterator[tuple[Path, pa.Schema]]:
        """The columns of each file."""
        for file in self.files:
            yield file, _open(file).schema_arrow

    def count(self, split: str) -> int:
        """Rows of one split: from the metadata, or, where a row group holds several splits, from that one column."""
        return sum(
            group.size if group.only_split == split else self._count_in(group, split)
            for group in self._groups
            if group.only_split in (split, None)
        )

    def batches(self, split: str | None = None, columns: Sequence[str] | None = None) -> Iterator[RowBatch]:
        """Rows in order, some at a time.

        Args:
            split: leave out row groups that are known to hold no row of it; those left may hold others too.
            columns: those to read; one that a file does not have is left out; None reads all.

        Raises:
            ManifestError: a file is damaged.
        """
        for group in self._groups:
            if split is not None and group.only_split not in (split, None):
                continue
            file = _open(group.file)
            own = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
            first = group.first
            try:
                for batch in file.iter_batches(_BATCH, row_groups=[group.number], columns=own):
                    yield RowBatch(pa.Table.from_batches([batch]), group.file, first)
                    first += len(batch)
            except (pa.ArrowInvalid, OSError) as error:
                raise _unreadable(group.file, error) from error

    def distinct(self, column: str, split: str) -> set[str]:
        """The values of one column over the rows of a split, without null."""
        found: set[str] = set()
        for rows, _, _ in self.batches(split, ["split", column]):
            if column in rows.column_names:
                own = rows[column].filter(pc.equal(rows["split"], split))
                found.update(pc.unique(own).to_pylist())
        return found - {None}

    def has_values(self, column: str) -> bool:
        """Whether a column is there and, as far as the metadata tells, not null throughout."""
        for file in self.files:
            parquet = _open(file)
            if column not in parquet.schema_arrow.names:
                continue
            for number in range(parquet.num_row_groups):
                statistics = _statistics(parquet, number, column)
                if statistics is None or not statistics.has_null_count or statistics.num_values:
                    return True
        return False

    @cached_property
    def _groups(self) -> list[_Group]:
        groups = []
        for file in self.files:
            parquet, first = _open(file), 0
            for number in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(number).num_rows
                groups.append(_Group(file, number, first, size, _only_value(parquet, number, "split")))
                first += size
        return groups

    def _count_in(self, group: _Group, split: str) -> int:
        column = _open(group.file).read_row_group(group.number, columns=["split"])["split"]
        return pc.sum(pc.equal(column, split)).as_py() or 0


def find_files(path: Path | str, audio_root: Path | str | None = None) -> ManifestFiles:
    """Finds the files of a manifest.

    Args:
        path: a Parquet file, or a folder of `part-*.parquet`.
        audio_root: where the audio lies now; None takes what the files say.

    Raises:
        ManifestError: there is none, one cannot be read, or they name different audio roots.
    """
    path = Path(path)
    files = tuple(sorted(path.glob("part-*.parquet"))) if path.is_dir() else (path,)
    if not files:
        raise ManifestError(f"{path}: no such manifest: the folder holds no part-*.parquet")
    if not files[0].is_file():
        raise ManifestError(f"{path}: no such manifest")
    if audio_root is None:
        stored = {file: _stored_root(file) for file in files}
        audio_root = stored[files[0]]
        for file, other in stored.items():
            if other != audio_root:
                raise ManifestError(f"{file}: its audio root is {other}, that of {files[0].name} is {audio_root}")
    return ManifestFiles(path, files, Path(audio_root).resolve())


def _stored_root(file: Path) -> Path:
    metadata = _open(file).schema_arrow.metadata or {}
    return (file.parent / metadata.get(AUDIO_ROOT, b".").decode()).resolve()


def _open(file: Path) -> pq.ParquetFile:
    try:
        # Mapped: a row group made by other hands may be larger than memory.
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{file}: not a readable Parquet file ({error})")


def _only_value(file: pq.ParquetFile, group: int, column: str) -> str | None:
    """The one value of a column in a row group, if the metadata says that there is but one."""
    found = _statistics(file, group, column)
    if found is None or not (found.has_min_max and found.has_null_count):
        return None
    return found.min if found.min == found.max and not found.null_count else None


def _statistics(file: pq.ParquetFile, group: int, column: str) -> pq.Statistics | None:
    """What the metadata says of a column in a row group; nothing of one that is not there or holds lists."""
    chunks = file.metadata.row_group(group)
    places = {chunks.column(number).path_in_schema: number for number in range(chunks.num_columns)}
    return chunks.column(places[column]).statistics if column in places else None
