"""WebDataset shards: tar archives of KEY.wav (or .flac, .mp3, ...) beside KEY.json or KEY.txt.

Root is a shard, a folder of shards, or a pattern such as `voices/{000..009}.tar`. The files of a key follow one
another; fields of KEY.json are columns, and so is the text of KEY.txt, called `txt`. Recordings are written below
`extract_to`, in a folder for each shard.

Source: https://github.com/webdataset/webdataset
"""

import itertools
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from raclap.corpora.composition import MEASURED
from raclap.corpora.extraction import write_audio
from raclap.corpora.json_tables import read_object
from raclap.corpora.listing import AUDIO_SUFFIXES, CorpusListing, Entry, describe, parse_rows
from raclap.corpora.pair_columns import PairColumns, PairOptions
from raclap.corpora.splits import split_of_path
from raclap.corpora.tables import Row, below_root
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

_SHARDS = (".tar", ".tar.gz", ".tgz")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_BYTES = 2**31


class _Member(NamedTuple):
    """A file of a shard: its key, its suffix behind the first dot, its name and its contents, or what is wrong."""

    key: str
    suffix: str
    name: str
    contents: bytes | str


class _Sample(Row):
    """The files of one key: columns from texts, and recordings.

    Args:
        shard: the archive.
        key: that the files share.
        members: those files.
    """

    __slots__ = ("problem", "recordings")

    def __init__(self, shard: Path, key: str, members: Iterable[_Member]):
        values: dict[str, Any] = {}
        self.problem = ""
        self.recordings: list[_Member] = []
        for member in members:
            if isinstance(member.contents, str):
                self.problem = f"'{member.name}' is {member.contents}"
            elif f".{member.suffix.rpartition('.')[2]}" in AUDIO_SUFFIXES:
                self.recordings.append(member)
            else:
                self._read(member, values)
        # What is broken must not tell what columns there are.
        super().__init__(shard, f"key '{key}'", {} if self.problem else values)

    def _read(self, member: _Member, values: dict[str, Any]) -> None:
        try:
            if member.suffix == "json":
                values.update(read_object(member.contents.decode()))
            else:
                values[member.suffix] = member.contents.decode() if member.suffix == "txt" else None
        except ValueError as error:
            self.problem = f"'{member.name}': {error}"


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    extract_to: Path,
    captions: int = 0,
    measured: tuple[str, ...] = tuple(MEASURED),
    workers: int | None = None,
    **options: Unpack[PairOptions],
) -> Iterable[Entry]:
    """Reads shards one after the other, one key at a time.

    Args:
        root: a shard, a folder of shards, or a pattern with a range in braces; the name of a shard, or of its folder,
            tells the split where no column does.
        skip_bad: list bad keys instead of stopping at the first.
        extract_to: folder that recordings are written below.
        captions: compose so many captions a clip, from its attributes and from what is measured; 0 reads captions.
        measured: which of pitch, speed and volume composed captions may name; `none`: none of them.
        workers: processes that measure; None takes one a core.
        **options: see `PairColumns`.

    Raises:
        ManifestError: a shard is missing or no archive, a name in it climbs out, or a key has not what it needs.
        RecipeError: an option contradicts another or names what there is not.
    """
    root, home = Path(root), Path(extract_to)
    columns = PairColumns(root, ("audio", *(["captions"] if captions else [])), **options)
    entries = _entries(root, home, columns, skip_bad)
    if not captions:
        return entries
    listing = CorpusListing.of(entries)
    return describe(listing, home, measured=measured, captions=captions, skip_bad=skip_bad, workers=workers)


def _entries(root: Path, home: Path, columns: PairColumns, skip_bad: bool) -> Iterator[Entry]:
    for shard, folder in _shards(root):
        written: set[str] = set()
        samples = (columns.settle(sample) if sample.columns else sample for sample in _samples(shard))
        yield from parse_rows(samples, partial(_pair, home, folder, columns, written), skip_bad)


def _pair(home: Path, folder: str, columns: PairColumns, written: set[str], sample: _Sample) -> Pair:
    if sample.problem or not sample.columns:
        raise sample.error(sample.problem or "no .json and no .txt beside the recording")
    if len(sample.recordings) != 1:
        names = ", ".join(recording.name for recording in sample.recordings) or "none beside its texts"
        raise sample.error(f"expected one recording ({', '.join(AUDIO_SUFFIXES)}); there is {names}")
    recording = sample.recordings[0]
    name = below_root(recording.name)
    if name is None:
        raise sample.error(f"'{recording.name}' leaves the archive")
    if name in written:
        raise sample.error(f"'{name}' is there twice")
    pair = columns.pair(sample, audio=f"{folder}/{name}", split=split_of_path(folder))
    write_audio(home, pair.audio, recording.contents)
    written.add(name)
    return pair


def _shards(root: Path) -> list[tuple[Path, str]]:
    """The shards, in order of their paths, and the folder for the recordings of each.

    Raises:
        ManifestError: there is none, or one of the pattern is missing.
    """
    if "{" in root.as_posix():
        base = Path(f"{root.as_posix().partition('{')[0]}x").parent
        paths = [Path(path) for path in _expand(root.as_posix())]
    elif root.is_dir():
        base = root
        paths = sorted(path for path in root.rglob("[!.]*") if path.name.endswith(_SHARDS))
    else:
        base, paths = root.parent, [root]
    for path in paths:
        if not path.is_file():
            raise ManifestError(f"{path}: no such shard")
    if not paths:
        raise ManifestError(f"{root}: no shard ({', '.join(_SHARDS)}) below it")
    return [(path, path.relative_to(base).as_posix().partition(".tar")[0].removesuffix(".tgz")) for path in paths]


def _expand(pattern: str) -> Iterator[str]:
    """Every path of a pattern; numbers have as many digits as the first of their range."""
    match = _RANGE.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expand(f"{pattern[: match.start()]}{number:0{len(first)}d}{pattern[match.end() :]}")


def _samples(shard: Path) -> Iterator[_Sample]:
    try:
        # Read as a stream: nothing is written by tarfile, and an archive is gone through once.
        with tarfile.open(shard, "r|*") as archive:
            for key, members in itertools.groupby(_members(archive), key=lambda member: member.key):
                yield _Sample(shard, key, members)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ManifestError(f"{shard}: not a readable tar archive ({error})") from error


def _members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for member in archive:
        folder, slash, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if member.isdir() or not stem or not dot:
            continue
        if not member.isfile():
            contents = "a link or device; expected a file"
        elif member.size > _MOST_BYTES:
            contents = f"of {member.size} bytes; expected at most {_MOST_BYTES}"
        else:
            contents = archive.extractfile(member).read()
        yield _Member(folder + slash + stem, suffix.lower(), member.name, contents)
