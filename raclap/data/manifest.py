"""The manifest: one Parquet row a pair of clip and captions, the same for every corpus.

Downstream code reads manifests and knows no corpus. The audio root is stored in the Parquet metadata, relative to
the manifest where possible, so that a corpus folder can be moved as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raclap.errors import ManifestError
from raclap.files import replacing

SPLITS = ("train", "validation", "test")
_AUDIO_ROOT = b"raclap.audio_root"


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


def write_manifest(path: Path, pairs: Iterable[Pair], audio_root: Path) -> int:
    """Writes a manifest, whole or not at all.

    Args:
        path: the Parquet file to make.
        pairs: its rows.
        audio_root: the folder that `Pair.audio` is relative to.

    Returns:
        The number of rows.

    Raises:
        ManifestError: a row has an empty caption, an unknown split or an identifier already used.
    """
    rows = [_row(pair) for pair in pairs]
    root, home = Path(audio_root).resolve(), Path(path).resolve().parent
    stored = str(root.relative_to(home)) if root.is_relative_to(home) else str(root)
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({_AUDIO_ROOT: stored.encode()}))
    _check(table, path)
    with replacing(Path(path)) as beside:
        pq.write_table(table, beside, compression="zstd")
    return table.num_rows


def read_manifest(path: Path | str, audio_root: Path | str | None = None) -> "Manifest":
    """Reads and checks a manifest.

    Args:
        path: a Parquet file made by `write_manifest` or by hand after `SCHEMA`.
        audio_root: where the audio lies now; None takes what the manifest says.

    Raises:
        ManifestError: the file is missing or unreadable, or a column, row or value is not as `SCHEMA` says.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file ({error})") from error
    stored = (table.schema.metadata or {}).get(_AUDIO_ROOT, b".").decode()
    table = _check(_to_schema(table, path), path)
    root = Path(audio_root) if audio_root is not None else path.parent / stored
    return Manifest(table=table, audio_root=root.resolve(), path=path)


@dataclass(frozen=True)
class Manifest:
    """Checked rows and the folder their audio lies in. Selecting makes a new manifest; rows never change."""

    table: pa.Table
    audio_root: Path
    path: Path

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, row: int) -> Pair:
        return _pair(self.table.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.table.to_batches(max_chunksize=4096):
            yield from map(_pair, batch.to_pylist())

    def column(self, name: str) -> list[Any]:
        """Values of one column, in row order.

        Raises:
            ManifestError: there is no such column.
        """
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise ManifestError(f"{self.path}: no column '{name}'; the columns are {known}")
        return self.table.column(name).to_pylist()

    def caption_texts(self) -> list[list[str]]:
        """The sentences of each row, in row order."""
        return [[caption["text"] for caption in captions] for captions in self.column("captions")]

    def labels(self, name: str) -> list[str]:
        """One label a row, from a column or, where there is no such column, from the attributes.

        Raises:
            ManifestError: a row has no such label; the message names it.
        """
        is_column = name in self.table.column_names
        values = self.column(name) if is_column else [pair.attributes.get(name) for pair in self]
        if None in values:
            row = values.index(None)
            raise ManifestError(f"{self.path}: row {self.table['pair_id'][row].as_py()}: no label '{name}'")
        return [str(value) for value in values]

    def split(self, name: str) -> "Manifest":
        """Rows of one split; may be empty."""
        return self._with(self.table.filter(pc.equal(self.table["split"], name)))

    def rows(self, rows: Sequence[int]) -> "Manifest":
        """The named rows, in the order given."""
        return self._with(self.table.take(pa.array(rows, pa.int64())))

    def audio_path(self, pair: Pair) -> Path:
        """Where the recording of a pair lies.

        Raises:
            ManifestError: the path leaves the audio root.
        """
        path = (self.audio_root / pair.audio).resolve()
        if not path.is_relative_to(self.audio_root):
            raise ManifestError(
                f"{self.path}: row {pair.pair_id}: audio '{pair.audio}' leaves the audio root {self.audio_root}"
            )
        return path

    def _with(self, table: pa.Table) -> "Manifest":
        return Manifest(table, self.audio_root, self.path)


def _row(pair: Pair) -> dict[str, Any]:
    row = {f.name: getattr(pair, f.name) for f in fields(pair)}
    row["captions"] = [{"text": c.text, "names": None if c.names is None else list(c.names)} for c in pair.captions]
    row["attributes"] = [{"name": name, "value": value} for name, value in pair.attributes.items()]
    row["tags"] = list(pair.tags)
    return row


def _pair(row: dict[str, Any]) -> Pair:
    captions = tuple(Caption(c["text"], None if c["names"] is None else tuple(c["names"])) for c in row["captions"])
    attributes = {a["name"]: a["value"] for a in row["attributes"] or ()}
    return Pair(**{**row, "captions": captions, "attributes": attributes, "tags": tuple(row["tags"] or ())})


def _to_schema(table: pa.Table, path: Path) -> pa.Table:
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


def _check(table: pa.Table, path: Path) -> pa.Table:
    for name in _REQUIRED:
        _refuse(pc.is_null(table[name]), table, path, f"column '{name}' is null")
    ids = table["pair_id"]
    if pc.count_distinct(ids).as_py() != len(ids):
        counts = pc.value_counts(ids.combine_chunks()).to_pylist()
        double = next(entry["values"] for entry in counts if entry["counts"] > 1)
        raise ManifestError(f"{path}: pair_id '{double}' stands in more than one row")
    known = pc.is_in(table["split"], value_set=pa.array(SPLITS))
    _refuse(pc.invert(known), table, path, f"split is not one of {', '.join(SPLITS)}")
    _refuse(pc.equal(pc.list_value_length(table["captions"]), 0), table, path, "no caption")
    _check_captions(table, path)
    return table


def _check_captions(table: pa.Table, path: Path) -> None:
    texts = pc.struct_field(pc.list_flatten(table["captions"]), "text")
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(pc.fill_null(texts, ""))), 0)
    if not pc.any(empty).as_py():
        return
    owners = pc.list_parent_indices(table["captions"])
    row = pc.filter(owners, empty)[0].as_py()
    raise ManifestError(f"{path}: row {row} ({table['pair_id'][row].as_py()}): empty caption")


def _refuse(bad: pa.ChunkedArray, table: pa.Table, path: Path, what: str) -> None:
    row = pc.index(pc.fill_null(bad, False), pa.scalar(True)).as_py()
    if row >= 0:
        raise ManifestError(f"{path}: row {row} ({table['pair_id'][row].as_py()}): {what}")
