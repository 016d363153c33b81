"""Where the recordings of an archive lie: a folder, or the rows of a manifest.

A source is gone through again from its beginning each time it is iterated, always in the same order; recordings are
looked at (size and time), none is opened.
"""

import itertools
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from raclap.archive.facts import ArchiveError
from raclap.corpora.listing import AUDIO_SUFFIXES
from raclap.data.manifest import Manifest, Pair, read_manifest
from raclap.errors import ManifestError

# What an index keeps of a manifest row, beside its stretch.
FACT_COLUMNS = (
    "pair_id", "corpus", "split", "speaker", "sex", "age", "language", "emotion", "caption", "valence", "arousal",
)  # fmt: skip
Fact = str | float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one row of a manifest says of a recording.

    Attributes:
        start, end: seconds; None means from its beginning, to its end.
        facts: values of `FACT_COLUMNS`.
    """

    start: float | None
    end: float | None
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class SourceRecording:
    """A recording as it lies there now.

    Attributes:
        name: path below the root, with forward slashes.
        path: where it lies.
        size: bytes.
        mtime_ns: when it was last written, nanoseconds.
        stretches: rows of a manifest, each of them one window; none: the whole is cut into windows.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int
    stretches: tuple[Stretch, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A recording that cannot be used, and why. A name that ends with a slash is a folder that cannot be listed."""

    name: str
    reason: str


Entry = SourceRecording | Unreadable


class Source(Protocol):
    """An archive's recordings.

    Attributes:
        root: the folder that names start from.
        nothing_found: a sentence for a source without any recording.
    """

    root: Path
    nothing_found: str

    def __iter__(self) -> Iterator[Entry]:
        """Every recording once."""


def open_source(source: Path | str, audio_root: Path | None = None) -> Source:
    """The source that a path names.

    Args:
        source: a folder of recordings, or a manifest (.parquet, or a folder of `part-*.parquet`).
        audio_root: where the audio of a manifest lies, if not where it says.

    Raises:
        ArchiveError: there is nothing, or neither a folder nor a manifest.
        ManifestError: the manifest is not as it should be.
    """
    path = Path(source)
    if not path.exists():
        raise ArchiveError(
            f"{source}: no such folder or manifest (a data set of the Hub becomes a manifest by `raclap prepare hub`)"
        )
    if path.suffix.lower() == ".parquet" or (path.is_dir() and any(path.glob("part-*.parquet"))):
        return ManifestSource(read_manifest(path, audio_root))
    if audio_root is not None:
        raise ArchiveError(f"audio_root: {path} is no manifest, whose audio could lie elsewhere")
    if not path.is_dir():
        raise ArchiveError(f"{path}: expected a folder of recordings or a manifest (.parquet)")
    return FolderSource(path.resolve())


@dataclass
class FolderSource:
    """All recordings below a folder, listed folder by folder; hidden files and folders are passed over.

    Attributes:
        root: the folder, resolved.
    """

    root: Path
    _others: int = field(default=0, repr=False)

    @property
    def nothing_found(self) -> str:
        """A sentence; call it after having gone through the folder."""
        kinds = ", ".join(AUDIO_SUFFIXES)
        if self._others:
            return f"{self.root}: none of the {self._others:,} files below it is a recording ({kinds})"
        return f"{self.root}: an empty folder; expected recordings ({kinds})"

    def __iter__(self) -> Iterator[Entry]:
        self._others = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as listed:
                    entries = sorted((entry for entry in listed if entry.name[0] != "."), key=lambda entry: entry.name)
            except OSError as error:
                if not folder:
                    raise ArchiveError(f"{self.root}: cannot be listed ({error.strerror})") from error
                yield Unreadable(f"{folder}/", f"the folder cannot be listed ({error.strerror})")
                continue
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            folders.extend(f"{folder}/{name}".lstrip("/") for name in reversed(below))
            for entry in entries:
                if Path(entry.name).suffix.lower() in AUDIO_SUFFIXES and not entry.is_dir():
                    yield self._recording(entry, f"{folder}/{entry.name}".lstrip("/"))
                elif not entry.is_dir():
                    self._others += 1

    def _recording(self, entry: os.DirEntry, name: str) -> Entry:
        path = Path(entry.path)
        if not _is_text(name):
            return Unreadable(name, "its name is not UTF-8")
        if entry.is_symlink() and not path.resolve().is_relative_to(self.root):
            return Unreadable(name, f"a link that leads out of {self.root}")
        return _looked_at(name, path)


@dataclass(frozen=True)
class ManifestSource:
    """The recordings that a manifest names, each with all of its rows.

    Attributes:
        manifest: the rows.
    """

    manifest: Manifest

    @property
    def root(self) -> Path:
        """The manifest's audio root."""
        return self.manifest.audio_root

    @property
    def nothing_found(self) -> str:
        """A sentence for a manifest without rows."""
        return f"{self.manifest.path}: a manifest without rows"

    def __iter__(self) -> Iterator[Entry]:
        # Rows of one recording may lie apart.
        order = np.argsort(np.asarray(self.manifest.column("audio"), dtype=object), kind="stable")
        for name, pairs in itertools.groupby(self.manifest.rows(order), key=lambda pair: pair.audio):
            stretches = sorted(map(_stretch, pairs), key=lambda stretch: (stretch.start or 0.0, stretch.facts[0]))
            try:
                path = self.manifest.audio_path(Pair(str(stretches[0].facts[0]), name, (), "", ""))
            except ManifestError as error:
                yield Unreadable(name, str(error))
                continue
            yield _looked_at(name, path, tuple(stretches))


def _stretch(pair: Pair) -> Stretch:
    facts = (
        pair.pair_id, pair.corpus, pair.split, pair.speaker, pair.sex, pair.age, pair.language, pair.emotion,
        pair.captions[0].text, _known(pair.valence), _known(pair.arousal),
    )  # fmt: skip
    return Stretch(pair.start, pair.end, facts)


def _known(rating: float | None) -> float | None:
    """Not a number is nothing known."""
    return None if rating is None or math.isnan(rating) else rating


def _looked_at(name: str, path: Path, stretches: tuple[Stretch, ...] = ()) -> Entry:
    try:
        status = path.stat()
    except FileNotFoundError:
        return Unreadable(name, "no such audio file")
    except OSError as error:
        return Unreadable(name, f"cannot be looked at ({error.strerror})")
    if not stat.S_ISREG(status.st_mode):
        return Unreadable(name, "not a regular file")
    return SourceRecording(name, path, status.st_size, status.st_mtime_ns, stretches)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
