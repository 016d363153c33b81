"""A folder of recordings with metadata.csv (.jsonl, .parquet) or, without it, with labels as names of folders.

This is the AudioFolder layout of Hugging Face `datasets`: `metadata.*` has a column `file_name`, which starts from the
folder that it lies in; there may be one in each of `train`, `validation` and `test`. Without metadata the name of the
folder that a recording lies in is its label, and captions are composed from it and from what is measured.

Source: https://huggingface.co/docs/datasets/audio_dataset
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Unpack

from raclap.corpora.composition import MEASURED
from raclap.corpora.listing import AUDIO_SUFFIXES, CorpusListing, Entry, describe, parse_rows
from raclap.corpora.pair_columns import PairColumns, PairOptions
from raclap.corpora.splits import split_of_path
from raclap.corpora.tables import Row, read_table
from raclap.errors import ManifestError, RecipeError

_METADATA = tuple(f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet"))
_CAPTIONS = 6
# What folders may be named after that is no way of speaking: it fills its column of the manifest alone.
_NO_STYLE = ("speaker", "language", "transcript", "split", "corpus")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    captions: int = 0,
    label: str = "emotion",
    measured: tuple[str, ...] = tuple(MEASURED),
    remaps: Mapping[str, str] = {},
    workers: int | None = None,
    **options: Unpack[PairOptions],
) -> Iterable[Entry]:
    """Reads the recordings that metadata name, or all there are.

    Args:
        root: the folder.
        skip_bad: list bad rows and recordings instead of stopping at the first.
        captions: compose so many captions a clip, from its attributes and from what is measured; 0 reads them from
            the metadata, and composes six where there is none.
        label: the attribute that names of folders tell, where there is no metadata, or `speaker`.
        measured: which of pitch, speed and volume composed captions may name; `none`: none of them.
        remaps: replacements of leading folders of paths, tried in order.
        workers: processes that measure; None takes one a core.
        **options: see `PairColumns`.

    Raises:
        ManifestError: there is no recording, or metadata is not as it should be.
        AudioError: a recording cannot be measured.
        RecipeError: an option contradicts another or names what there is not.
    """
    root = Path(root)
    tables = sorted(path for name in _METADATA for path in root.rglob(name))
    if tables:
        columns = PairColumns(root, ("captions",) if captions else (), remaps=remaps, **options)
        entries = _described_by_metadata(root, tables, columns, skip_bad)
        if not captions:
            return entries
    else:
        if remaps:
            raise RecipeError(f"remaps: {root} has no {' or '.join(_METADATA)}, so no paths")
        entries = _labelled_by_folder(root, label, options, skip_bad)
    return describe(
        CorpusListing.of(entries),
        root,
        measured=measured,
        captions=captions or _CAPTIONS,
        skip_bad=skip_bad,
        workers=workers,
    )


def _described_by_metadata(root: Path, tables: list[Path], columns: PairColumns, skip_bad: bool) -> Iterator[Entry]:
    for table, following in zip(tables, [*tables[1:], None], strict=True):
        if following is not None and table.parent == following.parent:
            raise ManifestError(f"{table.parent}: {table.name} and {following.name}; expected one of them")
        folder = table.parent.relative_to(root).as_posix()
        parse = partial(columns.pair, folder="" if folder == "." else f"{folder}/")
        yield from parse_rows(map(columns.settle, read_table(table)), parse, skip_bad)


def _labelled_by_folder(root: Path, label: str, options: PairOptions, skip_bad: bool) -> Iterator[Entry]:
    for name in ("columns", "caption_columns", "attributes"):
        if options.get(name):
            raise RecipeError(f"{name}: {root} has no {' or '.join(_METADATA)}, so no columns")
    attributes = () if label in _NO_STYLE else (label,)
    columns = PairColumns(root, ("captions",), columns={"audio": "path"}, attributes=attributes, **options)
    recordings = sorted(path for path in root.rglob("[!.]*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not recordings:
        raise ManifestError(
            f"{root}: no {' or '.join(_METADATA)} and no recording ({', '.join(AUDIO_SUFFIXES)}) below it"
        )
    rows = (_row(root, path.relative_to(root), label) for path in recordings)
    return parse_rows(map(columns.settle, rows), columns.pair, skip_bad)


def _row(root: Path, path: Path, label: str) -> Row:
    """What the path of a recording tells, as a row; no label in the root and in the folder of a split."""
    folder = path.parent.name
    known = None if folder == "" or split_of_path(folder) else folder
    return Row(root, path.as_posix(), {"path": path.as_posix(), label: known})
