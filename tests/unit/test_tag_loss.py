"""The classification loss against a loop, its masks and its floor."""

import math

import pytest
import torch
from torch import Tensor

from raclap.training.tag_loss import tag_loss

SIZES = (3, 2, 4)
GROUPS = torch.tensor([group for group, size in enumerate(SIZES) for _ in range(size)])
K = len(GROUPS)


def logits(clips: int = 6) -> Tensor:
    return 3 * torch.randn(clips, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def tags(clips: int = 6) -> Tensor:
    """Several tags a clip; the first clip has none at all, some have none of a group, all have none of the last."""
    found = torch.rand(clips, K, generator=torch.Generator().manual_seed(1)) < 0.4
    found[0] = False
    found[2, GROUPS == 0] = False
    found[:, GROUPS == 2] = False
    return found


def loop(values: Tensor, has: Tensor) -> Tensor:
    of_groups = []
    for group in range(len(SIZES)):
        members = [place for place, own in enumerate(GROUPS.tolist()) if own == group]
        clips = [row for row in range(len(has)) if any(has[row, k] for k in members)]
        costs = [-(values[i, k] if has[i, k] else -values[i, k]).sigmoid().log() for i in clips for k in members]
        if costs:
            of_groups.append(torch.stack(costs).mean())
    return torch.stack(of_groups).mean()


def test_it_is_the_loop_in_value_and_gradient():
    found, expected = logits().requires_grad_(), logits().requires_grad_()
    losses = tag_loss(found, tags(), GROUPS), loop(expected, tags())
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-12)
    assert found.grad[0].eq(0).all(), "a clip without tags says nothing"
    assert found.grad[2, GROUPS == 0].eq(0).all(), "nor does one without a tag of the group"
    assert found.grad[2, GROUPS == 1].ne(0).all() and found.grad[:, GROUPS == 2].eq(0).all()


def test_a_batch_without_tags_costs_nothing():
    values = logits().requires_grad_()
    loss = tag_loss(values, torch.zeros(6, K, dtype=torch.bool), GROUPS)
    loss.backward()
    assert loss.item() == 0 and values.grad.eq(0).all()


def test_bare_cosines_have_the_published_floor():
    has = tags()
    cosines = torch.where(has, 1.0, -1.0)
    assert tag_loss(cosines, has, GROUPS).item() == pytest.approx(math.log(1 + 1 / math.e), rel=1e-6)
    assert tag_loss(20 * cosines, has, GROUPS).item() < 1e-6, "a scale takes it away"


def test_it_is_computed_in_single_precision_under_autocast():
    values = logits().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tag_loss(values, tags(), GROUPS)
    assert found.dtype == torch.float32
    assert torch.equal(found, tag_loss(values.float(), tags(), GROUPS))
