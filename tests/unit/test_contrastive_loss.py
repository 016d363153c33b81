"""The contrastive loss against analytic values, and its tiled form against the plain one."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modeling_raclap.losses_raclap import info_nce
from raclap.training import contrastive_loss as entry
from raclap.training.contrastive_loss import ContrastiveLoss, contrastive_loss
from raclap.training.relations import Relation, SameGroup, SharedAttributes, TeacherCosines
from raclap.training.tiled_loss import Weights, tiled_loss

B, D = 23, 6
FORMS = ("plain", "tiled")


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def unit_rows(rows: int = B, dim: int = D, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def codes(rows: int = B) -> Tensor:
    return torch.randint(0, 5, (rows,), generator=torch.Generator().manual_seed(3))


def relation_of(name: str, rows: int = B) -> Relation | None:
    match name:
        case "none":
            return None
        case "groups":
            return SameGroup(codes(rows))
        case "attributes":
            held = torch.stack([codes(rows), codes(rows).flip(0)], dim=1)
            wanted = held.clone()
            wanted[::2, 1] = -1
            return SharedAttributes(held, wanted, power=1.5)
        case "teacher":
            return TeacherCosines(unit_rows(rows, 9, seed=1), unit_rows(rows, 9, seed=2), 0.1)
        case "sharp teacher":
            return TeacherCosines(unit_rows(rows, 9, seed=1), unit_rows(rows, 9, seed=2), 0.01)
    raise ValueError(name)


RELATIONS = ("none", "groups", "attributes", "teacher", "sharp teacher")


class Inputs:
    """Leaves that ask for gradients; one scale serves both directions where no other is given."""

    def __init__(self, audio: Tensor, text: Tensor, audio_scale: float, text_scale: float | None = None):
        self.audio, self.text = (x.clone().requires_grad_() for x in (audio, text))
        self.audio_scale = torch.tensor(audio_scale, dtype=audio.dtype, requires_grad=True)
        self.text_scale = self.audio_scale
        if text_scale is not None:
            self.text_scale = torch.tensor(text_scale, dtype=audio.dtype, requires_grad=True)

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self.audio, self.text, self.audio_scale, self.text_scale)

    def gradients(self) -> list[Tensor]:
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self]


def outcome(inputs: Inputs, relation: Relation | None, **options) -> list[Tensor]:
    """Loss, entropy and gradients; the factor stands for what is computed after the loss."""
    found: ContrastiveLoss = contrastive_loss(*inputs, relation, **options)
    (1.7 * found.loss).backward()
    entropy = torch.zeros(()) if found.target_entropy is None else found.target_entropy
    return [found.loss.detach(), entropy.to(found.loss.dtype), *inputs.gradients()]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    former = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(former)


@pytest.fixture(params=[(4, 5), (7, 23), (64, 64)], ids=str)
def tile(request, monkeypatch):
    """Tiles that do not divide the batch, and one that holds it all."""
    monkeypatch.setattr("raclap.training.tiled_loss._CPU_TILE", request.param)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("scales", [(7.0, None), (7.0, 7.0), (5.0, 9.0), (100.0, None), (100.0, 3.0)], ids=str)
def test_tiled_equals_plain(name, scales, tile, threads):
    for weights in ({}, {"symmetric": False, "relation_weight": 0.7, "identity_weight": 0.4}):
        plain, tiled = (
            outcome(Inputs(unit_rows(seed=4), unit_rows(seed=5), *scales), relation_of(name), form=form, **weights)
            for form in FORMS
        )
        for a, b in zip(plain, tiled, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["relation only", "identity only"])
def test_tiled_equals_plain_with_one_term(weights, tile):
    options = dict(zip(("relation_weight", "identity_weight"), weights, strict=True))
    plain, tiled = (
        outcome(Inputs(unit_rows(seed=4), unit_rows(seed=5), 6.0, 8.0), relation_of("teacher"), form=form, **options)
        for form in FORMS
    )
    for a, b in zip(plain, tiled, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_without_a_relation_it_is_info_nce(form, symmetric):
    inputs, same = (Inputs(unit_rows(seed=4), unit_rows(seed=5), 9.0) for _ in range(2))
    found = contrastive_loss(*inputs, form=form, symmetric=symmetric)
    assert found.target_entropy is None
    found.loss.backward()
    expected = info_nce(same.audio, same.text, same.audio_scale, symmetric)
    expected.backward()
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(inputs.gradients(), same.gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_groups_of_one_are_info_nce(form):
    inputs, same = (Inputs(unit_rows(seed=4), unit_rows(seed=5), 9.0, 4.0) for _ in range(2))
    alone = outcome(inputs, SameGroup(torch.arange(B)), identity_weight=0.0, form=form)
    expected = outcome(same, None, form=form)
    for a, b in zip(alone, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [8.0, 100.0])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(form, scale):
    audio, text = unit_rows(seed=4), unit_rows(seed=5)
    inputs = Inputs(audio, text, scale)
    loss, _, *gradients = outcome(inputs, TeacherCosines(audio, text, 1 / scale), identity_weight=0.0, form=form)
    for value in (loss, *gradients):
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)


def test_near_its_teacher_a_float32_loss_is_more_than_rounding():
    audio, text = unit_rows(300, 32, seed=4).float(), unit_rows(300, 32, seed=5).float()
    loss = contrastive_loss(
        audio, text, torch.tensor(20.0), torch.tensor(20.0), TeacherCosines(audio, text, 1 / 20.2), 1.0, 0.0,
        form="tiled",
    ).loss  # fmt: skip
    exact = contrastive_loss(
        audio.double(), text.double(), number(20.0), number(20.0),
        TeacherCosines(audio.double(), text.double(), 1 / 20.2), 1.0, 0.0, form="plain",
    ).loss  # fmt: skip
    assert abs(loss.item() - exact.item()) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_entropy_of_groups_is_the_mean_log_of_their_sizes(form):
    sizes = (codes().unsqueeze(0) == codes().unsqueeze(1)).sum(1)
    found = contrastive_loss(unit_rows(), unit_rows(), number(3.0), number(3.0), relation_of("groups"), form=form)
    assert found.target_entropy.item() == pytest.approx(sizes.double().log().mean().item(), rel=1e-6)
    assert not found.target_entropy.requires_grad


@pytest.mark.parametrize("form", FORMS)
def test_entropy_of_a_teacher_is_the_mean_over_both_directions(form):
    relation = relation_of("teacher")
    targets = [relation.logits(slice(0, B), slice(0, B)).softmax(dim) for dim in (0, 1)]
    expected = -sum((p * p.log()).sum().item() for p in targets) / (2 * B)
    found = contrastive_loss(unit_rows(), unit_rows(), number(3.0), number(3.0), relation, form=form)
    assert found.target_entropy.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_embeddings_that_say_nothing_cost_the_log_of_the_batch(form):
    zeros = torch.zeros(B, D)
    found = contrastive_loss(zeros, zeros, torch.tensor(14.0), torch.tensor(14.0), form=form)
    assert found.loss.item() == pytest.approx(math.log(B), rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["none", "groups", "teacher"])
def test_a_batch_of_one_costs_nothing(form, name):
    for value in outcome(Inputs(unit_rows(1), unit_rows(1, seed=1), 9.0), relation_of(name, 1), form=form):
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["none", "groups", "teacher", "sharp teacher"])
def test_the_highest_scale_is_right_in_float32(form, name):
    rows = 150
    audio, text = unit_rows(rows, 16, seed=4), unit_rows(rows, 16, seed=5)
    expected = outcome(Inputs(audio, text, 100.0), relation_of(name, rows), form="plain")
    found = outcome(Inputs(audio.float(), text.float(), 100.0), relation_of(name, rows), form=form)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_rows_that_are_not_unit_are_right_too():
    long = [10 * unit_rows(seed=4), 10 * unit_rows(seed=5)]
    plain, tiled = (outcome(Inputs(*long, 9.0), relation_of("teacher"), form=form) for form in FORMS)
    for a, b in zip(plain, tiled, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing_but_the_rounding_of_its_inputs(form):
    audio, text = unit_rows(seed=4).bfloat16(), unit_rows(seed=5).bfloat16()
    scale = torch.tensor(9.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(audio, text, scale, scale, relation_of("teacher"), form=form)
    expected = contrastive_loss(audio.float(), text.float(), scale, scale, relation_of("teacher"), form=form)
    assert found.loss.dtype == torch.float32
    assert torch.equal(found.loss, expected.loss)
    exact = contrastive_loss(unit_rows(seed=4), unit_rows(seed=5), scale, scale, relation_of("teacher"), form=form)
    assert found.loss.item() == pytest.approx(exact.loss.item(), rel=2e-2)


@pytest.mark.parametrize("name", ["none", "attributes", "teacher"])
def test_gradients_equal_finite_differences(name):
    inputs = Inputs(unit_rows(5, 3, seed=4), unit_rows(5, 3, seed=5), 3.0, 2.0)
    relation = relation_of(name, 5)
    assert torch.autograd.gradcheck(lambda *x: contrastive_loss(*x, relation, form="tiled").loss, tuple(inputs))


def test_only_what_asks_gets_a_gradient():
    audio = unit_rows(seed=4).requires_grad_()
    text = unit_rows(seed=5)
    contrastive_loss(audio, text, number(3.0), number(4.0), form="tiled").loss.backward()
    assert audio.grad is not None
    assert text.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["none", "teacher"])
def test_without_gradients_the_value_is_the_same(mode, name, threads):
    inputs = Inputs(unit_rows(seed=4), unit_rows(seed=5), 9.0)
    expected = contrastive_loss(*inputs, relation_of(name), form="tiled")
    with mode():
        found = contrastive_loss(*inputs, relation_of(name), form="tiled")
    assert not found.loss.requires_grad
    torch.testing.assert_close(found.loss, expected.loss.detach(), rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Records the most elements of any result; an expanded scalar holds one."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("scales", [(9.0, None), (100.0, 3.0)], ids=str)
def test_the_tiled_form_never_holds_a_whole_matrix(name, scales, monkeypatch):
    rows = 120
    monkeypatch.setattr("raclap.training.tiled_loss._CPU_TILE", (10, 16))
    inputs, relation = Inputs(unit_rows(rows), unit_rows(rows, seed=1), *scales), relation_of(name, rows)
    with LargestTensor() as largest:
        contrastive_loss(*inputs, relation, form="tiled").loss.backward()
    assert rows * D <= largest.elements <= rows * 10  # embeddings, and one row of tiles
    with LargestTensor() as largest:
        contrastive_loss(*inputs, relation, form="plain").loss.backward()
    assert largest.elements >= rows * rows


def test_runs_repeat_to_the_bit(threads, tile):
    first, second = (
        outcome(Inputs(unit_rows(seed=4).float(), unit_rows(seed=5).float(), 9.0), relation_of("groups"), form="tiled")
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


def test_auto_changes_over_at_the_crossing(monkeypatch):
    taken = []

    def spy(*arguments):
        taken.append("tiled")
        return tiled_loss(*arguments)

    monkeypatch.setattr(entry, "tiled_loss", spy)
    for crossing, expected in ((B + 1, []), (B, ["tiled"])):
        monkeypatch.setattr(entry, "CROSSING", crossing)
        contrastive_loss(unit_rows(), unit_rows(), number(3.0), number(3.0))
        assert taken == expected


def test_a_tile_can_be_asked_for():
    inputs = Inputs(unit_rows(seed=4), unit_rows(seed=5), 9.0)
    whole, _ = tiled_loss(*inputs, None, Weights(relation=0.0), tile=(B, B))
    small, _ = tiled_loss(*inputs, None, Weights(relation=0.0), tile=(3, 2))
    torch.testing.assert_close(small, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_embeds": unit_rows(B - 1)}, r"audio is \(23, 6\), text \(22, 6\)"),
        ({"audio_embeds": unit_rows(0), "text_embeds": unit_rows(0)}, "b above 0"),
        ({"relation": SameGroup(torch.arange(5))}, "relation is of 5 pairs, the batch of 23"),
        ({"identity_weight": 0.0}, "no term"),
        ({"form": "blocked"}, "form must be auto, plain or tiled, not 'blocked'"),
    ],
)
def test_impossible_input_is_refused(change, message):
    usual = {"audio_embeds": unit_rows(), "text_embeds": unit_rows()}
    scales = {"audio_logit_scale": number(3.0), "text_logit_scale": number(3.0)}
    with pytest.raises(ValueError, match=message):
        contrastive_loss(**{**usual, **scales, **change})
