"""How sure a number is: bootstrap intervals over queries, clustered by speaker, and paired comparisons.

Queries of one speaker stand or fall together, so whole speakers are drawn, with all their queries. Where two
draws would give the same statistic they are drawn as one category: a multinomial over distinct values has the
same distribution as one over queries, and R@k has two distinct values however many queries there are.

A model trained with several seeds is a sample in two ways: of seeds, and of speakers. Every seed meets every speaker,
so both are drawn, independently of one another (the pigeonhole bootstrap; Owen, 2007).

Shapes: N queries, U units (speakers, or queries where speakers are not known), V distinct values, S seeds, R
resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

Statistic = Literal["mean", "median"]

_BLOCK = 2**24


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic and the bounds of its percentile bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance of the bounds, for "value ± half width"."""
        return (self.high - self.low) / 2

    @classmethod
    def of_draws(cls, value: float, drawn: np.ndarray, level: float) -> "Interval":
        """Percentile interval of a statistic from its values (R,) on the resamples."""
        return cls(value, *_bounds(drawn, level))


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """An interval of the difference of two models, and how easily chance alone gives one as large.

    Attributes:
        p: two-sided.
    """

    p: float

    @classmethod
    def of_draws(cls, value: float, drawn: np.ndarray, level: float) -> "Difference":
        """Percentile interval and p-value of a difference from its values (R,) on the resamples."""
        return cls(value, *_bounds(drawn, level), _p_value(drawn))


def bootstrap_interval(
    values: np.ndarray,
    clusters: Sequence[Any] | None = None,
    statistic: Statistic = "mean",
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a mean or median over queries.

    Args:
        values: (N,) one value a query.
        clusters: (N,) speaker of each query; None marks a query of unknown speaker, which is a unit of its
            own. None for all, or fewer than two speakers, draws queries.
        statistic: `mean` or `median`.
        resamples: how many to draw.
        seed: of the draws; equal seeds give equal intervals.
        level: share of resamples between the bounds.

    Raises:
        ValueError: there is no value, one is not finite or the clusters are of another length.

    Example:
        >>> bootstrap_interval(np.array([100.0, 100.0, 100.0]))
        Interval(value=100.0, low=100.0, high=100.0)
    """
    values = _checked(values)
    drawn = _resampled(values[:, None], clusters, statistic, resamples, seed)[:, 0]
    low, high = _bounds(drawn, level)
    return Interval(float(_REDUCE[statistic](values)), low, high)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    clusters: Sequence[Any] | None = None,
    statistic: Statistic = "mean",
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Difference a - b of two models on the same queries, both evaluated on the same resamples.

    The p-value is twice the share of resamples on the other side of zero, or at it, counting one more than
    were drawn so that it is never zero.

    Args:
        a: (N,) one value a query of one model.
        b: (N,) of the other, in the same order.
        clusters: as in `bootstrap_interval`.
        statistic: as in `bootstrap_interval`.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
        level: as in `bootstrap_interval`.

    Raises:
        ValueError: there is no value, one is not finite or the lengths differ.
    """
    a, b = _checked(a), _checked(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: a paired comparison needs the same queries")
    drawn = _resampled(np.stack([a, b], axis=1), clusters, statistic, resamples, seed)
    differences = drawn[:, 0] - drawn[:, 1]
    reduce = _REDUCE[statistic]
    return Difference(float(reduce(a) - reduce(b)), *_bounds(differences, level), _p_value(differences))


@dataclass(frozen=True, eq=False)
class SeededValues:
    """What the models of several seeds reached on the same queries.

    Attributes:
        values: (S, N) one value a seed and query.
        clusters: (N,) speaker of each query, as in `bootstrap_interval`.

    Raises:
        ValueError: there is no value, or one is not finite.
    """

    values: np.ndarray
    clusters: Sequence[Any] | None = None

    def __post_init__(self):
        if self.values.ndim != 2 or not self.values.size or not np.isfinite(self.values).all():
            raise ValueError("a crossed bootstrap needs one finite value a seed and query, and at least one of each")

    def minus(self, other: "SeededValues") -> "SeededValues":
        """Differences seed by seed and query by query.

        Raises:
            ValueError: the other has other numbers of seeds or queries.
        """
        if self.values.shape != other.values.shape:
            ours, theirs = self.values.shape, other.values.shape
            raise ValueError(f"seeds and queries {ours} against {theirs}: a paired comparison needs the same")
        return SeededValues(self.values - other.values, self.clusters)


def crossed_interval(
    parts: Sequence[SeededValues], resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile interval of a mean over seeds and queries, both seeds and speakers drawn with replacement.

    Args:
        parts: test sets, of the same seeds but other speakers; the statistic is the mean of their means. The seeds of
            a resample are drawn once for all of them, the speakers of each apart.
        resamples: how many to draw.
        seed: of the draws; equal seeds give equal intervals.
        level: share of resamples between the bounds.

    Returns:
        With one seed it speaks of speakers alone. With few seeds it is too narrow: S seeds vary on average by
        (S - 1) / S of the variance that they were drawn with.

    Raises:
        ValueError: there is no part, the parts differ in their number of seeds, or the clusters of one are of another
            length.

    Example:
        >>> crossed_interval([SeededValues(np.array([[10.0, 10.0], [10.0, 10.0]]))])
        Interval(value=10.0, low=10.0, high=10.0)
    """
    return Interval.of_draws(_crossed_mean(parts), _crossed_means(parts, resamples, seed), level)


def crossed_difference(
    a: Sequence[SeededValues],
    b: Sequence[SeededValues],
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Difference a - b of two models with the same seeds on the same queries, both on the same resamples.

    Args:
        a: test sets of one model, as in `crossed_interval`.
        b: the same test sets of the other, rows in the same order.
        resamples: as in `crossed_interval`.
        seed: as in `crossed_interval`.
        level: as in `crossed_interval`.

    Raises:
        ValueError: as in `crossed_interval`, or seeds or queries are not as many.
    """
    parts = [one.minus(other) for one, other in zip(a, b, strict=True)]
    return Difference.of_draws(_crossed_mean(parts), _crossed_means(parts, resamples, seed), level)


def resampled_counts(
    categories: np.ndarray, clusters: Sequence[Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yields blocks (r, V) of how often each category occurs in each resample, R rows in all.

    Args:
        categories: (N,) integers from 0; V is one more than the largest.
        clusters: as in `bootstrap_interval`.
        resamples: how many to draw.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    V = int(categories.max()) + 1
    units = _units(clusters, len(categories))
    if units is None:
        shares = np.bincount(categories, minlength=V) / len(categories)
        for rows in _blocks(resamples, V):
            yield rng.multinomial(len(categories), shares, size=rows)
        return
    U = int(units.max()) + 1
    # (U, V): what drawing a unit brings along.
    brings = sparse.coo_array((np.ones(len(units), np.int64), (units, categories)), shape=(U, V)).tocsr()
    for rows in _blocks(resamples, max(U, V)):
        yield rng.multinomial(U, np.full(U, 1 / U), size=rows) @ brings


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("a bootstrap needs one finite value a query, and at least one query")
    return values


def _bounds(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p_value(differences: np.ndarray) -> float:
    """Two-sided, from the differences (R,) of the resamples."""
    crossing = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (1 + int(crossing)) / (1 + len(differences)))


def _blocks(resamples: int, width: int) -> Iterator[int]:
    """Splits the resamples so that a block of them stays small."""
    step = _step(width)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def _step(width: int) -> int:
    return max(1, _BLOCK // width)


def _units(clusters: Sequence[Any] | None, N: int) -> np.ndarray | None:
    """(N,) number of the unit that each query is drawn with; None where each is drawn alone."""
    if clusters is None:
        return None
    if len(clusters) != N:
        raise ValueError(f"{len(clusters)} clusters for {N} queries")
    seen: dict[Any, int] = {}
    keys = [("unknown", row) if cluster is None else ("known", cluster) for row, cluster in enumerate(clusters)]
    units = np.array([seen.setdefault(key, len(seen)) for key in keys])
    return None if len(seen) in (1, N) else units


def _resampled(
    values: np.ndarray, clusters: Sequence[Any] | None, statistic: Statistic, resamples: int, seed: int
) -> np.ndarray:
    """(R, M) statistic of M columns of values (N, M), all on the same resamples."""
    return _RESAMPLED[statistic](values, clusters, resamples, seed)


def _resampled_means(values: np.ndarray, clusters: Sequence[Any] | None, resamples: int, seed: int) -> np.ndarray:
    """A mean needs no more of a unit than its sum and its size."""
    units = _units(clusters, len(values))
    sums = np.column_stack([values, np.ones(len(values))])
    if units is not None:
        sums = np.column_stack([np.bincount(units, weights=column) for column in sums.T])
    distinct, category = np.unique(sums, axis=0, return_inverse=True)
    totals = np.concatenate(
        [counts @ distinct for counts in resampled_counts(category.ravel(), None, resamples, seed)]
    )
    return totals[:, :-1] / totals[:, -1:]


def _crossed_mean(parts: Sequence[SeededValues]) -> float:
    return float(np.mean([part.values.mean() for part in parts]))


def _crossed_means(parts: Sequence[SeededValues], resamples: int, seed: int) -> np.ndarray:
    """(R,) mean of the parts' means on each resample of seeds and speakers."""
    if len({len(part.values) for part in parts}) != 1:
        raise ValueError("a crossed bootstrap needs at least one test set, and as many seeds on each")
    S = len(parts[0].values)
    # A stream of draws for the seeds and one a part: how the work is split into blocks changes no draw.
    of_seeds, *of_parts = np.random.default_rng(seed).spawn(1 + len(parts))
    seeds = of_seeds.multinomial(S, np.full(S, 1 / S), size=resamples)
    return np.mean([_crossed_part(p, seeds, rng) for p, rng in zip(parts, of_parts, strict=True)], axis=0)


def _crossed_part(part: SeededValues, seeds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(R,) mean of one part, each seed taken as often as the rows of seeds (R, S) say, and speakers drawn."""
    S, N = part.values.shape
    units = _units(part.clusters, N)
    units = np.arange(N) if units is None else units
    # A mean needs no more of a seed and a unit than sum (S, U) and size (U,).
    sums, sizes = np.stack([np.bincount(units, weights=row) for row in part.values]), np.bincount(units)
    means, U = [], len(sizes)
    for start, rows in zip(range(0, len(seeds), _step(U)), _blocks(len(seeds), U), strict=True):
        drawn = rng.multinomial(U, np.full(U, 1 / U), size=rows)
        totals = ((seeds[start : start + rows] @ sums) * drawn).sum(1)
        means.append(totals / (S * (drawn @ sizes)))
    return np.concatenate(means)


def _resampled_medians(values: np.ndarray, clusters: Sequence[Any] | None, resamples: int, seed: int) -> np.ndarray:
    distinct, category = np.unique(values, axis=0, return_inverse=True)
    drawn = [
        np.column_stack([_medians(counts, column) for column in distinct.T])
        for counts in resampled_counts(category.ravel(), clusters, resamples, seed)
    ]
    return np.concatenate(drawn)


def _medians(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(R,) medians of the values (V,), each taken as often as the rows of counts (R, V) say."""
    order = values.argsort()
    below = counts[:, order].cumsum(1)
    total = below[:, -1:]
    lower = (below <= (total - 1) // 2).sum(1)
    upper = (below <= total // 2).sum(1)
    return (values[order][lower] + values[order][upper]) / 2


_REDUCE = {"mean": np.mean, "median": np.median}
_RESAMPLED = {"mean": _resampled_means, "median": _resampled_medians}
