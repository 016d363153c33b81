"""Rare tags: clips weigh what their tags say, and every global batch holds some, whatever the mixture."""

from collections import Counter

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from raclap.data.class_balance import ClassBalancedSampler, ClassWeights, class_weights
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.sampling import MixtureSampler
from raclap.errors import RecipeError
from raclap.recipe import ClassBalanceRecipe

SIZES = [20, 50, 200]
STARTS = np.cumsum([0, *SIZES])


def corpus_of(row: int) -> int:
    return int(np.searchsorted(STARTS, row, side="right")) - 1


def balance(rare_of_each=(1, 2, 3), seed=0, sizes=SIZES) -> list[ClassWeights]:
    """Random weights; the first rows of each corpus are the rare ones, and so light that chance avoids them."""
    rng, found = np.random.default_rng(seed), []
    for size, rare in zip(sizes, rare_of_each, strict=True):
        weights = rng.uniform(0.5, 3, size)
        weights[:rare] = 0.01
        found.append(ClassWeights(weights / weights.mean(), np.arange(size) < rare))
    return found


def is_rare(row: int, rare_of_each=(1, 2, 3)) -> bool:
    corpus = corpus_of(row)
    return row - STARTS[corpus] < rare_of_each[corpus]


def batches_of(sampler: MixtureSampler, processes: int = 1) -> list[list[int]]:
    """Global batches as Accelerate deals them to processes."""
    batches = BatchSampler(sampler, sampler.batch_size // processes, drop_last=True)
    parts = [list(BatchSamplerShard(batches, processes, rank, even_batches=False)) for rank in range(processes)]
    steps = zip(*parts, strict=True)
    return [[draw.row for part in step for draw in part] for step in steps]


@pytest.mark.parametrize(("shares", "counts"), [((1, 1, 1), (10, 10, 10)), ((1, 2, 3), (5, 10, 15))])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("quota", [0, 2, 5, 6])
def test_every_global_batch_holds_shares_and_rare_clips(shares, counts, processes, quota):
    batches = batches_of(ClassBalancedSampler(balance(), quota, shares, 30, steps_per_epoch=25), processes)
    assert len(batches) == 25
    for rows in batches:
        assert Counter(map(corpus_of, rows)) == dict(enumerate(counts))
        assert len(set(rows)) == 30
        assert sum(map(is_rare, rows)) >= quota
    if not quota:  # else the quota would hold by chance, and nothing be tested
        assert min(sum(map(is_rare, rows)) for rows in batches) == 0


def test_mixture_by_size_holds_its_sizes_on_average_and_the_quota():
    sampler = ClassBalancedSampler(balance(), 2, None, 27, steps_per_epoch=500)
    assert all(sum(map(is_rare, rows)) >= 2 and len(set(rows)) == 27 for rows in batches_of(sampler))
    plain = ClassBalancedSampler(balance(), 0, None, 1, steps_per_epoch=8_000)
    found = Counter(corpus_of(rows[0]) for rows in batches_of(plain))
    for corpus, size in enumerate(SIZES):
        chance = size / 270
        assert abs(found[corpus] - 8_000 * chance) < 5 * np.sqrt(8_000 * chance * (1 - chance))


def test_rows_come_as_often_as_they_weigh():
    own = balance()
    steps = 8_000
    found = Counter(
        row for rows in batches_of(ClassBalancedSampler(own, 0, (1, 1, 1), 3, steps_per_epoch=steps)) for row in rows
    )
    chances = np.concatenate([weights.weights / weights.weights.sum() for weights in own])
    counts = np.array([found[row] for row in range(270)])
    assert (np.abs(counts - steps * chances) < 5 * np.sqrt(steps * chances * (1 - chances)) + 1).all()
    # The squares of the deviations are 1 on average: neither more regular nor more scattered than chance.
    chi_square = ((counts - steps * chances) ** 2 / (steps * chances)).sum()
    assert abs(chi_square - 267) < 5 * np.sqrt(2 * 267)


def test_a_quota_that_chance_meets_changes_nothing():
    own = balance((10, 20, 90))
    heavy = [ClassWeights(np.where(w.rare, 5, w.weights), w.rare) for w in own]
    plain, with_quota = (
        list(ClassBalancedSampler(heavy, quota, (1, 1, 1), 30, steps_per_epoch=50)) for quota in (0, 2)
    )
    assert plain == with_quota


def test_batches_are_a_function_of_seed_and_step():
    def sampler(steps, seed=1, epoch=0):
        made = ClassBalancedSampler(balance(), 2, (1, 1, 1), 30, steps_per_epoch=steps, seed=seed)
        made.set_epoch(epoch)
        return list(made)

    assert sampler(4) + sampler(4, epoch=1) == sampler(8)
    assert sampler(1, epoch=7) == sampler(8)[-30:]
    assert [draw.number for draw in sampler(4, epoch=1)] == list(range(120, 240))
    assert sampler(4, seed=2) != sampler(4)
    assert batches_of(ClassBalancedSampler(balance(), 2, (1, 1, 1), 30, 6)) != batches_of(
        ClassBalancedSampler(balance(), 2, (1, 1, 1), 30, 6, seed=1)
    )


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_see_what_one_process_sees(processes):
    def sampler():
        return ClassBalancedSampler(balance(), 3, (1, 1, 1), 30, 8)

    one, several = batches_of(sampler()), batches_of(sampler(), processes)
    assert [sorted(rows) for rows in one] == [sorted(rows) for rows in several]


def test_an_epoch_is_as_long_as_without():
    assert len(ClassBalancedSampler(balance(), 2, (1, 1, 1), 30)) == len(MixtureSampler(SIZES, (1, 1, 1), 30))


def test_too_many_rare_clips_are_refused():
    with pytest.raises(RecipeError, match=r"rare_per_batch asks for 7 clips.*there are 6"):
        ClassBalancedSampler(balance(), 7, (1, 1, 1), 30)
    with pytest.raises(RecipeError, match=r"rare_per_batch asks for 25 clips.* batch of 30, but 21 fit into"):
        ClassBalancedSampler(balance((1, 50, 90)), 25, (1, 1, 1), 30)
    with pytest.raises(RecipeError, match=r"asks for 30 pairs of 'tiny'.*has 20"):
        ClassBalancedSampler(balance(), 2, (1, 1, 1), 90, names=["tiny", "b", "c"])


def make_manifest(folder, name, tags):
    pairs = [
        Pair(f"{name}-{i}", f"{i}.flac", (Caption("a voice"),), name, "train", tags=own) for i, own in enumerate(tags)
    ]
    path = folder / name / "manifest.parquet"
    path.parent.mkdir()
    write_manifest(path, pairs, path.parent)
    return read_manifest(path)


def test_weights_are_mean_inverse_frequencies(tmp_path):
    # a is in 3 of 8 clips, b and n in 2, c and m in 1; two have no tag that counts.
    tags = [("x:a",), ("x:a", "x:b", "y:m"), ("x:a", "y:n"), ("x:b",), ("x:c", "x:c"), (), ("z:q",), ("y:n",)]
    corpora = {"one": make_manifest(tmp_path, "one", tags), "two": make_manifest(tmp_path, "two", [("x:a",)] * 4)}
    one, two = class_weights(corpora, ClassBalanceRecipe(groups=("x", "y"), rare_share=0.2, rare_per_batch=1))
    a, b, c, n, m = 8 / 3, 4, 8, 4, 8
    tagged = np.array([a, (a + b + m) / 3, (a + n) / 2, b, c, n])
    mean = tagged.mean()
    expected = np.array([*tagged[:5], mean, mean, n]) / mean
    assert one.weights == pytest.approx(expected)
    assert one.weights.mean() == pytest.approx(1)
    assert np.flatnonzero(one.rare).tolist() == [1, 4]
    assert two.weights.tolist() == [1] * 4
    assert not two.rare.any()


def test_bad_groups_and_shares_are_refused(tmp_path):
    corpora = {"one": make_manifest(tmp_path, "one", [("x:a",), ("x:a",), ("x:b",), ()])}
    with pytest.raises(RecipeError, match=r"data.class_balance.groups: .*'y:…'.*tag groups x"):
        class_weights(corpora, ClassBalanceRecipe(groups=("y",)))
    with pytest.raises(RecipeError, match=r"less than 5.00%.*the rarest, 'b' of 'x' in 'one', is in 25.00%"):
        class_weights(corpora, ClassBalanceRecipe(groups=("x",)))
    (without,) = class_weights(corpora, ClassBalanceRecipe(groups=("x",), rare_per_batch=0))
    assert not without.rare.any()
