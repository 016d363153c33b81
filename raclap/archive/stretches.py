"""Stretches: windows that touch or overlap, cut where their sound changes. They are the same for every query.

Shapes: n windows, S stretches, D joint size.
"""

from itertools import pairwise

import numpy as np

from raclap.archive.change_points import crossing, cut_by_sound, overlap_of

_BESIDE = 6  # windows on either side of a change that say how it sounds there
_LEAST_WAY = 1e-12  # of what is divided by


class Stretches:
    """Windows in order of time, and the stretches that they make.

    Args:
        rows: (n,) int64, positions of the windows in the index.
        start, end: (n,) seconds.
        vectors: (n, D) float32 unit vectors.

    Attributes:
        rows, start, end, vectors: as given.
        cuts: (S + 1,) int64, the first window of every stretch, and n.
        means: (S, D) unit vectors, the direction of each.
    """

    def __init__(self, rows: np.ndarray, start: np.ndarray, end: np.ndarray, vectors: np.ndarray):
        self.rows, self.start, self.end, self.vectors = rows, start, end, vectors
        overlap = overlap_of(start, end)
        self._reach = int(np.ceil(overlap))  # windows that may hold something of both sides of a change
        self.cuts = cut_by_sound(vectors, overlap)
        means = np.stack([vectors[self.clear(first, last)].mean(axis=0) for first, last in pairwise(self.cuts)])
        self.means = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _LEAST_WAY)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def holding(self, window: int) -> int:
        """The stretch that a window is counted to."""
        return int(np.searchsorted(self.cuts, window, side="right")) - 1

    def heard_in(self, window: int) -> range:
        """The stretches that a window may hold something of."""
        spread = self._reach - 1
        return range(self.holding(max(0, window - spread)), self.holding(min(len(self.rows) - 1, window + spread)) + 1)

    def clear(self, first: int, last: int) -> slice:
        """Of windows from a cut up to another, those that hold nothing from beyond the cuts; the middle one at least.

        Args:
            first, last: windows at which stretches begin, or 0 and n.
        """
        spread = self._reach // 2
        begin = first + spread if first > 0 else first
        end = last - spread if last < len(self.rows) else last
        middle = (first + last) // 2
        return slice(begin, end) if begin < end else slice(middle, middle + 1)

    def levels(self, scores: np.ndarray) -> np.ndarray:
        """(S,) medians of each stretch's clear windows; `scores`: (n,)."""
        return np.array([np.median(scores[self.clear(first, last)]) for first, last in pairwise(self.cuts)])

    def change(self, stretch: int) -> float:
        """The time at which a stretch, not the first one, begins, seconds.

        It is where the vectors are half-way from those of the one side to those of the other.
        """
        before, cut, after = self.cuts[stretch - 1 : stretch + 2].tolist()
        left, right = self.clear(before, cut), self.clear(cut, after)
        origin = self.vectors[max(left.start, left.stop - _BESIDE) : left.stop].mean(axis=0)
        way = self.vectors[right.start : min(right.stop, right.start + _BESIDE)].mean(axis=0) - origin
        progress = (self.vectors - origin) @ way / max(float(way @ way), _LEAST_WAY)
        return crossing(progress, self.start, self.end, cut, self._reach)
