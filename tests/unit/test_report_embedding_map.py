"""The map: what is close in the joint space is close on it, and equal seeds give equal maps."""

import numpy as np
import pytest

from raclap.report.embedding_map import draw_rows, lay_out


def clusters(rng, size=12):
    """Two groups of unit vectors, each side of a pair near the same centre."""
    centres = np.eye(8)[[0, 1]].repeat(size, axis=0)
    sides = [centres + 0.05 * rng.standard_normal(centres.shape) for _ in range(2)]
    return [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]


def test_pairs_lie_nearer_to_their_group_than_to_the_other():
    places = lay_out(*clusters(np.random.default_rng(0)))
    assert places.shape == (2, 24, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    group = places.reshape(2, 2, 12, 2)
    inner = np.linalg.norm(group - group.mean((0, 2), keepdims=True), axis=-1).mean()
    centres = group.mean((0, 2))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * inner


def test_equal_seeds_give_equal_maps():
    sides = clusters(np.random.default_rng(0))
    np.testing.assert_array_equal(lay_out(*sides, seed=3), lay_out(*sides, seed=3))


@pytest.mark.parametrize("sides", [np.eye(8)[:3], np.tile(np.eye(8)[:1], (20, 1))], ids=["too few", "all alike"])
def test_what_cannot_be_laid_out(sides):
    assert lay_out(sides, sides) is None


def test_rows_are_drawn_evenly_once_each_and_by_seed():
    drawn = draw_rows({"small": 10, "large": 1000}, most=100, seed=1)
    assert list(drawn) == ["small", "large"]
    assert drawn["small"].tolist() == list(range(10))
    assert len(set(drawn["large"].tolist())) == 90
    assert drawn["large"].tolist() == draw_rows({"small": 10, "large": 1000}, most=100, seed=1)["large"].tolist()
    assert drawn["large"].tolist() != draw_rows({"small": 10, "large": 1000}, most=100, seed=2)["large"].tolist()
