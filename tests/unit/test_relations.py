"""Relations: whose caption is right for whom, as targets."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from raclap.training.relations import FLOOR, Relation, SameGroup, SharedAttributes, TeacherCosines

B = 11


def whole(relation: Relation) -> Tensor:
    return relation.logits(slice(0, len(relation)), slice(0, len(relation)))


def unit_rows(dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(B, dim, generator=generator, dtype=torch.float64), dim=1)


def attributes(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes of clips (B, 4), some unknown (0), and captions that name some of them, at least one."""
    generator = torch.Generator().manual_seed(seed)
    held = torch.randint(0, 3, (B, 4), generator=generator)
    named = torch.rand(B, 4, generator=generator) < 0.6
    named[~named.any(1), 0] = True
    return held, held.masked_fill(~named, -1)


def relations() -> dict[str, Relation]:
    codes = torch.randint(0, 4, (B,), generator=torch.Generator().manual_seed(0))
    return {
        "groups": SameGroup(codes),
        "attributes": SharedAttributes(*attributes(), power=2.0),
        "teacher": TeacherCosines(unit_rows(5, 1), unit_rows(5, 2), 0.1),
        "sharp teacher": TeacherCosines(unit_rows(5, 1), unit_rows(5, 2), 0.01),
    }


@pytest.mark.parametrize("name", relations())
def test_tiles_are_parts_of_the_whole(name):
    relation = relations()[name]
    rows, columns = slice(3, 8), slice(7, 11)
    torch.testing.assert_close(relation.logits(rows, columns), whole(relation)[rows, columns])


@pytest.mark.parametrize("name", relations())
def test_the_reference_bounds_the_logits_and_safe_sums_of_exponentials_stay_above_0(name):
    relation = relations()[name]
    logits = whole(relation).float()
    assert len(relation) == B
    assert logits.isfinite().all()
    assert logits.max() <= relation.reference
    if relation.exp_is_safe:
        shifted = (logits - relation.reference).exp()
        assert shifted.sum(0).min() > 0
        assert shifted.sum(1).min() > 0


def test_only_a_very_sharp_teacher_is_not_safe():
    assert {name: relation.exp_is_safe for name, relation in relations().items()} == {
        "groups": True, "attributes": True, "teacher": True, "sharp teacher": False,
    }  # fmt: skip


def test_a_tile_is_fresh_memory():
    for relation in relations().values():
        before = whole(relation).clone()
        whole(relation).zero_()
        assert torch.equal(whole(relation), before)


def test_a_group_shares_its_targets_equally():
    codes = torch.tensor([7, 2, 7, 7, 2])
    targets = whole(SameGroup(codes)).softmax(1)
    expected = torch.tensor([[a == b for b in codes.tolist()] for a in codes.tolist()]).float()
    torch.testing.assert_close(targets, expected / expected.sum(1, keepdim=True))


@pytest.mark.parametrize("power", [1.0, 3.0])
@pytest.mark.parametrize("dim", [0, 1])
def test_attribute_targets_equal_a_double_loop(power, dim):
    held, wanted = attributes()
    shares = torch.zeros(B, B, dtype=torch.float64)
    for i in range(B):
        for j in range(B):
            named = [k for k in range(4) if wanted[j, k] != -1]
            shares[i, j] = (sum(held[i, k].item() == wanted[j, k].item() for k in named) / len(named)) ** power
    targets = whole(SharedAttributes(held, wanted, power)).softmax(dim)
    torch.testing.assert_close(targets.double(), shares / shares.sum(dim, keepdim=True), rtol=1e-5, atol=0)


def test_a_clip_is_fully_related_to_its_own_caption():
    for power in (0.5, 1.0, 100.0):
        logits = whole(SharedAttributes(*attributes(), power))
        assert torch.equal(logits.diagonal(), torch.zeros(B))
        assert logits.min() >= FLOOR


@pytest.mark.parametrize(
    ("held", "wanted", "power", "message"),
    [
        ([[1], [2]], [[1], [-1]], 1.0, "caption 1 names no attribute"),
        ([[1], [2]], [[2], [2]], 1.0, "caption 0 does not hold"),
        ([[1], [2]], [[1, 2]], 1.0, r"\(2, 1\), wanted \(1, 2\)"),
        ([[1]], [[1]], 0.0, "power must be above 0, not 0"),
    ],
)
def test_impossible_attributes_are_refused(held, wanted, power, message):
    with pytest.raises(ValueError, match=message):
        SharedAttributes(torch.tensor(held), torch.tensor(wanted), power)


def test_teacher_logits_are_cosines_over_the_temperature():
    audio, text = unit_rows(5, 1), unit_rows(5, 2)
    torch.testing.assert_close(whole(TeacherCosines(audio, text, 0.2)), audio @ text.T / 0.2)


def test_an_ensemble_averages_cosines():
    teachers = [(unit_rows(dim, dim), unit_rows(dim, 10 + dim)) for dim in (3, 5, 8)]
    ensemble = whole(TeacherCosines.average(teachers, 0.07))
    torch.testing.assert_close(ensemble, sum(audio @ text.T for audio, text in teachers) / 3 / 0.07)


def test_an_ensemble_of_one_is_the_teacher():
    pair = (unit_rows(5, 1), unit_rows(5, 2))
    assert torch.equal(whole(TeacherCosines.average([pair], 0.1)), whole(TeacherCosines(*pair, 0.1)))


def test_stored_half_precision_is_computed_in_float32():
    audio, text = unit_rows(5, 1).half(), unit_rows(5, 2).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = whole(TeacherCosines(audio, text, 0.1))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, audio.float() @ text.float().T / 0.1)


def test_no_gradient_flows_into_a_teacher():
    audio = unit_rows(5, 1).requires_grad_()
    assert not whole(TeacherCosines(audio, audio, 0.1)).requires_grad


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_temperatures_that_are_not_above_0_are_refused(temperature):
    pair = (unit_rows(5, 1), unit_rows(5, 2))
    for make in (lambda: TeacherCosines(*pair, temperature), lambda: TeacherCosines.average([pair], temperature)):
        with pytest.raises(ValueError, match=f"temperature must be above 0, not {temperature}"):
            make()


def test_impossible_teachers_are_refused():
    rows = unit_rows(5, 1)
    with pytest.raises(ValueError, match=r"text embeddings must be unit rows; one is 2 long"):
        TeacherCosines(rows, 2 * rows, 0.1)
    with pytest.raises(ValueError, match=r"audio is \(11, 5\), text \(10, 5\)"):
        TeacherCosines(rows, rows[1:], 0.1)
    with pytest.raises(ValueError, match="at least one teacher"):
        TeacherCosines.average([], 0.1)
