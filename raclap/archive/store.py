"""The store of an index: one LanceDB table, one row a window, beside the facts of `index.json`.

    INDEX/index.json           what made it (`facts`)
    INDEX/moments.lance        the table
    INDEX/unreadable.jsonl     recordings that could not be read, and why
    INDEX/.lock, .commit       held by the one who writes, and by the process that commits

A commit holds all windows of its recordings, and drops their former ones: an index whose writer was killed holds whole
recordings, each as it was or as it is (`commits`). Whoever opened the index before keeps seeing the version that was
opened. In object storage there are no locks, and a commit that drops and adds is two: a writer that is killed between
leaves recordings out until the next run. The choice of LanceDB and its figures are in docs/archive_store.md.

Shapes: N windows, D dimensions.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import lancedb
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from lancedb.index import IvfRq

from raclap.archive.address import is_address
from raclap.archive.columns import added_fields, matrix, schema, whole_recordings
from raclap.archive.commits import COMMIT_LOCK, committing, compact, open_committed, start_commits
from raclap.archive.facts import FACTS_STEM, ArchiveError, IndexFacts, facts_exist, read_facts, write_facts
from raclap.archive.failures import first_line, told
from raclap.archive.filters import in_parentheses, quoted, refused

_TABLE = "moments"
_LOCK = ".lock"
_BATCH = 65_536  # rows that are read at a time
_DELETED = 4_000  # recordings that one expression names
_LEAST_IVF = 256  # rows that LanceDB trains a cell on, at least
_MULTIPLE = 8  # of dimensions, whose codes are packed in bytes
_ITERATIONS, _SAMPLE = 20, 64  # of k-means, and rows a cell that it sees: recall of the library's 50 and 256, sooner
_OF_RECORDING = ("recording", "root", "source", "size", "mtime_ns", "sha256", "windows")


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
        _refuse_other_contents(path)
        with _alone(path, is_there=False), told(path, is_there=False):
            _refuse_other_contents(path)  # now that nobody else can make one there
            database = lancedb.connect(str(path))
            if _TABLE in database.list_tables().tables:  # an attempt that was cut off before it had its facts
                database.drop_table(_TABLE)
            table = database.create_table(_TABLE, schema=schema(facts.model.projection_dim))
            if not is_address(path):
                start_commits(table)
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
            if not is_address(path):
                open_committed(table)
        except (ValueError, OSError, RuntimeError) as error:
            raise ArchiveError(f"{path}: its table {_TABLE}.lance cannot be opened ({first_line(error)})") from error
        if added_fields(table.schema, facts.model.projection_dim) is None:
            raise ArchiveError(f"{path}: its table {_TABLE}.lance has other columns than index.json stands for")
        return cls(path, facts, table)

    @property
    def version(self) -> int:
        """Number of the version that is open; every commit makes the next."""
        return self._table.version

    @property
    def columns(self) -> tuple[str, ...]:
        """What a filter can name."""
        return tuple(name for name in self.schema.names if name != "vector")

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns of the table: those of every index, and those for what data sets say."""
        return self._table.schema

    @property
    def added_columns(self) -> tuple[str, ...]:
        """Those for what data sets say, which not every index has."""
        return tuple(field.name for field in added_fields(self.schema, self.dimensions) or ())

    @property
    def dimensions(self) -> int:
        """D."""
        return self.facts.model.projection_dim

    @cached_property
    def windows(self) -> int:
        """N, the rows."""
        return self._table.count_rows()

    def recordings(self) -> pa.Table:
        """One row a recording: recording, root, source, size, mtime_ns, sha256 and windows."""
        with self._reading():
            return self._table.search().where("window = 0").select(list(_OF_RECORDING)).to_arrow()

    def rows(self, ids: Sequence[int] | np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by their position in the version that is open.

        Args:
            ids: positions from 0, in any order, also more than once.
            columns: those wanted; left out: all but the vector.
        """
        wanted = list(self.columns if columns is None else columns)
        distinct, place = np.unique(np.asarray(ids, np.int64), return_inverse=True)
        if not len(distinct):
            return self.schema.empty_table().select(wanted)
        with self._reading():  # comes in the order of the table
            found = self._table.take_offsets(distinct.tolist()).select(wanted).to_arrow()
        return found.take(pa.array(place))

    def vectors_of(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Vectors of rows by their position: (rows, D) float16."""
        return matrix(self.rows(ids, ["vector"]), self.dimensions)

    def vector_blocks(self) -> Iterator[np.ndarray]:
        """All vectors in order, some rows at a time: (rows, D) float16."""
        with self._reading():
            for batch in self._table.search().select(["vector"]).to_batches(batch_size=_BATCH):
                yield matrix(pa.Table.from_batches([batch]), self.dimensions)

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
        condition = in_parentheses(expression)
        try:
            found = _row_ids(self._table.search().where(condition))
        except (ValueError, RuntimeError) as error:
            raise refused(expression, str(error), self.columns) from error
        return np.sort(self._positions(found))

    def approximately_nearest(self, query: np.ndarray, k: int, probes: int, refine_factor: int) -> np.ndarray:
        """Positions of the rows that LanceDB's IVF-RQ finds for a query, at most k: (rows,) int64.

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

    @property
    def can_be_approximate(self) -> bool:
        """Whether LanceDB can build an approximate search over vectors of this length."""
        return self.dimensions % _MULTIPLE == 0

    def build_ivf_rq(self, partitions: int) -> None:
        """Builds LanceDB's approximate index anew, over all vectors; about D / 8 bytes a row.

        Args:
            partitions: cells of the coarse quantiser.

        Raises:
            ArchiveError: there are too few windows for it, their dimensions are no multiple of 8, or it cannot be
                written.
        """
        if self.windows < _LEAST_IVF:
            raise ArchiveError(f"{self.path}: an approximate search is built from {_LEAST_IVF} windows on")
        if not self.can_be_approximate:
            raise ArchiveError(
                f"{self.path}: an approximate search takes vectors of a multiple of {_MULTIPLE} dimensions, not "
                f"{self.dimensions}; it stays exact"
            )
        settings = IvfRq(
            distance_type="cosine", num_partitions=partitions, max_iterations=_ITERATIONS, sample_rate=_SAMPLE
        )
        with self._commit():
            self._table.create_index("vector", config=settings, replace=True)

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
            rows: see `renew`.

        Raises:
            ArchiveError: see `renew`.
        """
        self.renew((), rows)

    def remove(self, recordings: Sequence[str], source: str | None = None) -> None:
        """Drops all windows of these recordings, in one commit.

        Args:
            recordings: their names.
            source: that they are of; None: whichever.

        Raises:
            ArchiveError: the index cannot be written; it is then as before.
        """
        with self._commit():
            self._delete(recordings, source)

    def renew(self, former: Sequence[tuple[str, str]], rows: pa.Table | None) -> None:
        """Drops recordings and adds others, in one commit: readers see all of it, or nothing.

        Args:
            former: source and name of recordings whose windows are dropped, where there are any.
            rows: all windows of the recordings that are added, in columns of `schema`, in any order; what a manifest
                may say can be left out, and so can `source`, where the root is the source. None: nothing is added.

        Raises:
            ArchiveError: a column is missing or unknown, a recording is not whole, a vector is not finite, or the
                index cannot be written; it is then as before.
        """
        table = None if rows is None else whole_recordings(rows, self.schema, self.dimensions, self.path)
        with self._commit():
            for source, keys in itertools.groupby(sorted(former), key=lambda key: key[0]):
                self._delete([name for _, name in keys], source)
            if table is not None:
                self._table.add(table)

    def _delete(self, recordings: Sequence[str], source: str | None) -> None:
        of_source = "" if source is None else f" AND source = {quoted(source)}"
        for first in range(0, len(recordings), _DELETED):
            names = ", ".join(map(quoted, recordings[first : first + _DELETED]))
            self._table.delete(f"recording IN ({names}){of_source}")

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Makes room for what the rows of a data set say; rows that are there know nothing of it.

        Args:
            fields: columns; those that the index has already stay as they are.

        Raises:
            ArchiveError: a column of that name holds something else, or the index cannot be written.
        """
        there = self.schema
        new = [field for field in fields if field.name not in there.names]
        for field in fields:
            if field not in new and there.field(field.name).type != field.type:
                raise ArchiveError(
                    f"{self.path}: its column '{field.name}' holds {there.field(field.name).type}, that of the data "
                    f"set {field.type}; name another index"
                )
        if new:
            with self._commit():
                self._table.add_columns(new)

    def compact(self, keep: timedelta = timedelta(0)) -> None:
        """Merges small files and deletes versions older than `keep`.

        Who opened the index before reads on in what it holds in memory only, and is told to open it again.

        Raises:
            ArchiveError: the index cannot be written.
        """
        with self._writing():
            compact(self._table, None if is_address(self.path) else self.path, keep)

    def keep_facts(self, facts: IndexFacts) -> None:
        """Replaces what `index.json` says.

        Raises:
            ArchiveError: it cannot be written.
        """
        with told(self.path):
            write_facts(self.path, facts)
        self.facts = facts

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the index against a second indexer; readers do not wait. Object storage has no such lock.

        Raises:
            ArchiveError: another process writes it, or the folder cannot be written.
        """
        with _alone(self.path):
            yield

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """What the block does to the table is done as a whole; in object storage, step by step."""
        with self._writing(), nullcontext() if is_address(self.path) else committing(self._table, self.path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Tells what goes wrong, and forgets what was known of the former version."""
        try:
            with told(self.path):
                yield
        finally:
            for name in ("schema", "windows", "_row_ids"):
                self.__dict__.pop(name, None)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tells a reader whose version was cleaned away so."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if "not found" in str(error).lower():
                raise ArchiveError(
                    f"{self.path}: was compacted since it was opened (open it again), or files of it are missing"
                ) from error
            raise ArchiveError(f"{self.path}: cannot be read ({first_line(error)})") from error


def _row_ids(query: Any, column: str = "window") -> np.ndarray:
    """LanceDB's own numbers of the rows that a query finds: (rows,) uint64. It wants a column to be read, too."""
    batches = query.select([column]).with_row_id(True).to_batches(batch_size=_BATCH)
    found = [batch["_rowid"].to_numpy() for batch in batches]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


@contextmanager
def _alone(path: str | Path, is_there: bool = True) -> Iterator[None]:
    """Holds an index, or the folder that is to be one, against other indexers."""
    if is_address(path):
        yield
        return
    with told(path, is_there):
        Path(path).mkdir(parents=True, exist_ok=True)
        lock = FileLock(Path(path) / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ArchiveError(f"{path}: is being written by another raclap index") from error
    try:
        yield
    finally:
        lock.release()


def _refuse_other_contents(path: str | Path) -> None:
    """An index is made where nothing is, or where a former attempt was cut off before it had its facts."""
    if facts_exist(path):
        raise ArchiveError(f"{path}: is an index already")
    folder = Path(path)
    if is_address(path) or not folder.exists():
        return
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: is a file; an index is a folder")
    own = {f"{_TABLE}.lance", _LOCK, COMMIT_LOCK}
    names = sorted(entry.name for entry in folder.iterdir())
    other = [name for name in names if name not in own and not name.startswith(f".{FACTS_STEM}-")]
    if other:
        raise ArchiveError(f"{folder}: holds something else ('{other[0]}'); name a new or empty folder")
