"""Rows drawn by weight without putting back, from millions, in time that grows with the draw alone.

Drawing with putting back and passing over what came before is drawing without: the chance of each row that is left is
its weight over what is left. A draw is a binary search in the running sum of the weights. Where a few rows hold almost
all weight, so that nearly every draw repeats one, the rest is drawn with the keys of Efraimidis and Spirakis (2006),
"Weighted random sampling with a reservoir", which takes a random number for each row.

Shapes: N rows.
"""

import numpy as np

_ROUNDS = 8  # of as many draws as are still missing, and some more, before keys are drawn
_SPARE = 8


class WeightedRows:
    """Some rows and how often each is to be drawn.

    Args:
        rows: (N,) int64 numbers, rising.
        weights: (N,) above 0.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray):
        self._rows = rows
        self._weights = weights
        self._sums = np.cumsum(weights)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def total(self) -> float:
        """All weights together."""
        return float(self._sums[-1]) if len(self) else 0.0

    def weight_of(self, rows: np.ndarray) -> float:
        """The weights of some of the rows together."""
        return float(self._weights[np.searchsorted(self._rows, rows)].sum())

    def draw(self, count: int, rng: np.random.Generator, without: np.ndarray | None = None) -> np.ndarray:
        """Draws rows one after the other, none twice.

        Args:
            count: how many; at most as many as there are.
            rng: where chance comes from.
            without: rows that were drawn before.

        Returns:
            (count,) rows in the order in which they were drawn.
        """
        before = np.zeros(0, np.int64) if without is None else np.searchsorted(self._rows, without)
        places, missing = before, count
        for _ in range(_ROUNDS):
            if missing == 0:
                break
            points = rng.random(missing + _SPARE) * self.total
            # A point may be rounded up to the sum of all weights.
            found = np.minimum(np.searchsorted(self._sums, points, side="right"), len(self) - 1)
            places = _distinct(np.concatenate([places, found]))[: len(before) + count]
            missing = len(before) + count - len(places)
        if missing:
            places = np.concatenate([places, self._by_keys(missing, rng, places)])
        return self._rows[places[len(before) :]]

    def _by_keys(self, count: int, rng: np.random.Generator, without: np.ndarray) -> np.ndarray:
        """Places of the smallest exponential keys: those that come first if each comes at the rate of its weight."""
        keys = rng.standard_exponential(len(self)) / self._weights
        keys[without] = np.inf
        smallest = np.argpartition(keys, count - 1)[:count]
        return smallest[np.argsort(keys[smallest])]


def _distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, where it comes first."""
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]
