"""Moments: what a search finds, as stretches of recordings with a start and an end.

The best window that does not yet share sound with a moment starts the next one. Its recording is cut where the score
changes level (`levels`). The moment is the stretch that the window lies in, and those beside it whose level is nearly
the same: they keep three quarters of the way from the recording's median score to the level of the first. It starts
and ends where the windows' vectors are half-way from those of one side to those of the other: what the query does not
ask for helps there too. So a style that begins or ends amid a window is found where it does, to within a hop, if the
model tells it from what is beside it. At the ends of the recording, and where windows are missing between two others,
the moment ends with its window.

Shapes: n windows of a recording, D joint size.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc

from raclap.archive.dataset_sound import row_is_there
from raclap.archive.filters import quoted
from raclap.archive.levels import crossing, cut_by_level, overlap_of
from raclap.archive.store import ArchiveIndex

# Of the way from the recording's median score to the level of the moment.
_NEARLY = 0.75
# Windows of one recording that are looked at around the best: 2.8 hours either way at a hop of 5 s.
_EITHER_WAY = 2_000
_KEPT_TRACKS = 64
_BESIDE = 6  # windows on either side of a change that say how it sounds there
_LEAST_WAY = 1e-12
_TOUCHING_SECONDS = 1e-6


@dataclass(frozen=True)
class Moment:
    """A stretch of a recording that was found.

    Attributes:
        recording: path below the archive's root, with forward slashes, or an address.
        root: the archive's root.
        start, end: seconds.
        score: cosine of the query with the best window.
        best_start, best_end: of that window, seconds.
        windows: how many make the moment.
        probability: that the words fit, at even odds; None where the model or the query allows of none.
        percentile: percentage of random pairs of clip and caption with a lower cosine; None as `probability`.
        facts: what a manifest or data set says of the best window, where it says anything.
        duplicates: recordings with nearly the same sound that were folded under this one, with start and end.
        dataset_row: address of the recording's row in a data set; None: it is of none.
        sha256: of what the recording's file held; empty where it is not known.
    """

    recording: str
    root: str
    start: float
    end: float
    score: float
    best_start: float
    best_end: float
    windows: int = 1
    probability: float | None = None
    percentile: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    duplicates: tuple[tuple[str, float, float], ...] = ()
    dataset_row: str | None = None
    sha256: str = ""

    @property
    def path(self) -> Path | None:
        """Where the recording lies; None where its name is an address or leads out of the root."""
        name = PurePosixPath(self.recording)
        if "://" in self.recording or "://" in self.root or name.is_absolute() or ".." in name.parts:
            return None
        return Path(self.root) / name

    @property
    def is_there(self) -> bool:
        """Whether the recording is still where it was; of a data set on the Hub it is taken for granted."""
        if self.dataset_row is not None:
            return row_is_there(self.dataset_row)
        return self.path is not None and self.path.is_file()

    def to_json(self) -> dict[str, Any]:
        """What is known, by the names above; seconds to milliseconds, other numbers to six digits after the point."""
        values: dict[str, Any] = {
            "recording": self.recording,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "probability": None if self.probability is None else round(self.probability, 6),
            "percentile": None if self.percentile is None else round(self.percentile, 6),
            "best_start": round(self.best_start, 3),
            "best_end": round(self.best_end, 3),
            "windows": self.windows,
            "root": self.root,
            "dataset_row": self.dataset_row,
            "facts": dict(self.facts),
            "duplicates": [
                {"recording": name, "start": round(start, 3), "end": round(end, 3)}
                for name, start, end in self.duplicates
            ],
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Track:
    """Windows of one recording in order of time.

    Attributes:
        rows: (n,) int64, their positions in the index.
        start, end: (n,) seconds.
        vectors: (n, D) float32 unit vectors.
    """

    rows: np.ndarray
    start: np.ndarray
    end: np.ndarray
    vectors: np.ndarray

    def run_of(self, place: int, allowed: np.ndarray | None) -> tuple[int, int]:
        """First and last + 1 of the windows around one that touch or overlap one another and are allowed."""
        breaks = self.start[1:] > np.maximum.accumulate(self.end)[:-1] + _TOUCHING_SECONDS
        if allowed is not None:
            breaks = breaks | ~allowed[1:] | ~allowed[:-1]
        cuts = np.concatenate(([0], np.flatnonzero(breaks) + 1, [len(self.start)]))
        run = np.searchsorted(cuts, place, side="right") - 1
        return int(cuts[run]), int(cuts[run + 1])


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


@dataclass(frozen=True)
class Extent:
    """Where a moment lies.

    Attributes:
        start, end: seconds.
        rows: positions of its windows in the index.
    """

    start: float
    end: float
    rows: tuple[int, ...]


class Tracks:
    """Windows of recordings, read when a moment is sought in them, and kept for the next query.

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


@dataclass(frozen=True, eq=False)
class _Curve:
    """Scores of windows that touch or overlap, and how they are cut.

    Attributes:
        rows, start, end, scores: (n,) of the windows.
        vectors: (n, D) of the windows.
        cuts: (stretches + 1,) first windows of the stretches, and n.
        levels: (stretches,) median scores.
        reach: windows that may hold something of both sides of a cut.
    """

    rows: np.ndarray
    start: np.ndarray
    end: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray
    cuts: np.ndarray
    levels: np.ndarray
    reach: int

    @classmethod
    def of(cls, track: Track, low: int, high: int, query: np.ndarray) -> Self:
        part = slice(low, high)
        start, end, vectors = track.start[part], track.end[part], track.vectors[part]
        scores = vectors @ query
        overlap = overlap_of(start, end)
        cuts = cut_by_level(scores, overlap)
        levels = np.array([np.median(scores[first:last]) for first, last in pairwise(cuts)])
        return cls(track.rows[part], start, end, scores, vectors, cuts, levels, int(np.ceil(overlap)))

    def change(self, stretch: int) -> float:
        """The time at which a stretch, not the first one, begins."""
        before, cut, after = self.cuts[stretch - 1 : stretch + 2].tolist()
        clear = self.reach // 2  # of the cut: what is left holds one side alone
        left = slice(max(before, cut - clear - _BESIDE), max(before + 1, cut - clear))
        right = slice(min(after - 1, cut + clear), min(after, cut + clear + _BESIDE))
        origin = self.vectors[left].mean(axis=0)
        way = self.vectors[right].mean(axis=0) - origin
        progress = (self.vectors - origin) @ way / max(float(way @ way), _LEAST_WAY)
        return crossing(progress, self.start, self.end, cut, self.reach)


class MomentFinder:
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
        self._curves: dict[tuple[int, int], _Curve] = {}

    def extent(self, window: WindowPlace) -> Extent:
        """The moment that a window is of."""
        track = self._tracks.around(window)
        place = int(np.flatnonzero(track.rows == window.row)[0])
        low, high = track.run_of(place, None if self._among is None else np.isin(track.rows, self._among))
        curve = self._curve(track, low, high)
        place -= low
        own = int(np.searchsorted(curve.cuts, place, side="right") - 1)
        first, last = _joined(curve.levels, own, float(np.median(curve.scores)))
        begin, finish = int(curve.cuts[first]), int(curve.cuts[last + 1])
        from_window, to_window = _without_taken(curve.rows, begin, finish, place, self._taken)

        start, end = float(curve.start[from_window]), float(curve.end[from_window:to_window].max())
        if from_window == begin and first > 0:
            start = curve.change(first)
        if to_window == finish and last + 1 < len(curve.levels):
            end = curve.change(last + 1)
        rows = tuple(curve.rows[from_window:to_window].tolist())
        self._taken.update(rows)
        return Extent(start, end, rows)

    def _curve(self, track: Track, low: int, high: int) -> _Curve:
        key = int(track.rows[low]), high - low
        if key not in self._curves:
            self._curves[key] = _Curve.of(track, low, high, self._query)
        return self._curves[key]


def _joined(levels: np.ndarray, own: int, background: float) -> tuple[int, int]:
    """First and last stretch that are nearly of the level of one, on end around it."""
    least = background + _NEARLY * (levels[own] - background)
    first = last = own
    while first > 0 and levels[first - 1] >= least:
        first -= 1
    while last + 1 < len(levels) and levels[last + 1] >= least:
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
