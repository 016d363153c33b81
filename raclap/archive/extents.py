"""Extents: where the moments of a query start and end.

A moment grows from a window. Its recording is cut into stretches of one sound; the moment is the stretch that the
window speaks for, and those beside it that sound alike and fit nearly as well: they keep three quarters of the way
from the recording's median score to that of the stretch, or differ from it by less than twice what its windows do. A
style that begins or ends amid a window is so found where it does, to within a hop, if the model tells it from what is
beside it. At the ends of the recording, and where windows are missing between two others, the moment ends with its
window.

Shapes: D joint size.
"""

from dataclasses import dataclass

import numpy as np

from raclap.archive.stretches import Stretches
from raclap.archive.tracks import Tracks, WindowPlace

_ALIKE = 0.8  # cosine of two stretches: styles that differ in two attributes are below
_NEARLY = 0.75  # of the way from the recording's median score to the level of the moment
_DEVIATIONS = 2.0  # of scores within stretches: a query that all of a recording fits finds it whole
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True)
class Extent:
    """Where a moment lies.

    Attributes:
        start, end: seconds.
        rows: positions of its windows in the index.
        best: position of the best window among those that hold nothing else.
        best_start, best_end: of that window, seconds.
        score: cosine of the query with it.
    """

    start: float
    end: float
    rows: tuple[int, ...]
    best: int
    best_start: float
    best_end: float
    score: float


class ExtentFinder:
    """Where the moments of one query start and end; no window is part of two.

    Args:
        tracks: windows of recordings.
        query: (D,) float32 unit vector.
        among: positions of the windows that a filter holds for, ascending; None: all.
    """

    def __init__(self, tracks: Tracks, query: np.ndarray, among: np.ndarray | None = None):
        self._tracks = tracks
        self._query = query
        self._among = among
        self._taken: set[int] = set()
        self._fits: dict[Stretches, tuple[np.ndarray, np.ndarray]] = {}

    def extent(self, window: WindowPlace) -> Extent | None:
        """The moment that a window is of; None: an earlier one has it."""
        if window.row in self._taken:
            return None
        stretches = self._tracks.around(window).stretches_around(window.row, self._among)
        scores, levels = self._fit(stretches)
        own, place = self._own(stretches, levels, int(np.flatnonzero(stretches.rows == window.row)[0]))
        first, last = _joined(stretches, scores, levels, own)
        begin, finish = int(stretches.cuts[first]), int(stretches.cuts[last + 1])
        from_window, to_window = _without_taken(stretches.rows, begin, finish, place, self._taken)

        start, end = float(stretches.start[from_window]), float(stretches.end[from_window:to_window].max())
        if from_window == begin and first > 0:
            start = stretches.change(first)
        if to_window == finish and last + 1 < len(stretches):
            end = stretches.change(last + 1)
        clear = stretches.clear(from_window, to_window)
        best = clear.start + int(scores[clear].argmax())
        rows = tuple(stretches.rows[from_window:to_window].tolist())
        self._taken.update(rows)
        found = float(stretches.start[best]), float(stretches.end[best]), float(scores[best])
        return Extent(start, end, rows, int(stretches.rows[best]), *found)

    def _fit(self, stretches: Stretches) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the windows and levels of the stretches; a query may find many moments in one recording."""
        if stretches not in self._fits:
            scores = stretches.vectors @ self._query
            self._fits[stretches] = scores, stretches.levels(scores)
        return self._fits[stretches]

    def _own(self, stretches: Stretches, levels: np.ndarray, place: int) -> tuple[int, int]:
        """The stretch that a window speaks for, and its window nearest to that one.

        A window that holds two speaks for the one that fits better: a mixture may score like neither.
        """
        best = max(stretches.heard_in(place), key=lambda stretch: levels[stretch])
        nearest = int(np.clip(place, stretches.cuts[best], stretches.cuts[best + 1] - 1))
        if int(stretches.rows[nearest]) in self._taken:
            return stretches.holding(place), place
        return best, nearest


def _joined(stretches: Stretches, scores: np.ndarray, levels: np.ndarray, own: int) -> tuple[int, int]:
    """First and last stretch, on end around one, that sound like it and fit nearly as well."""
    background = float(np.median(scores))
    noise = _MAD_TO_DEVIATION * float(np.median(np.abs(scores - np.repeat(levels, np.diff(stretches.cuts)))))
    least = min(background + _NEARLY * (levels[own] - background), levels[own] - _DEVIATIONS * noise)
    belongs = (levels >= least) & (stretches.means @ stretches.means[own] >= _ALIKE)
    first = last = own
    while first > 0 and belongs[first - 1]:
        first -= 1
    while last + 1 < len(levels) and belongs[last + 1]:
        last += 1
    return first, last


def _without_taken(rows: np.ndarray, first: int, last: int, place: int, taken: set[int]) -> tuple[int, int]:
    """The windows around one, up to those that other moments have."""
    is_taken = np.array([row in taken for row in rows[first:last].tolist()], dtype=bool)
    before = np.flatnonzero(is_taken[: place - first])
    after = np.flatnonzero(is_taken[place - first :])
    return (
        first + int(before[-1]) + 1 if len(before) else int(first),
        place + int(after[0]) if len(after) else int(last),
    )
