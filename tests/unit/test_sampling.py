"""Mixtures are exact in every global batch, on any number of processes, and a function of seed and epoch."""

from collections import Counter

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from raclap.data.sampling import Draw, MixtureSampler
from raclap.errors import RecipeError

SIZES = [20, 50, 200]


def corpus_of(row: int) -> int:
    return 0 if row < 20 else 1 if row < 70 else 2


def windows(draws: list[Draw], size: int) -> list[list[int]]:
    return [[d.row for d in draws[i : i + size]] for i in range(0, len(draws), size)]


@pytest.mark.parametrize(("shares", "counts"), [((1, 1, 1), (10, 10, 10)), ((1, 2, 3), (5, 10, 15))])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_global_batch_holds_the_exact_mixture(shares, counts, processes):
    sampler = MixtureSampler(SIZES, shares, 30, steps_per_epoch=25)
    batches = BatchSampler(sampler, 30 // processes, drop_last=True)
    parts = [list(BatchSamplerShard(batches, processes, rank, even_batches=False)) for rank in range(processes)]
    assert all(len(part) == 25 for part in parts)
    for step in range(25):
        rows = [draw.row for part in parts for draw in part[step]]
        assert Counter(map(corpus_of, rows)) == dict(enumerate(counts))
        assert len(set(rows)) == 30


def test_processes_together_see_what_one_process_sees():
    def rows(processes: int) -> list[set[Draw]]:
        batches = BatchSampler(MixtureSampler(SIZES, (1, 1, 1), 30, 8, seed=3), 30 // processes, drop_last=True)
        parts = [list(BatchSamplerShard(batches, processes, r, even_batches=False)) for r in range(processes)]
        return [{draw for part in parts for draw in part[step]} for step in range(8)]

    assert rows(1) == rows(2) == rows(3)


def test_natural_mixture_sees_every_pair_once_an_epoch():
    sampler = MixtureSampler([30, 60, 210], None, 30)
    assert len(sampler) == 300
    assert sorted(draw.row for draw in sampler) == list(range(300))


def test_a_pass_shows_a_row_at_most_once():
    sampler = MixtureSampler(SIZES, (1, 1, 1), 30, steps_per_epoch=5)
    large = [draw.row for draw in sampler if corpus_of(draw.row) == 1]  # 5 pieces of 10 are one pass of 50
    assert sorted(large) == list(range(20, 70))


def test_epochs_differ_and_repeat_exactly():
    sampler = MixtureSampler(SIZES, (1, 1, 1), 30, steps_per_epoch=4, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    assert {draw.number for draw in first}.isdisjoint({draw.number for draw in second})
    again = MixtureSampler(SIZES, (1, 1, 1), 30, steps_per_epoch=4, seed=1)
    again.set_epoch(1)
    assert list(again) == second
    # Epoch by epoch or in one go: the draws are the same.
    assert first + second == list(MixtureSampler(SIZES, (1, 1, 1), 30, steps_per_epoch=8, seed=1))


def test_every_process_gets_some_of_every_corpus():
    draws = list(MixtureSampler(SIZES, (1, 1, 1), 30, steps_per_epoch=50))
    halves = windows(draws, 15)
    assert sum(len(set(map(corpus_of, half))) == 3 for half in halves) > 0.95 * len(halves)


def test_a_batch_larger_than_the_corpus_names_both():
    with pytest.raises(RecipeError, match=r"batch_size 90 asks for 30 pairs of 'tiny'.*has 20"):
        MixtureSampler(SIZES, (1, 1, 1), 90, names=["tiny", "b", "c"])
    with pytest.raises(RecipeError, match=r"asks for 300 pairs of 'a \+ b'"):
        MixtureSampler([100, 100], None, 300, names=["a", "b"])
