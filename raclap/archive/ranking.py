"""Windows, nearest first, become moments, best first.

Moments share no sound: a window that overlaps one that was found is passed over. A window on a border, half of either
style, may score like neither; so a moment has the score of the best window that is all its own, and waits until that
is its turn.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

from raclap.archive.extents import ExtentFinder
from raclap.archive.moments import Moment
from raclap.archive.tracks import WindowPlace

_SHARED_SECONDS = 1e-6

Hit = tuple[float, int, Mapping[str, Any]]  # score, position in the index, and the columns named in PLACE
PLACE = ("recording", "root", "source", "window", "windows", "start", "end", "sha256")


def best_first(hits: Iterable[Hit], finder: ExtentFinder | None) -> Iterator[tuple[int, Moment]]:
    """The moments that windows lead to.

    Args:
        hits: windows, nearest first.
        finder: finds where the query's moments start and end; None: every window is one.

    Yields:
        Position of a moment's best window in the index, and the moment, of which no more is known than its place.
    """
    known: dict[tuple[str, str], list[Moment]] = {}
    waiting: list[tuple[float, int, int, Moment]] = []
    for order, hit in enumerate(hits):
        score, _, facts = hit
        while waiting and -waiting[0][0] >= score:
            yield heappop(waiting)[2:]
        own = known.setdefault((facts["root"], facts["recording"]), [])
        if finder is not None and any(_shares_sound(facts, moment) for moment in own):
            continue
        found = _moment_of(hit, finder)
        if found is not None:
            own.append(found[1])
            heappush(waiting, (-found[1].score, order, *found))
    while waiting:
        yield heappop(waiting)[2:]


def _moment_of(hit: Hit, finder: ExtentFinder | None) -> tuple[int, Moment] | None:
    """The moment of a window; None: it is that of an earlier one."""
    score, row, facts = hit
    root, name, start, end = (facts[column] for column in ("root", "recording", "start", "end"))
    alone = Moment(name, root, start, end, score, start, end, sha256=facts["sha256"])
    if finder is None or facts["windows"] == 1:
        return row, alone
    extent = finder.extent(WindowPlace(row, facts["source"], name, facts["window"], facts["windows"]))
    if extent is None:
        return None
    return extent.best, replace(
        alone,
        start=extent.start,
        end=extent.end,
        # Never above that of the hit, so that moments stay in order; the window's own is the same but for rounding.
        score=score if extent.best == row else min(score, extent.score),
        best_start=extent.best_start,
        best_end=extent.best_end,
        windows=len(extent.rows),
    )


def _shares_sound(facts: Mapping[str, Any], moment: Moment) -> bool:
    return min(facts["end"], moment.end) - max(facts["start"], moment.start) > _SHARED_SECONDS
