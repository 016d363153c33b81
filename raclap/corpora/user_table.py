"""A table of your own: CSV, TSV, JSON, JSON lines or Parquet, one file or a folder of one kind of them.

Columns are told by their names (`raclap.corpora.column_names`) or named by `columns`. Paths of recordings start from
the folder of the table, or from `audio_root`.

Source: whatever users bring.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Unpack

from raclap.corpora.composition import MEASURED
from raclap.corpora.listing import CorpusListing, Entry, audio_folder, describe, parse_rows
from raclap.corpora.pair_columns import PairColumns, PairOptions
from raclap.corpora.splits import split_of_path
from raclap.corpora.tables import read_table
from raclap.errors import ManifestError

_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".json")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    captions: int = 0,
    delimiter: str | None = None,
    measured: tuple[str, ...] = tuple(MEASURED),
    remaps: Mapping[str, str] = {},
    workers: int | None = None,
    **options: Unpack[PairOptions],
) -> Iterable[Entry]:
    """Reads the rows of a table.

    Args:
        root: the table, or a folder whose tables are all of one kind, such as Parquet shards; the name of a shard, or
            of its folder, tells the split where no column does.
        skip_bad: list bad rows instead of stopping at the first.
        audio_root: which folder the paths of recordings start from; None: that of the table.
        captions: compose so many captions a clip, from its attributes and from what is measured; 0 reads captions.
        delimiter: between the columns of a text table; None: a tab for .tsv, else a comma.
        measured: which of pitch, speed and volume composed captions may name; `none`: none of them.
        remaps: replacements of leading folders of paths, tried in order.
        workers: processes that measure; None takes one a core.
        **options: see `PairColumns`.

    Raises:
        ManifestError: a table is not of its kind, or a row not as its columns say.
        RecipeError: an option contradicts another or names what there is not.
    """
    root = Path(root)
    home = audio_folder(root, audio_root)
    # Tables are written with the absolute paths of the machine at hand, too.
    remaps = {**remaps, str(home.resolve()): ""}
    columns = PairColumns(root, ("captions",) if captions else (), remaps=remaps, **options)
    entries = _entries(root, columns, delimiter, skip_bad)
    if not captions:
        return entries
    listing = CorpusListing.of(entries)
    return describe(listing, home, measured=measured, captions=captions, skip_bad=skip_bad, workers=workers)


def _entries(root: Path, columns: PairColumns, delimiter: str | None, skip_bad: bool) -> Iterator[Entry]:
    for table in _tables(root):
        name = table.relative_to(root.parent if table == root else root).with_suffix("").as_posix()
        rows = map(columns.settle, read_table(table, delimiter=delimiter))
        yield from parse_rows(rows, partial(columns.pair, split=split_of_path(name)), skip_bad)


def _tables(root: Path) -> list[Path]:
    """The tables below a folder, in order of their paths; a table by itself."""
    if not root.is_dir():
        return [root]
    found = {suffix: sorted(root.rglob(f"[!.]*{suffix}")) for suffix in _SUFFIXES}
    kinds = [suffix for suffix in _SUFFIXES if found[suffix]]
    if len(kinds) != 1:
        there = f"tables of several kinds ({', '.join(kinds)})" if kinds else f"no table ({', '.join(_SUFFIXES)})"
        raise ManifestError(f"{root}: {there}; expected those of one kind, or the path of a table")
    return found[kinds[0]]
