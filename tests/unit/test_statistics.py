import numpy as np
import pytest
from scipy import stats

from raclap.retrieval.statistics import (
    SeededValues,
    bootstrap_interval,
    crossed_difference,
    crossed_interval,
    paired_difference,
    resampled_counts,
)


def redrawn(values: np.ndarray, clusters: list, statistic, resamples: int, seed: int) -> np.ndarray:
    """The plain form: draw speakers one by one, lay their queries end to end, take the statistic."""
    rng = np.random.default_rng(seed)
    members = {cluster: [v for v, c in zip(values, clusters, strict=True) if c == cluster] for cluster in clusters}
    names = sorted(members)
    drawn = [[members[name] for name in rng.choice(names, len(names))] for _ in range(resamples)]
    return np.array([statistic(np.concatenate(sample)) for sample in drawn])


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_are_those_of_drawing_one_by_one(statistic, clustered):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 30, 120).astype(float)
    clusters = list(rng.integers(0, 15, 120)) if clustered else list(range(120))
    plain = redrawn(values, clusters, getattr(np, statistic), 4000, 1)
    found = bootstrap_interval(values, clusters if clustered else None, statistic, 4000, seed=2)
    assert found.value == getattr(np, statistic)(values)
    tolerance = 1.01 if statistic == "median" else 0.25
    assert [found.low, found.high] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=tolerance)


def test_a_proportion_has_the_binomial_interval():
    values = np.repeat([100.0, 0.0], [50, 150])
    found = bootstrap_interval(values, resamples=20_000)
    expected = 100 * stats.binom(200, 0.25).ppf([0.025, 0.975]) / 200
    assert [found.low, found.high] == pytest.approx(expected, abs=0.51)
    assert found.half_width == pytest.approx(6, abs=0.3)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_cover_the_truth_as_often_as_they_say(statistic):
    rng = np.random.default_rng(3)
    samples = rng.normal(5, 2, (250, 80))
    found = [bootstrap_interval(sample, statistic=statistic, resamples=400) for sample in samples]
    coverage = np.mean([interval.low <= 5 <= interval.high for interval in found])
    assert 0.89 <= coverage <= 0.99


def test_queries_of_a_speaker_that_agree_widen_the_interval():
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(20), 10)
    together = np.repeat(rng.random(20), 10)
    alone = bootstrap_interval(together)
    clustered = bootstrap_interval(together, clusters.tolist())
    assert clustered.half_width == pytest.approx(np.sqrt(10) * alone.half_width, rel=0.15)
    shuffled = bootstrap_interval(rng.permutation(together), clusters.tolist())
    assert shuffled.half_width == pytest.approx(alone.half_width, rel=0.35)


def test_unknown_speakers_are_units_of_their_own():
    values = np.random.default_rng(5).random(30)
    assert bootstrap_interval(values, [None] * 30) == bootstrap_interval(values)
    assert bootstrap_interval(values, ["one"] * 30) == bootstrap_interval(values)
    half_known = ["a"] * 10 + ["b"] * 10 + [None] * 10
    drawn = redrawn(values, ["a"] * 10 + ["b"] * 10 + list("0123456789"), np.mean, 4000, 0)
    found = bootstrap_interval(values, half_known, resamples=4000)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(6).random(50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval(values, level=0.5).half_width < bootstrap_interval(values).half_width


def test_counts_bring_whole_speakers_along():
    categories, clusters = np.array([0, 1, 1, 2, 0]), ["a", "a", "b", "b", "b"]
    counts = np.concatenate(list(resampled_counts(categories, clusters, 500)))
    a_a, a_b, b_b = (2, 2, 0), (2, 2, 1), (2, 2, 2)
    assert counts.shape == (500, 3)
    assert {tuple(row) for row in counts.tolist()} == {a_a, a_b, b_b}


def test_blocks_change_nothing_but_memory(monkeypatch):
    values, clusters = np.arange(40.0), [row // 4 for row in range(40)]
    whole = bootstrap_interval(values, clusters, "median")
    monkeypatch.setattr("raclap.retrieval.statistics._BLOCK", 1000)
    assert bootstrap_interval(values, clusters, "median") == whole


def test_a_model_is_no_better_than_itself():
    values = np.random.default_rng(7).random(100)
    found = paired_difference(values, values)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_pairing_sees_a_small_steady_gain():
    rng = np.random.default_rng(8)
    hard = rng.normal(50, 30, 200)
    better = hard + rng.normal(1, 2, 200)
    found = paired_difference(better, hard)
    assert found.value == pytest.approx((better - hard).mean())
    assert found.low > 0
    assert found.p < 0.01
    assert bootstrap_interval(better).low < bootstrap_interval(hard).high
    back = paired_difference(hard, better)
    assert (back.value, back.low, back.high, back.p) == pytest.approx(
        (-found.value, -found.high, -found.low, found.p), rel=0.2
    )


def test_p_values_without_a_difference_are_uniform():
    rng = np.random.default_rng(9)
    p = [paired_difference(*rng.normal(size=(2, 60)), resamples=300, seed=n).p for n in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) < 0.12


def test_paired_medians_use_the_same_resamples():
    ranks = np.random.default_rng(10).integers(1, 50, 80).astype(float)
    found = paired_difference(ranks + 3, ranks, [row // 2 for row in range(80)], "median")
    assert (found.value, found.low, found.high) == (3, 3, 3)
    assert found.p == pytest.approx(2 / 2001)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [[1.0]]])
def test_values_that_cannot_be_drawn_are_refused(values):
    with pytest.raises(ValueError, match="one finite value a query"):
        bootstrap_interval(np.array(values))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="same queries"):
        paired_difference(np.ones(3), np.ones(4))
    for statistic in ("mean", "median"):
        with pytest.raises(ValueError, match="2 clusters for 3 queries"):
            bootstrap_interval(np.ones(3), ["a", "b"], statistic)


def seeded(S: int, U: int, each: int, seeds_vary: float, speakers_vary: float, noise: float, draw: int = 0):
    """A crossed world: what seed and speaker add to every value of theirs, and noise of each query."""
    rng = np.random.default_rng(draw)
    values = seeds_vary * rng.normal(size=(S, 1)) + np.repeat(speakers_vary * rng.normal(size=U), each)
    return SeededValues(50 + values + noise * rng.normal(size=(S, U * each)), np.repeat(np.arange(U), each).tolist())


def test_one_seed_alone_has_the_interval_over_speakers():
    part = seeded(1, 9, 5, 0, 3, 2)
    plain = bootstrap_interval(part.values[0], part.clusters, resamples=40_000)
    found = crossed_interval([part], resamples=40_000)
    assert found.value == pytest.approx(plain.value)
    assert [found.low, found.high] == pytest.approx([plain.low, plain.high], abs=0.05)


def test_seeds_and_speakers_are_drawn_as_one_would_by_hand():
    part = seeded(4, 6, 3, 2, 3, 1)
    uneven = SeededValues(part.values[:, :-2], part.clusters[:-2])
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(np.array(uneven.clusters) == speaker) for speaker in range(6)]
    by_hand = [
        uneven.values[rng.integers(0, 4, 4)][:, np.concatenate([members[u] for u in rng.integers(0, 6, 6)])].mean()
        for _ in range(6000)
    ]
    found = crossed_interval([uneven])
    assert [found.low, found.high] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.15)
    assert found.value == pytest.approx(uneven.values.mean())


def test_variances_of_seeds_and_speakers_add_up():
    # Without noise a resample's mean is the mean of the drawn seeds plus that of the drawn speakers, and the interval
    # of a sum of many independent draws is normal.
    S, U = 40, 60
    part = seeded(S, U, 2, 2, 3, 0)
    by_seed, by_speaker = part.values.mean(1), part.values.mean(0)[::2]
    deviation = np.sqrt(by_seed.var() / S + by_speaker.var() / U)
    assert crossed_interval([part], resamples=40_000).half_width == pytest.approx(1.96 * deviation, rel=0.02)
    assert deviation > 1.1 * by_speaker.std() / np.sqrt(U)


def test_test_sets_share_seeds_but_not_speakers():
    S, U = 40, 60
    same = seeded(S, U, 1, 2, 0, 0)
    alone = crossed_interval([same], resamples=20_000).half_width
    assert crossed_interval([same, same], resamples=20_000).half_width == pytest.approx(alone, rel=0.02)
    speakers = seeded(S, U, 1, 0, 3, 0)
    alone = crossed_interval([speakers], resamples=20_000).half_width
    together = crossed_interval([speakers, speakers], resamples=20_000).half_width
    assert together == pytest.approx(alone / np.sqrt(2), rel=0.03)


def test_a_large_test_set_weighs_no_more_than_a_small_one():
    small, large = SeededValues(np.zeros((2, 10))), SeededValues(np.full((2, 1000), 10.0))
    assert crossed_interval([small, large]).value == 5


def test_crossed_differences_are_paired_by_seed_and_query():
    worse = seeded(3, 8, 10, 5, 8, 4)
    better = SeededValues(
        worse.values + 1 + np.random.default_rng(2).normal(0, 0.5, worse.values.shape), worse.clusters
    )
    found = crossed_difference([better], [worse])
    assert 0 < found.low < found.value < found.high < 2
    assert found.p < 0.01
    assert found.value == pytest.approx((better.values - worse.values).mean())
    assert crossed_interval([better]).low < crossed_interval([worse]).high
    same = crossed_difference([worse], [worse])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_blocks_change_no_crossed_draw(monkeypatch):
    parts = [seeded(3, 8, 4, 1, 1, 1), seeded(3, 5, 4, 1, 1, 1, draw=1)]
    whole = crossed_interval(parts, resamples=500)
    monkeypatch.setattr("raclap.retrieval.statistics._BLOCK", 64)
    assert crossed_interval(parts, resamples=500) == whole
    assert crossed_interval(parts, resamples=500, seed=1) != whole


def test_seeded_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one finite value a seed and query"):
        SeededValues(np.ones(3))
    with pytest.raises(ValueError, match="one finite value a seed and query"):
        SeededValues(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="as many seeds"):
        crossed_interval([SeededValues(np.ones((2, 3))), SeededValues(np.ones((3, 3)))])
    with pytest.raises(ValueError, match="as many seeds"):
        crossed_interval([])
    with pytest.raises(ValueError, match="paired comparison needs the same"):
        crossed_difference([SeededValues(np.ones((2, 3)))], [SeededValues(np.ones((2, 4)))])
    with pytest.raises(ValueError, match="2 clusters for 3 queries"):
        crossed_interval([SeededValues(np.ones((2, 3)), ["a", "b"])])
