"""A data set of the Hub by its name, or a folder that `datasets` saved or can load, read as a stream.

Rows may hold their recordings (a column of the feature `Audio`), which are written below `extract_to`, or paths, which
start from `audio_root`. Nothing is decoded, and no code of a data set is run.

Source: https://huggingface.co/docs/datasets/loading
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from raclap.corpora.composition import MEASURED
from raclap.corpora.extraction import audio_suffix, write_audio
from raclap.corpora.listing import CorpusListing, Entry, audio_folder, describe, parse_rows
from raclap.corpora.pair_columns import PairColumns, PairOptions
from raclap.corpora.tables import Row, below_root
from raclap.data.manifest import Pair
from raclap.errors import AudioError, ManifestError, RecipeError

_ROWS = 16  # at a time: each may hold minutes of audio
_IN_A_FOLDER = 1000
# What `save_to_disk` leaves in a folder.
SAVED = ("dataset_dict.json", "state.json")
# How files in archives are addressed.
_ARCHIVES = ("zip://", "tar://", "gzip://", "bz2://", "xz://", "zstd://", "lz4://")
_FAILURES = (OSError, ValueError, RuntimeError, ImportError, TypeError, KeyError, pa.ArrowException)


def failures() -> tuple[type[Exception], ...]:
    """What `datasets`, pyarrow, the Hub's client and the system raise where something cannot be loaded or read."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    return (*_FAILURES, DatasetsError, HTTPError)


class _Row(Row):
    """A row, with its split and number.

    Args:
        root: the data set.
        split: as the data set calls it.
        number: in the split, from 0.
        values: by column.
    """

    __slots__ = ("number", "split")

    def __init__(self, root: Path, split: str, number: int, values: Mapping[str, Any]):
        super().__init__(root, f"split {split}, row {number + 1}", values)
        self.split = split
        self.number = number


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    captions: int = 0,
    config: str = "",
    extract_to: Path | None = None,
    measured: tuple[str, ...] = tuple(MEASURED),
    revision: str = "",
    remaps: Mapping[str, str] = {},
    workers: int | None = None,
    **options: Unpack[PairOptions],
) -> Iterable[Entry]:
    """Reads every split, row by row.

    Args:
        root: a name on the Hub, or a folder.
        skip_bad: list bad rows instead of stopping at the first.
        audio_root: which folder the paths of recordings start from; None: the root.
        captions: compose so many captions a clip, from its attributes and from what is measured; 0 reads captions.
        config: of the data set, where it has several.
        extract_to: folder that recordings are written below, where rows or the Hub hold them.
        measured: which of pitch, speed and volume composed captions may name; `none`: none of them.
        revision: of a data set on the Hub.
        remaps: replacements of leading folders of paths, tried in order.
        workers: processes that measure; None takes one a core.
        **options: see `PairColumns`.

    Raises:
        ManifestError: the data set cannot be loaded, or a row is not as its columns say.
        RecipeError: an option contradicts another or names what there is not.
    """
    root = Path(root)
    if extract_to and audio_root:
        raise RecipeError("extract_to and audio_root: expected one of them, since all audio lies below one folder")
    home = Path(extract_to) if extract_to else audio_folder(root, audio_root)
    named = options.get("columns", {})
    splits = _load(root, config, revision)
    if named.keys().isdisjoint(("audio", "path")):
        options["columns"] = {**named, **_audio_column(splits)}
    remaps = {**remaps, str(home.resolve()): ""}
    columns = PairColumns(root, ("captions",) if captions else (), remaps=remaps, **options)
    parse = partial(_extracted, root, home, columns) if extract_to else partial(_in_place, home, columns)
    rows = (columns.settle(row) for split, dataset in splits.items() for row in _rows(root, split, dataset))
    entries = parse_rows(rows, parse, skip_bad)
    if not captions:
        return entries
    listing = CorpusListing.of(entries)
    return describe(listing, home, measured=measured, captions=captions, skip_bad=skip_bad, workers=workers)


def _load(root: Path, config: str, revision: str) -> dict[str, Any]:
    """The data set's splits by name."""
    import datasets

    try:
        if any((root / name).is_file() for name in SAVED):
            loaded = datasets.load_from_disk(str(root))
        else:
            path = str(root.resolve() if root.is_dir() else root)
            loaded = datasets.load_dataset(path, config or None, revision=revision or None, streaming=True)
    except failures() as error:
        raise ManifestError(f"{root}: cannot be loaded as a data set ({first_line(error)})") from error
    return dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}


def _audio_column(splits: Mapping[str, Any]) -> dict[str, str]:
    """The one column of the feature `Audio` as a named column; nothing where there is none, or more."""
    import datasets

    features = next(iter(splits.values())).features or {}
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    return {"audio": found[0]} if len(found) == 1 else {}


def _rows(root: Path, split: str, dataset: Any) -> Iterator[_Row]:
    import datasets

    classes = {
        name: feature.names
        for name, feature in (dataset.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    number = 0
    try:
        # Tables of Arrow, and not rows: `datasets` would want torchcodec to be there, even to decode nothing.
        for table in dataset.with_format("arrow").iter(batch_size=_ROWS):
            for values in table.to_pylist():
                yield _Row(root, split, number, _flat(values, classes))
                number += 1
    except failures() as error:
        raise ManifestError(
            f"{root}: split {split}, after row {number}: cannot be read ({first_line(error)})"
        ) from error


def _flat(values: Mapping[str, Any], classes: Mapping[str, list[str]]) -> dict[str, Any]:
    """A row without nesting: `json: {caption}` becomes `json.caption`, and the number of a class its name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and not value.keys() <= {"bytes", "path"}:
            flat.update({f"{name}.{inner}": own for inner, own in value.items()})
        elif name in classes and value is not None:
            flat[name] = classes[name][value] if value >= 0 else None
        else:
            flat[name] = value
    return flat


def _in_place(home: Path, columns: PairColumns, row: _Row) -> Pair:
    """The pair of a row whose recording lies below the audio root."""
    column = columns.audio_column
    value = row.raw(column)
    if isinstance(value, bytes) or (isinstance(value, Mapping) and value.get("bytes") is not None):
        raise row.error(f"column '{column}' holds the recording itself; --extract-to names a folder to write it to")
    path = None
    if isinstance(value, Mapping):
        path = below_root(value.get("path") or "", {str(home.resolve()): ""})
        if path is None or "://" in value["path"]:
            raise row.error(
                f"column '{column}' is '{value.get('path')}', which is not below {home}; --extract-to names a folder "
                "to write it to"
            )
    return columns.pair(row, path, split=columns.split_named(row.split))


def _extracted(root: Path, home: Path, columns: PairColumns, row: _Row) -> Pair:
    """The pair of a row whose recording is written below a folder."""
    column = columns.audio_column
    value = row.raw(column)
    if not isinstance(value, bytes | Mapping):
        raise row.error(f"column '{column}' holds no recording; paths start from --audio-root")
    contents, name = (value, None) if isinstance(value, bytes) else (value.get("bytes"), value.get("path"))
    contents = _fetch(root, row, name) if contents is None else contents
    suffix = audio_suffix(name, contents)
    if suffix is None:
        raise row.error(f"neither its name ('{name}') nor its first bytes tell what audio column '{column}' holds")
    folder, number = divmod(row.number, _IN_A_FOLDER)
    pair = columns.pair(row, f"{row.split}/{folder:05d}/{number:03d}{suffix}", split=columns.split_named(row.split))
    write_audio(home, pair.audio, contents)
    return pair


def _fetch(root: Path, row: Row, path: str | None) -> bytes:
    try:
        return fetch_recording(root, path)
    except AudioError as error:
        raise row.error(f"its recording {error}") from error


def fetch_recording(root: Path, path: str | None) -> bytes:
    """The recording that a row names: on the Hub, or below the root, and nowhere else.

    Args:
        root: the data set's folder.
        path: below it, or an address on the Hub; `zip://a.wav::hf://datasets/...` is a file in an archive.

    Raises:
        AudioError: it lies elsewhere, or cannot be read.
    """
    import fsspec

    *inside, source = (path or "").split("::")  # where the archive lies is last
    on_hub = source.startswith("hf://datasets/")
    below = "://" not in source and (root / source).resolve().is_relative_to(root.resolve())
    # Any other scheme in front would be opened in the place of what follows it.
    in_archive = all(step.startswith(_ARCHIVES) for step in inside)
    if not source or not in_archive or not (on_hub or below):
        raise AudioError(f"'{path}' is neither on the Hub nor below {root}")
    try:
        if on_hub or source != path:
            with fsspec.open(path, "rb") as file:
                return file.read()
        return (root / source).read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"'{path}' cannot be read ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """The first line of a message, or what kind of error it is."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
