"""Rank-N-Contrast across modalities against a triple loop, closed values and its symmetries."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modeling_raclap.losses_raclap import info_nce
from raclap.training import rank_loss as module
from raclap.training.rank_loss import rank_loss

B, D = 11, 5
NAN = float("nan")


def unit_rows(seed: int, rows: int = B) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, D, generator=generator, dtype=torch.float64), dim=1)


def grid(rows: int = B) -> Tensor:
    """Valence and arousal on a coarse grid, where many distances are equal."""
    return torch.randint(0, 3, (rows, 2), generator=torch.Generator().manual_seed(3)).double()


def scattered(rows: int = B) -> Tensor:
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def with_gaps(labels: Tensor) -> Tensor:
    labels = labels.clone()
    labels[2], labels[5, 0], labels[7, 1] = NAN, NAN, NAN
    return labels


def triple_loop(audio: Tensor, text: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    known = [row for row in range(len(labels)) if not labels[row].isnan().any()]
    total = audio.new_zeros(())
    for logits in (scale * audio @ text.T, scale * text @ audio.T):
        for i in known:
            distance = {k: math.dist(labels[i].tolist(), labels[k].tolist()) for k in known}
            for j in known:
                farther = [logits[i, k] for k in known if distance[k] >= distance[j]]
                total = total - (logits[i, j] - torch.stack(farther).logsumexp(0))
    return total / (2 * len(known) ** 2)


def outcome(loss, audio: Tensor, text: Tensor, labels: Tensor, scale: float = 7.0) -> list[Tensor]:
    """Loss and gradients; the factor stands for what is computed after the loss."""
    leaves = [audio.clone().requires_grad_(), text.clone().requires_grad_()]
    leaves.append(torch.tensor(scale, dtype=audio.dtype, requires_grad=True))
    value = loss(leaves[0], leaves[1], labels, leaves[2])
    (1.7 * value).backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("anchors", [None, 1, 3], ids=["one block", "single anchors", "blocks of three"])
@pytest.mark.parametrize("labels", [grid(), scattered(), with_gaps(grid())], ids=["ties", "no ties", "gaps"])
def test_it_is_the_triple_loop(labels, anchors, monkeypatch):
    if anchors is not None:
        monkeypatch.setattr(module, "_BLOCK", anchors * int((~labels.isnan().any(1)).sum()))
    expected = outcome(triple_loop, unit_rows(0), unit_rows(1), labels)
    for a, b in zip(outcome(rank_loss, unit_rows(0), unit_rows(1), labels), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_its_gradient_is_its_slope():
    leaves = (unit_rows(0, 5).requires_grad_(), unit_rows(1, 5).requires_grad_())
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, t, s: rank_loss(a, t, grid(5), s), (*leaves, scale))


def test_ties_that_rounding_of_labels_broke_are_ties():
    """1.9 and 4.3 are as far from 3.1, but no longer when they are scaled and in float32."""
    valence = torch.tensor([1.9, 3.1, 4.3, 1.3, 4.6], dtype=torch.float64)
    raw = torch.stack([valence, torch.zeros(5)], 1)
    scaled = ((raw - raw.mean(0)) / 0.77).float()
    below, above = scaled[:3, 0].double().diff()
    assert below != above, "or the case shows nothing"
    tenths = (10 * raw).round()
    found, expected = (rank_loss(unit_rows(0, 5), unit_rows(1, 5), x, torch.tensor(9.0)) for x in (scaled, tenths))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_equal_labels_throughout_share_one_denominator():
    logits = 7.0 * unit_rows(0) @ unit_rows(1).T
    expected = ((logits.logsumexp(1) - logits.mean(1)).mean() + (logits.logsumexp(0) - logits.mean(0)).mean()) / 2
    found = rank_loss(unit_rows(0), unit_rows(1), torch.full((B, 2), 0.3), torch.tensor(7.0))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_two_pairs_that_differ_are_half_of_info_nce():
    """The farther one of two has its denominator to itself and costs nothing; the partner's term is InfoNCE."""
    audio, text, scale = unit_rows(0, 2), unit_rows(1, 2), torch.tensor(7.0)
    found = rank_loss(audio, text, torch.tensor([[0.0, 1.0], [2.0, 0.5]]), scale)
    torch.testing.assert_close(found, info_nce(audio, text, scale) / 2, rtol=1e-12, atol=0)


def test_embeddings_that_say_nothing_cost_the_mean_log_of_the_denominators_sizes():
    line = torch.stack([3.0 ** torch.arange(B), torch.zeros(B)], 1)  # no two distances from an anchor are equal
    zeros = torch.zeros(B, D)
    assert rank_loss(zeros, zeros, line, torch.tensor(9.0)).item() == pytest.approx(math.lgamma(B + 1) / B, rel=1e-5)


def test_swapping_modalities_swaps_directions():
    one = outcome(rank_loss, unit_rows(0), unit_rows(1), scattered())
    other = outcome(rank_loss, unit_rows(1), unit_rows(0), scattered())
    for a, b in zip(one, (other[0], other[2], other[1], other[3]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_embeddings_in_order_cost_less_than_embeddings_in_another():
    angle = scattered()[:, 0].clamp(-1.5, 1.5)
    embeds = torch.stack([angle.cos(), angle.sin()], 1)
    labels = torch.stack([angle, torch.zeros(B)], 1)
    right, wrong = (rank_loss(embeds, embeds, x, torch.tensor(10.0)) for x in (labels, labels.flip(0)))
    assert right < wrong - 0.3


@pytest.mark.parametrize("known", [0, 1])
def test_fewer_than_two_labelled_pairs_cost_nothing(known):
    labels = torch.full((B, 2), NAN)
    labels[:known] = 1.0
    for value in outcome(rank_loss, unit_rows(0), unit_rows(1), labels):
        assert torch.equal(value, torch.zeros_like(value))


def test_pairs_without_labels_have_no_gradient():
    labels = with_gaps(scattered())
    _, by_audio, by_text, _ = outcome(rank_loss, unit_rows(0), unit_rows(1), labels)
    unknown = labels.isnan().any(1)
    for gradient in (by_audio, by_text):
        assert torch.equal(gradient.abs().sum(1) == 0, unknown)


def test_autocast_changes_nothing_but_the_rounding_of_its_inputs():
    audio, text, scale = unit_rows(0).bfloat16(), unit_rows(1).bfloat16(), torch.tensor(100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rank_loss(audio, text, grid(), scale)
    assert found.dtype == torch.float32
    assert torch.equal(found, rank_loss(audio.float(), text.float(), grid(), scale))
    exact = rank_loss(audio.double(), text.double(), grid(), scale)
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


def test_the_highest_scale_is_right_in_float32():
    rows = 150
    audio, text, labels = unit_rows(0, rows), unit_rows(1, rows), scattered(rows)
    expected = outcome(rank_loss, audio, text, labels, 100.0)
    for a, b in zip(outcome(rank_loss, audio.float(), text.float(), labels, 100.0), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("labels", [torch.zeros(B), torch.zeros(B, 3), torch.zeros(B - 1, 2)], ids=str)
def test_impossible_shapes_are_refused(labels):
    with pytest.raises(ValueError, match=r"they must be \(b, D\), \(b, D\) and \(b, 2\)"):
        rank_loss(unit_rows(0), unit_rows(1), labels, torch.tensor(1.0))
