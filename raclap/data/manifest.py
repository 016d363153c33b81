"""The manifest: one Parquet row a pair of clip and captions, the same for every corpus.

Downstream code reads manifests and knows no corpus. The audio root is stored in the Parquet metadata, relative to
the manifest where possible, so that a corpus folder can be moved as a whole.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raclap.data.manifest_files import AUDIO_ROOT, ManifestFiles, find_files
from raclap.data.mapped_table import mapped_table
from raclap.data.table_rows import TableRows
from raclap.errors import ManifestError
from raclap.files import replacing

SPLITS = ("train", "validation", "test")
_ROW_GROUP = 16_384
_IN_MEMORY = 250_000  # rows; more are mapped from a file
_FOLDERS = 4096  # whose place is kept in mind


@dataclass(frozen=True, slots=True)
class Caption:
    """One description of how a clip sounds.

    Attributes:
        text: the sentence.
        names: the attributes it speaks of (keys of `Pair.attributes`); None where the corpus does not say.
    """

    text: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One manifest row. Absent values are None.

    Attributes:
        pair_id: unique in the manifest.
        audio: path below the audio root, with forward slashes.
        captions: at least one.
        corpus: name of the corpus, the unit of the mixture.
        split: one of `SPLITS`.
        start, end: seconds into the recording; None means from its beginning, to its end.
        valence, arousal, dominance: on the scale of the corpus.
        attributes: known style attributes and their values, as text.
        style_key: clips with equal keys are interchangeable by style; None where unknown.
    """

    pair_id: str
    audio: str
    captions: tuple[Caption, ...]
    corpus: str
    split: str
    start: float | None = None
    end: float | None = None
    transcript: str | None = None
    speaker: str | None = None
    sex: str | None = None
    age: str | None = None
    language: str | None = None
    emotion: str | None = None
    intensity: str | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    style_key: str | None = None
    licence: str | None = None


# Attributes are a list of (name, value) rather than an Arrow map, which `datasets` cannot read.
SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("audio", pa.string(), nullable=False),
        pa.field(
            "captions",
            pa.list_(pa.struct([("text", pa.string()), ("names", pa.list_(pa.string()))])),
            nullable=False,
        ),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("transcript", pa.string()),
        ("speaker", pa.string()),
        ("sex", pa.string()),
        ("age", pa.string()),
        ("language", pa.string()),
        ("emotion", pa.string()),
        ("intensity", pa.string()),
        ("valence", pa.float64()),
        ("arousal", pa.float64()),
        ("dominance", pa.float64()),
        ("attributes", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
        ("tags", pa.list_(pa.string())),
        ("style_key", pa.string()),
        ("licence", pa.string()),
    ]
)
_REQUIRED = ("pair_id", "audio", "captions", "corpus", "split")


def write_manifest(path: Path, pairs: Iterable[Pair], audio_root: Path, *, moved_together: bool = False) -> int:
    """Writes a manifest, whole or not at all, in row groups: no more than one of them is held in memory.

    Args:
        path: the Parquet file to make.
        pairs: its rows, in any number.
        audio_root: the folder that `Pair.audio` is relative to.
        moved_together: whether a folder that is not below the manifest's will still be moved with it; one below is.

    Returns:
        The number of rows.

    Raises:
        ManifestError: a row has an empty caption, an unknown split or an identifier already used.
    """
    root, home = Path(audio_root).resolve(), Path(path).resolve().parent
    relative = moved_together or root.is_relative_to(home)
    stored = os.path.relpath(root, home) if relative else str(root)
    schema = SCHEMA.with_metadata({AUDIO_ROOT: stored.encode()})
    seen, count = SeenIds(), 0
    with replacing(Path(path)) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        pairs = iter(pairs)
        while group := list(itertools.islice(pairs, _ROW_GROUP)):
            table = check_rows(_table(group, schema, path), path, first_row=count)
            for pair in group:
                if not seen.add(pair.pair_id):
                    raise _used_twice(path, pair.pair_id)
            writer.write_table(table)
            count += len(group)
    return count


class SeenIds:
    """Remembers identifiers by 64 bits of their hash: of twenty million, two are confused once in 90,000 times.

    The newest are kept as a set, which takes some 100 bytes each; the others as a sorted array of 8 bytes each.
    """

    _NEWEST = 2**20

    def __init__(self) -> None:
        self._newest: set[int] = set()
        self._others = np.empty(0, np.int64)

    def add(self, pair_id: str) -> bool:
        """Notes an identifier; returns whether it is new."""
        code = hash(pair_id)
        if code in self._newest or self._is_among_others(code):
            return False
        self._newest.add(code)
        if len(self._newest) == self._NEWEST:
            newest = np.fromiter(self._newest, np.int64, len(self._newest))
            self._others = np.sort(np.concatenate([self._others, newest]))
            self._newest.clear()
        return True

    def _is_among_others(self, code: int) -> bool:
        if not len(self._others):
            return False
        place = int(np.searchsorted(self._others, code))
        return place < len(self._others) and int(self._others[place]) == code


def read_manifest(path: Path | str, audio_root: Path | str | None = None, split: str | None = None) -> "Manifest":
    """Reads and checks a manifest. Rows of a very large one are not held: see `mapped_table`.

    Args:
        path: a Parquet file made by `write_manifest` or by hand after `SCHEMA`, or a folder of `part-*.parquet`.
        audio_root: where the audio lies now; None takes what the manifest says.
        split: read and check the rows of this split alone; None: all.

    Raises:
        ManifestError: the file is missing or unreadable, or a column, row or value is not as `SCHEMA` says.
    """
    files = find_manifest(path, audio_root)
    if _count(files, split) > _IN_MEMORY:
        table = mapped_table(files, split or "all", SCHEMA, lambda: _checked(files, split))
    else:
        table = pa.concat_tables([SCHEMA.empty_table(), *_checked(files, split)])
    return Manifest(TableRows(table), files.audio_root, files.path)


def find_manifest(path: Path | str, audio_root: Path | str | None = None) -> ManifestFiles:
    """Finds the files of a manifest and checks their columns; rows are not read.

    Raises:
        ManifestError: as `read_manifest`, for what can be told without reading rows.
    """
    files = find_files(path, audio_root)
    for file, schema in files.schemas():
        to_schema(schema.empty_table(), file)
    return files


@dataclass(frozen=True)
class Manifest:
    """Checked rows and the folder their audio lies in. Selecting makes a new manifest; rows never change."""

    _rows: TableRows
    audio_root: Path
    path: Path

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        return _pair(self._rows[row])

    def __iter__(self) -> Iterator[Pair]:
        for table in self.tables(4096):
            yield from pairs_of(table)

    @property
    def table(self) -> pa.Table:
        """All rows as one table."""
        return self._rows.part(0, len(self))

    def tables(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows, so many at a time, or some of their columns: each table in one chunk."""
        return self._rows.tables(rows, columns)

    def column(self, name: str) -> list[Any]:
        """Values of one column, in row order.

        Raises:
            ManifestError: there is no such column.
        """
        self._check_name(name)
        return [value for table in self.tables(_ROW_GROUP, [name]) for value in table[name].to_pylist()]

    def distinct(self, name: str) -> set[Any]:
        """The values that are found in one column, without null.

        Raises:
            ManifestError: there is no such column.
        """
        self._check_name(name)
        found = (pc.unique(table[name]).to_pylist() for table in self.tables(_ROW_GROUP, [name]))
        return set().union(*found) - {None}

    def has_values(self, name: str) -> bool:
        """Whether a column is not null throughout.

        Raises:
            ManifestError: there is no such column.
        """
        self._check_name(name)
        return any(table[name].null_count < len(table) for table in self.tables(_ROW_GROUP, [name]))

    def caption_texts(self) -> list[list[str]]:
        """The sentences of each row, in row order."""
        return [[caption["text"] for caption in captions] for captions in self.column("captions")]

    def split(self, name: str) -> "Manifest":
        """Rows of one split; may be empty."""
        return self._with(self._rows.where("split", name))

    def rows(self, rows: Sequence[int] | np.ndarray) -> "Manifest":
        """The named rows, in the order given."""
        return self._with(self._rows.take(rows))

    def check_paths(self) -> None:
        """Looks at every audio path, without opening any.

        Raises:
            ManifestError: a path leaves the audio root.
        """
        for number, table in enumerate(self.tables(_ROW_GROUP, ["audio"])):
            # Only such paths can leave it, and links, which are followed when the recording is read.
            suspect = pc.match_substring_regex(table["audio"], r"^/|(^|/)\.\.(/|$)")
            for row in np.flatnonzero(suspect.to_numpy()).tolist():
                self.audio_path(self[number * _ROW_GROUP + row])

    def audio_path(self, pair: Pair) -> Path:
        """Where the recording of a pair lies.

        Raises:
            ManifestError: the path leaves the audio root.
        """
        folder, name = os.path.split(pair.audio)
        path = self._folder(folder) / name
        if name in ("", "..") or os.path.islink(path):  # noqa: PTH114 - Path raises where a folder may not be entered
            path = path.resolve()
        if not path.is_relative_to(self.audio_root):
            raise ManifestError(
                f"{self.path}: row {pair.pair_id}: audio '{pair.audio}' leaves the audio root {self.audio_root}"
            )
        return path

    def _folder(self, folder: str) -> Path:
        """A folder below the audio root, links followed; the same for all of its recordings, so looked at once."""
        if folder not in self._folders:
            if len(self._folders) == _FOLDERS:
                self._folders.clear()
            self._folders[folder] = (self.audio_root / folder).resolve()
        return self._folders[folder]

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Folders that were looked at."""
        return {}

    def _with(self, rows: TableRows) -> "Manifest":
        return Manifest(rows, self.audio_root, self.path)

    def _check_name(self, column: str) -> None:
        if column not in SCHEMA.names:
            raise ManifestError(f"{self.path}: no column '{column}'; the columns are {', '.join(SCHEMA.names)}")


def pairs_of(table: pa.Table) -> Iterator[Pair]:
    """Rows of a table that has the columns of `SCHEMA`."""
    return map(_pair, table.to_pylist())


def _table(pairs: Sequence[Pair], schema: pa.Schema, path: Path) -> pa.Table:
    """Pairs as rows, made column by column, which is several times as quick as row by row.

    Raises:
        ManifestError: a value is not of its column's type.
    """
    nested = {"captions": _captions, "attributes": _attributes}
    columns = []
    for column in schema:
        try:
            if column.name in nested:
                columns.append(nested[column.name](pairs, column.type))
            else:
                columns.append(pa.array([getattr(pair, column.name) for pair in pairs], column.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise ManifestError(f"{path}: column '{column.name}' holds what is not {column.type} ({error})") from error
    return pa.table(columns, schema=schema)


def _captions(pairs: Sequence[Pair], kind: pa.ListType) -> pa.ListArray:
    captions = [caption for pair in pairs for caption in pair.captions]
    values = [[caption.text for caption in captions], [caption.names for caption in captions]]
    return _lists([len(pair.captions) for pair in pairs], values, kind)


def _attributes(pairs: Sequence[Pair], kind: pa.ListType) -> pa.ListArray:
    items = [item for pair in pairs for item in pair.attributes.items()]
    values = [[name for name, _ in items], [value for _, value in items]]
    return _lists([len(pair.attributes) for pair in pairs], values, kind)


def _lists(lengths: Sequence[int], values: Sequence[Sequence[Any]], kind: pa.ListType) -> pa.ListArray:
    """Lists of structs, from the lengths of the lists and, for each field of the structs, its values end to end."""
    fields = list(kind.value_type)
    arrays = [pa.array(own, field.type) for own, field in zip(values, fields, strict=True)]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=fields), type=kind)


def _pair(row: dict[str, Any]) -> Pair:
    captions = tuple(Caption(c["text"], None if c["names"] is None else tuple(c["names"])) for c in row["captions"])
    attributes = {a["name"]: a["value"] for a in row["attributes"] or ()}
    return Pair(**{**row, "captions": captions, "attributes": attributes, "tags": tuple(row["tags"] or ())})


def to_schema(table: pa.Table, path: Path) -> pa.Table:
    """Adds absent optional columns as nulls and casts; unknown columns are errors, not silently dropped."""
    unknown = [name for name in table.column_names if name not in SCHEMA.names]
    if unknown:
        raise ManifestError(f"{path}: unknown column '{unknown[0]}'; the columns are {', '.join(SCHEMA.names)}")
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise ManifestError(f"{path}: missing column '{missing[0]}'")
    columns = []
    for column in SCHEMA:
        if column.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, column.type))
            continue
        try:
            columns.append(table[column.name].cast(column.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ManifestError(f"{path}: column '{column.name}' is not {column.type} ({error})") from error
    return pa.table(columns, schema=SCHEMA)


def _checked(files: ManifestFiles, split: str | None) -> Iterator[pa.Table]:
    """The rows of a manifest, some at a time, cast and checked; an identifier used twice is found at the end."""
    ids = _IdHashes(_count(files, split))
    for rows, file, first in files.batches(split):
        table = check_rows(to_schema(rows, file), file, first)
        if split is not None:
            table = table.filter(pc.equal(table["split"], split)).combine_chunks()
        ids.add(table["pair_id"])
        yield table
    twice = ids.twice()
    if len(twice):
        _refuse_twice(files, split, set(twice.tolist()))


def _count(files: ManifestFiles, split: str | None) -> int:
    return len(files) if split is None else files.count(split)


class _IdHashes:
    """Hashes of identifiers, 8 bytes each, by which those that may stand twice are found."""

    def __init__(self, count: int) -> None:
        self._hashes = np.empty(count, np.int64)
        self._added = 0

    def add(self, ids: pa.ChunkedArray) -> None:
        first, self._added = self._added, self._added + len(ids)
        self._hashes[first : self._added] = np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))

    def twice(self) -> np.ndarray:
        """Hashes that were added more than once; sorts in place."""
        hashes = self._hashes[: self._added]
        hashes.sort()
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _refuse_twice(files: ManifestFiles, split: str | None, suspects: set[int]) -> None:
    """Looks at identifiers with these hashes: two may share a hash and yet differ."""
    seen: set[str] = set()
    for rows, _, _ in files.batches(split, ["pair_id", "split"]):
        own = rows if split is None else rows.filter(pc.equal(rows["split"], split))
        for pair_id in own["pair_id"].cast(pa.string()).to_pylist():
            if hash(pair_id) in suspects:
                if pair_id in seen:
                    raise _used_twice(files.path, pair_id)
                seen.add(pair_id)


def _used_twice(path: Path, pair_id: str) -> ManifestError:
    return ManifestError(f"{path}: pair_id '{pair_id}' stands in more than one row")


def check_rows(table: pa.Table, path: Path, first_row: int | None = 0) -> pa.Table:
    """Checks what can be told of each row by itself.

    Args:
        table: rows with the columns of `SCHEMA`, in one chunk.
        path: where they lie, for errors.
        first_row: number of the first of them; None: not known.

    Raises:
        ManifestError: a value is not as it should be; the message names its row.
    """
    known = pc.is_in(table["split"], value_set=pa.array(SPLITS))
    checks = [(pc.is_null(table[name]), f"column '{name}' is null") for name in _REQUIRED]
    checks.append((pc.invert(known), f"split is not one of {', '.join(SPLITS)}"))
    checks.append((pc.equal(pc.list_value_length(table["captions"]), 0), "no caption"))
    for bad, what in checks:
        _refuse(bad, table, path, first_row, what)
    _check_captions(table, path, first_row)
    return table


def _check_captions(table: pa.Table, path: Path, first_row: int | None) -> None:
    texts = pc.struct_field(pc.list_flatten(table["captions"]), "text")
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(pc.fill_null(texts, ""))), 0)
    if not pc.any(empty).as_py():
        return
    owners = pc.list_parent_indices(table["captions"])
    row = pc.filter(owners, empty)[0].as_py()
    raise ManifestError(f"{path}: {_place(table, row, first_row)}: empty caption")


def _refuse(bad: pa.ChunkedArray, table: pa.Table, path: Path, first_row: int | None, what: str) -> None:
    row = pc.index(pc.fill_null(bad, False), pa.scalar(True)).as_py()
    if row >= 0:
        raise ManifestError(f"{path}: {_place(table, row, first_row)}: {what}")


def _place(table: pa.Table, row: int, first_row: int | None) -> str:
    pair_id = table["pair_id"][row].as_py()
    return f"row {pair_id}" if first_row is None else f"row {first_row + row} ({pair_id})"
