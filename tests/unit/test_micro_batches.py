"""Micro-batches: cut where padding is least, and equal to the padded batch in loss and gradient."""

import itertools

import numpy as np
import pytest
import torch
from test_modeling import speech_config

from conftest import make_tokenizer, tiny_bert_config
from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.training.micro_batches import part_sizes
from raclap.training.objectives import ContrastiveObjective

# Clips are as unequal as in a corpus, the longest alone among the short ones.
SAMPLES = (1000, 1100, 1400, 1900, 2000, 2300, 3100, 4000, 11_000)
TEXTS = ["a low voice", "loud", "it is a high pitched voice with a tone", "a", "the loud person", "in the", "it", "of"]


def padded(lengths: list[int], sizes: tuple[int, ...] | list[int]) -> int:
    """What the parts of a sorted batch hold, padding included."""
    ends = itertools.accumulate(sizes)
    return sum(size * lengths[end - 1] for size, end in zip(sizes, ends, strict=True))


def all_sizes(count: int, parts: int) -> list[list[int]]:
    """Every way to cut so many items into so many runs."""
    cuts = itertools.combinations(range(1, count), parts - 1)
    return [np.diff([0, *cut, count]).tolist() for cut in cuts]


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("parts", range(1, 6))
def test_cuts_leave_the_least_padding_of_all_cuts(count, parts):
    rng = np.random.default_rng([count, parts])
    for _ in range(5):
        lengths = sorted(rng.integers(1, 30, count).tolist())
        sizes = part_sizes(lengths, parts)
        wanted = max(1, min(parts, count // 2))
        allowed = [cut for cut in all_sizes(count, wanted) if min(cut) >= min(2, count)]
        assert sum(sizes) == count and len(sizes) == wanted
        assert sizes in allowed
        assert padded(lengths, sizes) == min(padded(lengths, cut) for cut in allowed)


def test_no_part_is_much_smaller_than_an_equal_share():
    """One clip is far longer than all others; a part of its own would leave batch statistics without a batch."""
    sizes = part_sizes([10] * 95 + [10_000], 4)
    assert sizes[-1] == 96 // 4 // 4 and sum(sizes) == 96


def test_the_number_of_parts_never_follows_from_the_lengths():
    """Processes must call their model equally often."""
    rng = np.random.default_rng(0)
    batches = [np.ones(24, int), np.arange(1, 25), np.sort(rng.lognormal(3, 2, 24)).astype(int) + 1]
    assert {len(part_sizes(lengths.tolist(), 8)) for lengths in batches} == {8}


def test_a_lognormal_batch_holds_less_padding_than_equal_counts():
    batches = np.sort(np.random.default_rng(0).lognormal(np.log(80_000), 0.6, (20, 192))).astype(int).tolist()
    ours = sum(padded(lengths, part_sizes(lengths, 8)) / sum(lengths) for lengths in batches) / 20
    equal = sum(padded(lengths, [24] * 8) / sum(lengths) for lengths in batches) / 20
    assert ours < 1.15 and ours < 0.9 * equal


@pytest.mark.parametrize(("norm", "stable"), [("group", False), ("layer", True)])
def test_loss_and_gradient_are_those_of_the_padded_batch(norm, stable):
    """In double precision: single leaves some 1e-6 of the gradient open, whatever the order of its sums."""
    torch.manual_seed(0)
    speech = speech_config(norm=norm, stable=stable)
    config = RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=16)
    model = RaClapModel(config).double().eval()
    processor = RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())
    rng = np.random.default_rng(0)
    order = rng.permutation(len(SAMPLES))
    clips = [(0.2 * rng.standard_normal(SAMPLES[index])).astype(np.float32) for index in order]
    texts = [TEXTS[index % len(TEXTS)] for index in order]
    batch = dict(processor(text=texts, audio=clips, prepared=True))
    batch["input_values"] = batch["input_values"].double()

    def step(objective: ContrastiveObjective) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        loss = objective(model, batch).value
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, gradient = step(ContrastiveObjective())
    parts, other = step(ContrastiveObjective(speech_micro_batches=4, text_micro_batches=3))
    assert abs(parts - whole) < 1e-13 * whole
    assert (other - gradient).norm() < 1e-12 * gradient.norm()
