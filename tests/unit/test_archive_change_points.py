"""A recording is cut where its sound changes, and nowhere else.

The oracles: steps that were put in, with noise of known size; every cut that there is, tried one by one.
"""

from itertools import pairwise

import numpy as np
import pytest

from raclap.archive.change_points import crossing, cut_by_sound, noise_of, overlap_of, penalty_of


def steps_of(lengths, size, rng):
    """(sum of lengths, size) unit vectors, another direction for each length."""
    return np.repeat(np.linalg.qr(rng.standard_normal((size, size)))[0][: len(lengths)], lengths, axis=0)


def wavering(count, size, overlap, deviation, rng):
    """(count, size) noise; each row the mean of `overlap` of those that lie beneath, as windows are of their sound."""
    beneath = rng.standard_normal((count + overlap - 1, size)) * deviation * np.sqrt(overlap / size)
    return np.stack([beneath[place : place + overlap].mean(axis=0) for place in range(count)])


@pytest.mark.parametrize("overlap", [1, 2, 4])
@pytest.mark.parametrize("size", [3, 16, 128])
def test_one_sound_stays_whole(size, overlap):
    rng = np.random.default_rng(0)
    for count in (10, 60, 400):
        for _ in range(10):
            vectors = np.eye(1, size) + wavering(count, size, overlap, 0.3, rng)
            assert cut_by_sound(vectors, overlap).tolist() == [0, count]


@pytest.mark.parametrize("size", [4, 16, 512])
def test_steps_are_found_in_noise(size):
    rng = np.random.default_rng(1)
    lengths = [9, 30, 12, 40]
    for _ in range(5):
        vectors = steps_of(lengths, size, rng) + 0.2 / np.sqrt(size) * rng.standard_normal((91, size))
        assert cut_by_sound(vectors).tolist() == [0, 9, 39, 51, 91]


def test_a_short_stretch_is_seen_in_a_long_recording():
    rng = np.random.default_rng(2)
    lengths = [3000, 6, 2994]
    vectors = steps_of(lengths, 64, rng) + 0.3 / 8 * rng.standard_normal((6000, 64))
    assert cut_by_sound(vectors, 2.0).tolist() == [0, 3000, 3006, 6000]


def test_the_cut_is_the_best_of_all():
    rng = np.random.default_rng(4)
    vectors = steps_of([5, 4, 6], 3, rng) + 0.15 * rng.standard_normal((15, 3))
    cuts = cut_by_sound(vectors).tolist()
    penalty = penalty_of(noise_of(vectors, 1.0), 1.0, 15)

    def cost(cuts):
        return sum(((vectors[a:b] - vectors[a:b].mean(axis=0)) ** 2).sum() + penalty for a, b in pairwise(cuts))

    every = ([0, *np.flatnonzero([number >> bit & 1 for bit in range(14)]) + 1, 15] for number in range(2**14))
    allowed = (cuts for cuts in every if min(np.diff(cuts)) > 1)
    assert len(cuts) > 2
    assert cost(cuts) == pytest.approx(min(map(cost, allowed)))


@pytest.mark.parametrize("overlap", [1, 2, 4])
def test_noise_is_told_whatever_the_steps(overlap):
    rng = np.random.default_rng(5)
    axes = np.sqrt([0.09, 0.06, *[0.01] * 20])
    steps = np.repeat(3 * rng.uniform(-1, 1, (60, 22)), 20, axis=0)
    noise = noise_of(steps + axes * np.sqrt(22) * wavering(1200, 22, overlap, 1.0, rng), overlap)
    assert noise.sum() == pytest.approx((axes**2).sum(), rel=0.2)
    assert noise[:2] == pytest.approx(axes[:2] ** 2, rel=0.35)


def test_the_penalty_is_what_chance_seldom_saves():
    """One cut in the middle of noise saves a chi-square of the noise's variances."""
    rng = np.random.default_rng(6)
    for variances in (np.array([1.0]), np.array([1.0, 0.5, 0.1]), np.full(50, 0.02)):
        saved = (rng.standard_normal((100_000, len(variances))) ** 2 * variances).sum(axis=1)
        assert (saved > penalty_of(variances, 1.0, 20) / 2).mean() < 1 / 20


@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_windows_that_are_all_the_same_are_one_stretch(count):
    assert cut_by_sound(np.tile([0.6, 0.8], (count, 1)), 2.0).tolist() == [0, count]


def test_windows_that_only_touch_meet_where_they_touch():
    start, end = np.array([0.0, 3.0, 10.0]), np.array([3.0, 10.0, 12.0])
    assert crossing(np.array([0.1, 0.2, 0.9]), start, end, 2, 1) == 10.0
    assert overlap_of(start, end) == 1.0


def test_half_way_between_two_stretches():
    start = np.arange(5) * 5.0
    progress = np.array([0.0, 0.0, 0.25, 0.75, 1.0])  # the next begins at 17.5 s: the third holds 2.5 s of it
    assert crossing(progress, start, start + 10, 3, 2) == pytest.approx(17.5)
