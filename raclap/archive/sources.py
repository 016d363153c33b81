"""What a source of recordings is: a folder, the rows of a manifest, or those of a data set.

A source is gone through again from its beginning each time it is iterated, always in the same order; recordings are
looked at (size and time), none is opened.
"""

import stat
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raclap.data.audio import AudioBytes

# What an index keeps of a manifest row, beside its stretch.
FACT_COLUMNS = (
    "pair_id", "corpus", "split", "speaker", "sex", "age", "language", "emotion", "caption", "valence", "arousal",
)  # fmt: skip
Fact = str | float | bool | None


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
        path: where it lies, or its bytes; None where it was looked at in a data set without reading it.
        size: bytes; about right where it was not read.
        mtime_ns: when it was last written, nanoseconds; of a row of a data set the version of the file that holds it.
        stretches: rows of a manifest, each of them one window; none: the whole is cut into windows.
        row: address of its row in a data set; None: it is of none.
        facts: what that row says, in the order of the source's `columns`.
        part: number of the data file that holds it.
    """

    name: str
    path: Path | AudioBytes | None
    size: int
    mtime_ns: int
    stretches: tuple[Stretch, ...] = ()
    row: str | None = None
    facts: tuple[Fact, ...] | None = None
    part: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A recording that cannot be used, and why. A name that ends with a slash is a folder that cannot be listed.

    Attributes:
        part: number of the data file that holds it.
    """

    name: str
    reason: str
    part: int = 0


Entry = SourceRecording | Unreadable


class Source(ABC):
    """An archive's recordings.

    Attributes:
        name: what an index calls it; a run drops recordings of the source of this name alone.
        root: the folder, or the data set, that names start from.
        nothing_found: a sentence for a source without any recording.
        columns: those that its facts fill.
        added_fields: those of them that not every index has.
        has_numbers: whether names of recordings are numbers, which are others when rows come or go before them.
    """

    name: str
    root: Path | str
    nothing_found: str
    columns: tuple[str, ...] = FACT_COLUMNS
    added_fields: tuple[pa.Field, ...] = ()
    has_numbers: bool = False

    @abstractmethod
    def __iter__(self) -> Iterator[Entry]:
        """Every recording once, as it is found without opening it."""

    def covers(self, name: str) -> bool:
        """Whether a recording of this name would have been found, if it were there."""
        return True

    def waiting(
        self, is_wanted: Callable[[Entry], bool], parts: Collection[int], own: int, processes: int
    ) -> Iterator[Entry]:
        """What one process has to read, after the source has been gone through once.

        Args:
            is_wanted: tells what the index does not have as it is.
            parts: data files that hold such.
            own: number of this process.
            processes: that share the work, by a hash of the names.
        """
        for entry in self:
            if zlib.crc32(entry.name.encode(errors="surrogateescape")) % processes == own and is_wanted(entry):
                yield entry


def looked_at(name: str, path: Path, stretches: tuple[Stretch, ...] = ()) -> Entry:
    """A file as it is now."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return Unreadable(name, "no such audio file")
    except OSError as error:
        return Unreadable(name, f"cannot be looked at ({error.strerror})")
    if not stat.S_ISREG(status.st_mode):
        return Unreadable(name, "not a regular file")
    return SourceRecording(name, path, status.st_size, status.st_mtime_ns, stretches)
