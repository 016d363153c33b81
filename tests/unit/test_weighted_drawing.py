"""Draws by weight without putting back have the chances that drawing one by one gives."""

import itertools

import numpy as np
import pytest

from raclap.data import weighted_drawing
from raclap.data.weighted_drawing import WeightedRows

ROWS = np.array([3, 5, 6, 10, 11])
WEIGHTS = np.array([0.1, 1.0, 2.0, 4.0, 0.4])
DRAWS = 8_000


def chance_of(order) -> float:
    """Of drawing exactly these places one after the other."""
    left, chance = WEIGHTS.sum(), 1.0
    for place in order:
        chance *= WEIGHTS[place] / left
        left -= WEIGHTS[place]
    return chance


@pytest.mark.parametrize("rounds", [8, 1, 0])  # 0: by keys alone; 1: by both
def test_every_sequence_comes_as_often_as_it_should(rounds, monkeypatch):
    monkeypatch.setattr(weighted_drawing, "_ROUNDS", rounds)
    monkeypatch.setattr(weighted_drawing, "_SPARE", 0)
    rows, rng = WeightedRows(ROWS, WEIGHTS), np.random.default_rng(rounds)
    drawn = [tuple(rows.draw(3, rng).tolist()) for _ in range(DRAWS)]
    sequences = list(itertools.permutations(range(5), 3))
    assert sum(map(chance_of, sequences)) == pytest.approx(1)
    for sequence in sequences:
        chance, found = chance_of(sequence), drawn.count(tuple(ROWS[list(sequence)].tolist()))
        assert abs(found - DRAWS * chance) < 5 * np.sqrt(DRAWS * chance * (1 - chance)) + 1


@pytest.mark.parametrize("rounds", [8, 0])
def test_rows_drawn_before_do_not_come_again(rounds, monkeypatch):
    monkeypatch.setattr(weighted_drawing, "_ROUNDS", rounds)
    rows, rng = WeightedRows(ROWS, WEIGHTS), np.random.default_rng(1)
    before = np.array([10, 3])
    drawn = [rows.draw(1, rng, without=before)[0] for _ in range(DRAWS)]
    for row, chance in zip((5, 6, 11), np.array([1.0, 2.0, 0.4]) / 3.4, strict=True):
        assert abs(drawn.count(row) - DRAWS * chance) < 5 * np.sqrt(DRAWS * chance * (1 - chance))
    assert rows.weight_of(before) == pytest.approx(4.1)
    assert rows.total == pytest.approx(7.5)


def test_all_rows_can_be_drawn_however_unequal():
    weights = 10.0 ** -np.arange(12)
    rows = WeightedRows(np.arange(12), weights)
    drawn = rows.draw(12, np.random.default_rng(0))
    assert sorted(drawn) == list(range(12))
    assert len(rows.draw(0, np.random.default_rng(0))) == 0
    assert len(WeightedRows(np.zeros(0, int), np.zeros(0)).draw(0, np.random.default_rng(0))) == 0


def test_a_small_draw_of_very_many_takes_few_random_numbers():
    class Counting:
        def __init__(self):
            self.taken, self._rng = 0, np.random.default_rng(0)

        def random(self, count):
            self.taken += count
            return self._rng.random(count)

    rng = Counting()
    rows = WeightedRows(np.arange(100_000), np.random.default_rng(1).random(100_000) + 0.1)
    assert len(set(rows.draw(192, rng).tolist())) == 192
    assert rng.taken < 400
