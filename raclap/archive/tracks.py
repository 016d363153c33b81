"""Tracks: the windows of one recording, read when a moment is sought in it.

Shapes: n windows of a recording, D joint size.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from raclap.archive.filters import quoted
from raclap.archive.store import ArchiveIndex
from raclap.archive.stretches import Stretches

# Windows of one recording that are looked at around the best: 2.8 hours either way at a hop of 5 s.
_EITHER_WAY = 2_000
_KEPT_TRACKS = 64
_TOUCHING_SECONDS = 1e-6


@dataclass(frozen=True)
class WindowPlace:
    """Which window of which recording.

    Attributes:
        row: position in the index.
        source, recording: name of the source, and of the recording in it.
        window: number, from 0.
        windows: of the recording.
    """

    row: int
    source: str
    recording: str
    window: int
    windows: int


class Track:
    """Windows of one recording in order of time.

    Args:
        rows: (n,) int64, their positions in the index.
        start, end: (n,) seconds.
        vectors: (n, D) float32 unit vectors.
    """

    def __init__(self, rows: np.ndarray, start: np.ndarray, end: np.ndarray, vectors: np.ndarray):
        self.rows, self.start, self.end, self.vectors = rows, start, end, vectors
        self._stretches: dict[tuple[int, int], Stretches] = {}

    def stretches_around(self, row: int, allowed: np.ndarray | None) -> Stretches:
        """The windows around one that touch or overlap one another, cut where their sound changes.

        Args:
            row: position of the one in the index.
            allowed: positions of windows that count, ascending; None: all.
        """
        breaks = self.start[1:] > np.maximum.accumulate(self.end)[:-1] + _TOUCHING_SECONDS
        if allowed is not None:
            is_allowed = np.isin(self.rows, allowed)
            breaks = breaks | ~is_allowed[1:] | ~is_allowed[:-1]
        cuts = np.concatenate(([0], np.flatnonzero(breaks) + 1, [len(self.start)]))
        run = int(np.searchsorted(cuts, np.flatnonzero(self.rows == row)[0], side="right")) - 1
        low, high = int(cuts[run]), int(cuts[run + 1])
        if (low, high) not in self._stretches:
            part = slice(low, high)
            self._stretches[low, high] = Stretches(
                self.rows[part], self.start[part], self.end[part], self.vectors[part]
            )
        return self._stretches[low, high]


class Tracks:
    """Windows of recordings, kept for the next query.

    Args:
        index: open.
    """

    def __init__(self, index: ArchiveIndex):
        self._index = index
        self._known: OrderedDict[tuple[str, str, int], Track] = OrderedDict()

    def around(self, place: WindowPlace) -> Track:
        """The windows around one, at least 2,000 either way where there are as many."""
        block = place.window // _EITHER_WAY
        key = place.source, place.recording, block
        track = self._known.pop(key, None)
        if track is None:
            low, high = max(0, (block - 1) * _EITHER_WAY), min(place.windows, (block + 2) * _EITHER_WAY)
            track = self._read(place, low, high)
        self._known[key] = track
        if len(self._known) > _KEPT_TRACKS:
            self._known.popitem(last=False)
        return track

    def _read(self, place: WindowPlace, low: int, high: int) -> Track:
        """A recording's windows are written together, and so lie together; where they do not, they are sought."""
        first = place.row - place.window
        ids = np.arange(max(0, first + low), min(first + high, self._index.windows))
        columns = ["source", "recording", "start", "end"]
        table = self._index.rows(ids, columns)
        own = pc.and_(pc.equal(table["source"], place.source), pc.equal(table["recording"], place.recording))
        if len(ids) < high - low or not pc.all(own).as_py():
            ids = self._index.where(f"source = {quoted(place.source)} and recording = {quoted(place.recording)}")
            table = self._index.rows(ids, columns)
        start, end = (table[name].to_numpy().astype(np.float64) for name in ("start", "end"))
        order = np.lexsort((end, start))
        vectors = self._index.vectors_of(ids).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return Track(np.asarray(ids)[order], start[order], end[order], (vectors / lengths)[order])
