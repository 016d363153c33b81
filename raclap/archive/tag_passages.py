"""Stretches of recordings with their probabilities: windows as the index has them, or whole recordings.

Shapes: n passages of a block, L labels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Passages:
    """A block of passages.

    Attributes:
        sources: (n,) names of the sources that the recordings are of.
        roots: (n,) folders that the paths start from.
        recordings: (n,) paths; passages of one recording stand together, also from block to block.
        numbers: (n,) place of a window in its recording; of whole recordings, how many windows they have.
        start, end: (n,) seconds.
        seconds: (n,) time of a passage that no earlier passage of its recording covers.
        probabilities: (n, L) float64.
    """

    sources: np.ndarray
    roots: np.ndarray
    recordings: np.ndarray
    numbers: np.ndarray
    start: np.ndarray
    end: np.ndarray
    seconds: np.ndarray
    probabilities: np.ndarray

    def part(self, which: slice) -> "Passages":
        """Some of the passages."""
        return Passages(*(getattr(self, field.name)[which] for field in fields(self)))

    def followed_by(self, other: "Passages") -> "Passages":
        """These passages, then others."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Passages(*map(np.concatenate, pairs))


class OwnTime:
    """Finds for each window the time that no earlier window of its recording covers, block after block.

    Windows of a recording come one after the other by their start; so the times add up to what is covered.

    Example:
        >>> OwnTime().of(["/"] * 3, ["a", "a", "b"], [0.0, 5.0, 0.0], [10.0, 15.0, 4.0])
        array([10.,  5.,  4.])
    """

    def __init__(self) -> None:
        self._recording: list[str] = []
        self._reached = 0.0

    def of(
        self, sources: Sequence[str], recordings: Sequence[str], start: Sequence[float], end: Sequence[float]
    ) -> np.ndarray:
        """(n,) seconds of the next n windows."""
        own = np.empty(len(recordings))
        for place, (*recording, first, last) in enumerate(zip(sources, recordings, start, end, strict=True)):
            if recording != self._recording:
                self._recording, self._reached = recording, float("-inf")
            own[place] = max(0.0, last - max(first, self._reached))
            self._reached = max(self._reached, last)
        return own


def of_recordings(blocks: Iterable[Passages]) -> Iterator[Passages]:
    """Whole recordings from their windows: probabilities are means weighted by `Passages.seconds`."""
    begun: Passages | None = None
    for block in blocks:
        windows = block if begun is None else begun.followed_by(block)
        last = _firsts(windows)[-1]  # recording, which may go on in the next block
        if last:
            yield _means(windows.part(slice(last)))
        begun = windows.part(slice(last, None))
    if begun is not None:
        yield _means(begun)


def _firsts(block: Passages) -> np.ndarray:
    """Where each recording of a block begins."""
    is_other = [column[1:] != column[:-1] for column in (block.sources, block.recordings)]
    return np.flatnonzero(np.r_[True, np.logical_or(*is_other)])


def _means(windows: Passages) -> Passages:
    firsts = _firsts(windows)
    seconds = np.add.reduceat(windows.seconds, firsts)
    sums = np.add.reduceat(windows.probabilities * windows.seconds[:, None], firsts)
    return Passages(
        sources=windows.sources[firsts],
        roots=windows.roots[firsts],
        recordings=windows.recordings[firsts],
        numbers=np.diff(np.r_[firsts, len(windows.recordings)]),
        start=np.minimum.reduceat(windows.start, firsts),
        end=np.maximum.reduceat(windows.end, firsts),
        seconds=seconds,
        probabilities=sums / seconds[:, None],
    )
