"""Teachers: frozen, several, moving."""

import math

import pytest
import torch

from modeling_raclap import RaClapModel
from raclap.recipe import ObjectiveRecipe, TeacherRecipe, TrainingRecipe, read_recipe
from raclap.training.objectives import ContrastiveObjective, embed_pairs
from raclap.training.teacher import BatchTeacher, MovingTeacher, StoredTeacher, teacher_temperature
from raclap.training.towers import build_model

TRAINING = TrainingRecipe()
ROWS = slice(0, 6)


@pytest.fixture(scope="module")
def models(recipe_file) -> list[RaClapModel]:
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(build_model(read_recipe(recipe_file).model)[0].eval())
    return found


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {
        "input_ids": torch.randint(4, 20, (6, 5)), "attention_mask": torch.ones(6, 5, dtype=torch.long),
        "input_features": torch.randn(6, 40, 80), "audio_attention_mask": torch.ones(6, 40, dtype=torch.long),
    }  # fmt: skip


def cosines(model, batch):
    output = model(**batch)
    return output.audio_embeds @ output.text_embeds.T


def test_a_copy_of_the_teacher_with_its_own_temperature_has_nothing_to_learn(models, batch):
    teacher = BatchTeacher([models[0]], TeacherRecipe(folders=("x",)), TRAINING)
    loss = ContrastiveObjective(ObjectiveRecipe(relation="teacher"), teacher)(models[0], batch)
    assert loss.value.item() == pytest.approx(0, abs=1e-6)
    assert 0 < loss.figures["target_entropy"] < math.log(6)


def test_the_cosines_of_several_teachers_are_averaged(models, batch):
    recipe = TeacherRecipe(folders=("a", "b"), temperature=0.1)
    relation = BatchTeacher(models, recipe, TRAINING)(batch, {})
    expected = sum(cosines(model, batch) for model in models) / 2 / 0.1
    torch.testing.assert_close(relation.logits(ROWS, ROWS), expected, rtol=1e-4, atol=1e-4)


def test_a_teacher_sees_what_was_there_before_masking(models, batch):
    teacher = BatchTeacher([models[0]], TeacherRecipe(folders=("a",), temperature=0.1), TRAINING)
    masked = {**batch, "input_features": torch.zeros_like(batch["input_features"])}
    relation = teacher(masked, {"input_features": batch["input_features"]})
    torch.testing.assert_close(relation.logits(ROWS, ROWS), cosines(models[0], batch) / 0.1, rtol=1e-4, atol=1e-4)


def test_temperatures(models):
    for model, scale in zip(models, (10.0, 40.0), strict=True):
        model.log_logit_scale.data.fill_(math.log(scale))
    assert teacher_temperature(TeacherRecipe(temperature=0.03), models) == 0.03
    assert teacher_temperature(TeacherRecipe(temperature_ratio=0.5), models[:1]) == pytest.approx(0.05)
    assert teacher_temperature(TeacherRecipe(), models) == pytest.approx(1 / 20), "the geometric mean"


def test_a_moving_teacher_is_the_exponential_average(recipe_file, batch):
    torch.manual_seed(0)
    student = build_model(read_recipe(recipe_file).model)[0].eval()
    teacher = MovingTeacher(student, TeacherRecipe(ema_decay=0.9, temperature=0.1), TRAINING)
    name = "audio_projection.linear1.weight"
    start = student.state_dict()[name].clone()
    for _ in range(3):
        student.audio_projection.linear1.weight.data += 1
        teacher.follow(student)
    # Each step the average moves a tenth of the way: 0.1 · 3 + 0.09 · 2 + 0.081 · 1.
    expected = start + 0.1 * 3 + 0.09 * 2 + 0.081
    stored = teacher.state_dict()
    torch.testing.assert_close(stored[f"module.{name}"], expected, rtol=1e-5, atol=1e-5)
    other = MovingTeacher(student, TeacherRecipe(ema_decay=0.9, temperature=0.1), TRAINING)
    other.load_state_dict(stored)
    torch.testing.assert_close(other(batch, {}).logits(ROWS, ROWS), teacher(batch, {}).logits(ROWS, ROWS))


def test_stored_embeddings_teach_like_the_model_that_made_them(models, batch):
    with torch.no_grad():
        embeds = embed_pairs(models[0], batch)
    stored = StoredTeacher(0.1)({}, {"audio": embeds.audio.half(), "text": embeds.text.half()})
    expected = cosines(models[0], batch) / 0.1
    torch.testing.assert_close(stored.logits(ROWS, ROWS), expected, rtol=0, atol=0.02)
