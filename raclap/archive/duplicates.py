"""Moments that sound the same, folded under the best of them: copies of one file, and near-duplicates on request.

Shapes: D joint size.
"""

from dataclasses import dataclass, replace

import numpy as np

from raclap.archive.moments import Moment
from raclap.archive.queries import QueryError

# Two moments of one sound overlap in more of their time than this, if one of them is the other again.
_SAME_STRETCH = 0.5


@dataclass(frozen=True, eq=False)
class Candidate:
    """A moment and what tells whether it is the same as another.

    Attributes:
        moment: that was found.
        vector: (D,) unit vector of its best window; None where cosines are not compared.
    """

    moment: Moment
    vector: np.ndarray | None = None


class FoldedMoments:
    """Moments in the order in which they are found, without those that sound like an earlier one.

    Args:
        threshold: cosine of the best windows from which two moments are one; None: copies of one file alone.

    Raises:
        QueryError: the threshold is no cosine above 0.
    """

    def __init__(self, threshold: float | None = None):
        if threshold is not None and not 0 < threshold <= 1:
            raise QueryError(f"duplicates: {threshold}; expected a cosine above 0, at most 1, such as 0.98")
        self._threshold = threshold
        self._kept: list[Candidate] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def moments(self) -> list[Moment]:
        """What is left, best first."""
        return [candidate.moment for candidate in self._kept]

    def fold(self, new: Candidate) -> bool:
        """Folds a moment under an earlier one; whether there is such a one."""
        for place, kept in enumerate(self._kept):
            if self._is_same(kept, new):
                name = (new.moment.recording, new.moment.start, new.moment.end)
                folded = replace(kept.moment, duplicates=(*kept.moment.duplicates, name))
                self._kept[place] = replace(kept, moment=folded)
                return True
        return False

    def add(self, new: Candidate) -> None:
        """Keeps a moment."""
        self._kept.append(new)

    def _is_same(self, kept: Candidate, new: Candidate) -> bool:
        if self._threshold is not None and float(kept.vector @ new.vector) >= self._threshold:
            return True
        return (
            bool(new.moment.sha256)
            and kept.moment.sha256 == new.moment.sha256
            and (kept.moment.root, kept.moment.recording) != (new.moment.root, new.moment.recording)
            and _shared(kept.moment, new.moment) > _SAME_STRETCH
        )


def _shared(one: Moment, other: Moment) -> float:
    """Time that two moments share, over the time of both."""
    both = min(one.end, other.end) - max(one.start, other.start)
    return both / (max(one.end, other.end) - min(one.start, other.start))
