"""The store of an index: one LanceDB table, one row a window, beside the facts of `index.json`.

    INDEX/index.json           what made it (`facts`)
    INDEX/moments.lance        the table
    INDEX/unreadable.jsonl     recordings that could not be read, and why
    INDEX/.lock                held by the one who writes

A commit holds all windows of its recordings, so that an index whose writer was killed holds whole recordings. Whoever
opened the index before keeps seeing the version that was opened. The choice of LanceDB and its figures are in
docs/archive_store.md.

Shapes: N windows, D dimensions.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout
from lancedb.index import IvfPq

from raclap.archive.facts import ArchiveError, IndexFacts, facts_exist, is_address, read_facts, write_facts

_TABLE = "moments"
_LOCK = ".lock"
_BATCH = 65_536  # rows that are read at a time
_DELETED = 1_000  # recordings that one expression names
_LEAST_IVF_PQ = 256  # rows that an 8-bit product quantiser is trained on, at least
_NO_TIME = timedelta(milliseconds=1)  # LanceDB warns of less
_EXAMPLE = "sex = 'female' and duration > 3"
_NEAR = 0.5  # likeness of a column that may be meant
_SHOWN = 80  # characters of a filter in a message

_REQUIRED = {
    "recording": pa.string(),
    "root": pa.string(),
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
}
ROW_COLUMNS = (*_REQUIRED, *_DESCRIBED)  # all but the vector
_OF_RECORDING = ("recording", "root", "size", "mtime_ns", "sha256", "windows")


def schema(dimensions: int) -> pa.Schema:
    """The table's columns: what every row has, what a manifest may say (null where unknown), and the vector.

    Args:
        dimensions: D of the model.
    """
    required = [pa.field(name, kind, nullable=False) for name, kind in _REQUIRED.items()]
    described = [pa.field(name, kind) for name, kind in _DESCRIBED.items()]
    return pa.schema([*required, *described, pa.field("vector", pa.list_(pa.float16(), dimensions), nullable=False)])


class ArchiveIndex:
    """An index that is open: the rows of one version, until this object itself writes.

    Attributes:
        path: the folder, or an address of object storage.
        facts: what made it.
    """

    def __init__(self, path: str | Path, facts: IndexFacts, table: Any) -> None:
        self.path = path if is_address(path) else Path(path)
        self.facts = facts
        self._table = table

    @classmethod
    def create(cls, path: str | Path, facts: IndexFacts) -> Self:
        """Makes an empty index.

        Args:
            path: a folder that is new or empty, or an address such as `s3://bucket/index`.
            facts: what `index.json` is to say.

        Raises:
            ArchiveError: something else is there, or it cannot be written.
        """
        if facts_exist(path):
            raise ArchiveError(f"{path}: is an index already")
        if not is_address(path):
            _refuse_other_contents(Path(path))
        with _told(path):
            database = lancedb.connect(str(path))
            if _TABLE in database.list_tables().tables:  # an attempt that was cut off before it had its facts
                database.drop_table(_TABLE)
            table = database.create_table(_TABLE, schema=schema(facts.model.projection_dim))
            write_facts(path, facts)
        return cls(path, facts, table)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Opens an index as it is now.

        Raises:
            ArchiveError: it is missing, no index, damaged, or of another format version.
        """
        facts = read_facts(path)
        try:
            table = lancedb.connect(str(path)).open_table(_TABLE)
        except (ValueError, OSError, RuntimeError) as error:
            raise ArchiveError(f"{path}: its table {_TABLE}.lance cannot be opened ({_first_line(error)})") from error
        if table.schema != schema(facts.model.projection_dim):
            raise ArchiveError(f"{path}: its table {_TABLE}.lance has other columns than index.json stands for")
        return cls(path, facts, table)

    @property
    def version(self) -> int:
        """Number of the version that is open; every commit makes the next."""
        return self._table.version

    @property
    def columns(self) -> tuple[str, ...]:
        """What a filter can name."""
        return ROW_COLUMNS

    @property
    def dimensions(self) -> int:
        """D."""
        return self.facts.model.projection_dim

    @cached_property
    def windows(self) -> int:
        """N, the rows."""
        return self._table.count_rows()

    def recordings(self) -> pa.Table:
        """One row a recording: recording, root, size, mtime_ns, sha256 and windows."""
        with self._reading():
            return self._table.search().where("window = 0").select(list(_OF_RECORDING)).to_arrow()

    def rows(self, ids: Sequence[int] | np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by their position in the version that is open.

        Args:
            ids: positions from 0, in any order, also more than once.
            columns: those wanted; left out: all but the vector.
        """
        wanted = list(ROW_COLUMNS if columns is None else columns)
        distinct, place = np.unique(np.asarray(ids, np.int64), return_inverse=True)
        if not len(distinct):
            return schema(self.dimensions).empty_table().select(wanted)
        with self._reading():  # comes in the order of the table
            found = self._table.take_offsets(distinct.tolist()).select(wanted).to_arrow()
        return found.take(pa.array(place))

    def vectors_of(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Vectors of rows by their position: (rows, D) float16."""
        return _matrix(self.rows(ids, ["vector"]), self.dimensions)

    def vector_blocks(self) -> Iterator[np.ndarray]:
        """All vectors in order, some rows at a time: (rows, D) float16."""
        with self._reading():
            for batch in self._table.search().select(["vector"]).to_batches(batch_size=_BATCH):
                yield _matrix(pa.Table.from_batches([batch]), self.dimensions)

    def vectors(self) -> np.ndarray:
        """All vectors: (N, D) float16, 2·N·D bytes of memory."""
        whole = np.empty((self.windows, self.dimensions), np.float16)
        filled = 0
        for block in self.vector_blocks():
            whole[filled : filled + len(block)] = block
            filled += len(block)
        return whole

    def where(self, expression: str | None) -> np.ndarray | None:
        """Positions of the rows that a filter holds for, ascending: (rows,) int64.

        Args:
            expression: a condition in SQL on `columns`, such as `sex = 'female' and duration > 3`; None: every row,
                which is told by None.

        Raises:
            ArchiveError: it is no condition, or names a column that there is not.
        """
        if expression is None:
            return None
        _refuse_other_sql(expression)
        try:
            # LanceDB forgives, and forgets, what stands after a condition; in parentheses nothing can stand there
            found = _row_ids(self._table.search().where(f"({expression})"))
        except (ValueError, RuntimeError) as error:
            raise ArchiveError(f'--where "{_short(expression)}": {_complaint(str(error))}') from error
        return np.sort(self._positions(found))

    def approximately_nearest(self, query: np.ndarray, k: int, probes: int, refine_factor: int) -> np.ndarray:
        """Positions of the rows that LanceDB's IVF-PQ finds for a query, at most k: (rows,) int64.

        Args:
            query: (D,) float32.
            k: rows wanted.
            probes: cells that are read.
            refine_factor: candidates a wanted row that are ranked again by their stored vectors.
        """
        with self._reading():
            search = self._table.search(query, vector_column_name="vector").distance_type("cosine").nprobes(probes)
            found = _row_ids(search.refine_factor(refine_factor).limit(k), "_distance")
        return self._positions(found)

    def build_ivf_pq(self, partitions: int) -> None:
        """Builds LanceDB's approximate index anew, over all vectors; D / 8 bytes a row.

        Args:
            partitions: cells of the coarse quantiser.

        Raises:
            ArchiveError: there are too few windows for it, or it cannot be written.
        """
        if self.windows < _LEAST_IVF_PQ:
            raise ArchiveError(f"{self.path}: an approximate search is built from {_LEAST_IVF_PQ} windows on")
        settings = IvfPq(
            distance_type="cosine", num_partitions=partitions, num_sub_vectors=max(1, self.dimensions // 8)
        )
        with _told(self.path):
            self._table.create_index("vector", config=settings, replace=True)
        self._forget()

    def _positions(self, row_ids: np.ndarray) -> np.ndarray:
        """Positions of LanceDB's own numbers of rows."""
        ids, order = self._row_ids
        return order[np.searchsorted(ids, row_ids)]

    @cached_property
    def _row_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """LanceDB's own numbers of the rows, sorted, and the position of each."""
        with self._reading():
            found = _row_ids(self._table.search())
        order = np.argsort(found, kind="stable")
        return found[order], order

    def append(self, rows: pa.Table) -> None:
        """Adds whole recordings in one commit: all of their windows are there afterwards, or none.

        Args:
            rows: columns of `schema`, in any order; what a manifest may say can be left out.

        Raises:
            ArchiveError: a column is missing or unknown, a recording is not whole, a vector is not finite, or the
                index cannot be written; it is then as before.
        """
        table = self._conformed(rows)
        _refuse_parts(table, self.path)
        if not np.isfinite(_matrix(table, self.dimensions)).all():
            raise ArchiveError(f"{self.path}: a vector is not finite, which no search could rank")
        with _told(self.path):
            self._table.add(table)
        self._forget()

    def remove(self, recordings: Sequence[str], root: str | None = None) -> None:
        """Drops all windows of these recordings.

        Args:
            recordings: their names.
            root: that they lie below; None: whichever.

        Raises:
            ArchiveError: the index cannot be written.
        """
        below = "" if root is None else " AND root = '" + root.replace("'", "''") + "'"
        for first in range(0, len(recordings), _DELETED):
            names = ", ".join("'" + name.replace("'", "''") + "'" for name in recordings[first : first + _DELETED])
            with _told(self.path):
                self._table.delete(f"recording IN ({names}){below}")
        self._forget()

    def compact(self, keep: timedelta = timedelta(0)) -> None:
        """Merges small files and deletes versions older than `keep`.

        Who opened the index before reads on in what it holds in memory only, and is told to open it again.

        Raises:
            ArchiveError: the index cannot be written.
        """
        with _told(self.path):
            self._table.optimize(cleanup_older_than=max(keep, _NO_TIME))
        self._forget()

    def keep_facts(self, facts: IndexFacts) -> None:
        """Replaces what `index.json` says.

        Raises:
            ArchiveError: it cannot be written.
        """
        with _told(self.path):
            write_facts(self.path, facts)
        self.facts = facts

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the index against a second indexer; readers do not wait. Object storage has no such lock.

        Raises:
            ArchiveError: another process writes it, or the folder cannot be written.
        """
        if is_address(self.path):
            yield
            return
        lock = FileLock(self.path / _LOCK)
        with _told(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise ArchiveError(f"{self.path}: is being written by another raclap index") from error
        try:
            yield
        finally:
            lock.release()

    def _forget(self) -> None:
        """What was known of the former version."""
        for name in ("windows", "_row_ids"):
            self.__dict__.pop(name, None)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tells a reader whose version was cleaned away so."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if "not found" in str(error).lower():
                raise ArchiveError(f"{self.path}: was compacted since it was opened; open it again") from error
            raise ArchiveError(f"{self.path}: cannot be read ({_first_line(error)})") from error

    def _conformed(self, rows: pa.Table) -> pa.Table:
        """The rows with the table's columns in the table's order."""
        wanted = schema(self.dimensions)
        unknown = sorted(set(rows.column_names) - set(wanted.names))
        missing = [name for name in (*_REQUIRED, "vector") if name not in rows.column_names]
        if unknown or missing:
            fault = f"does not know the column '{unknown[0]}'" if unknown else f"needs the column '{missing[0]}'"
            raise ArchiveError(f"{self.path}: the index {fault}; its columns are {', '.join(wanted.names)}")
        for name in _DESCRIBED:
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(len(rows), wanted.field(name).type))
        try:
            return rows.select(wanted.names).cast(wanted)
        except (pa.ArrowException, ValueError) as error:
            raise ArchiveError(f"{self.path}: rows do not fit the index ({_first_line(error)})") from error


def _row_ids(query: Any, column: str = "window") -> np.ndarray:
    """LanceDB's own numbers of the rows that a query finds: (rows,) uint64. It wants a column to be read, too."""
    batches = query.select([column]).with_row_id(True).to_batches(batch_size=_BATCH)
    found = [batch["_rowid"].to_numpy() for batch in batches]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _matrix(table: pa.Table, dimensions: int) -> np.ndarray:
    """The vectors of rows: (rows, D) float16."""
    column = table["vector"].combine_chunks()
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)


def _refuse_other_contents(folder: Path) -> None:
    """An index is made where nothing is, or where a former attempt was cut off before it had its facts."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: is a file; an index is a folder")
    other = sorted(path.name for path in folder.iterdir() if path.name not in {f"{_TABLE}.lance", _LOCK})
    if other:
        raise ArchiveError(f"{folder}: holds something else ('{other[0]}'); name a new or empty folder")


def _refuse_parts(table: pa.Table, path: str | Path) -> None:
    """Rows must be all windows of their recordings, numbered from 0."""
    counts = [("window", "count_distinct"), ("window", "count"), ("window", "max"), ("windows", "min")]
    groups = table.group_by("recording").aggregate(counts)
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


def _refuse_other_sql(expression: str) -> None:
    """Refuses what is more or less than one condition, so that it can stand in parentheses."""
    bare = re.sub(r"'(?:[^']|'')*'", "", expression)
    depth, least = 0, 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        least = min(least, depth)
    statement = re.match(r"\s*(select|insert|update|delete|drop|create|alter|with|where|set)\s", bare, re.IGNORECASE)
    more = any(sign in bare for sign in (";", "--", "/*", "'"))
    if not bare.strip() or more or depth or least or statement:
        raise ArchiveError(f'--where "{_short(expression)}": is no single condition, as {_EXAMPLE} is one')


def _complaint(message: str) -> str:
    """What LanceDB found wrong with a filter, in a sentence of ours."""
    unknown = re.search(r"No field named (.+?)\. Valid", message)
    if not unknown:
        return f"is no filter, as {_EXAMPLE} is one ({_reason(message)})"
    name = unknown.group(1).strip('"`')
    near = get_close_matches(name.lower(), ROW_COLUMNS, n=1, cutoff=_NEAR)
    meant = f"did you mean '{near[0]}'? The columns" if near else "they"
    return f"there is no column '{_short(name)}'; {meant} are {', '.join(ROW_COLUMNS)}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Tells what keeps an index from being written in one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        message = str(error)
        causes = {
            "No space left": "the disk is full",
            "File too large": "a file grew over the limit of this system",
            "Disk quota": "the disk quota is used up",
            "Permission denied": "the folder is read-only for this user",
            "Operation not permitted": "the folder is read-only for this user",
            "Read-only file system": "the file system is read-only",
        }
        cause = next((told for sign, told in causes.items() if sign in message), _first_line(error))
        raise ArchiveError(f"{path}: cannot be written, {cause}; the index is as before") from error


def _first_line(error: Exception) -> str:
    return _reason(str(error))


def _reason(message: str) -> str:
    """The first line of a message, without the place in LanceDB's source."""
    return re.sub(r",? ?/\S+\.rs:\d+:\d+", "", message.strip().partition("\n")[0])[:200]
