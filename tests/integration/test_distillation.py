"""distill.py and --init-from: as processes where a process is the point, else as `run_experiment`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import kill_in_second_epoch
from raclap.errors import RaClapError
from raclap.experiment import run_experiment
from raclap.hub.export import export
from raclap.recipe import read_recipe
from raclap.training.towers import build_model

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
SHORT = ("training.epochs=1", "training.steps_per_epoch=2")
TEACHES = ("objective.relation=teacher", "teacher.temperature_ratio=0.5")
STILL = "optimizer.learning_rate=1e-12"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def epochs(output: Path) -> list[dict]:
    return json.loads((output / "metrics.json").read_text())["epochs"]


def assert_same_but_for_statistics(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Batch statistics move whatever the learning rate."""
    for name, weight in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(other[name], weight, rtol=1e-5, atol=1e-6)


def script(name: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, name, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def run(tmp_path, recipe_file):
    """Runs the tiny recipe with settings; returns the run folder."""

    def run_with(*settings: str, output: str = "run") -> Path:
        run_experiment(read_recipe(recipe_file, [*SHORT, *settings]), tmp_path / output)
        return tmp_path / output

    return run_with


def test_a_student_learns_from_its_teacher(run, teacher_folder):
    teaches = (*TEACHES, f"teacher.folders=[{teacher_folder}]", "augmentation.time_masks=1")
    output = run(*teaches, "training.epochs=3", "training.steps_per_epoch=4")
    found = epochs(output)
    assert found[-1]["loss"] < found[0]["loss"]
    assert 0 < found[0]["figures"]["target_entropy"] < 2.5, "between one-hot and log 12"
    before, after = weights(teacher_folder), weights(output / "export_last")
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


def test_a_student_starts_as_its_teacher_or_as_another_model(run, tmp_path, recipe_file, teacher_folder):
    teaches = (*TEACHES, f"teacher.folders=[{teacher_folder}]", STILL)
    assert_same_but_for_statistics(weights(teacher_folder), weights(run(*teaches) / "export_last"))
    torch.manual_seed(9)
    export(*build_model(read_recipe(recipe_file).model), tmp_path / "other", card="")
    other = run(*teaches, f"model.init_from={tmp_path / 'other'}", output="run_other")
    assert_same_but_for_statistics(weights(tmp_path / "other"), weights(other / "export_last"))


def test_training_goes_on_from_an_exported_folder(run, teacher_folder):
    output = run(f"model.init_from={teacher_folder}", STILL)
    assert_same_but_for_statistics(weights(teacher_folder), weights(output / "export"))


def test_stored_teachers_are_asked_once_and_again_when_they_change(run, tmp_path, recipe_file, teacher_folder):
    second = tmp_path / "second"
    settings = (*TEACHES, "teacher.sees=clips", f"teacher.folders=[{teacher_folder}, {second}]")

    def stored_at() -> int:
        return (run(*settings) / "teacher.safetensors").stat().st_mtime_ns

    torch.manual_seed(9)
    export(*build_model(read_recipe(recipe_file).model), second, card="")
    first = stored_at()
    vectors = load_file(tmp_path / "run" / "teacher.safetensors")
    assert vectors["audio"].shape == (18 + 36 + 72, 64), "two teachers of 32 dimensions side by side"
    torch.testing.assert_close(vectors["audio"].float().norm(dim=1), torch.ones(126), rtol=0, atol=2e-3)
    assert stored_at() == first
    torch.manual_seed(10)
    export(*build_model(read_recipe(recipe_file).model), second, card="")
    assert stored_at() != first


@pytest.mark.parametrize("relation", ["caption", "style", "attributes"])
def test_relations_by_label_train(run, relation):
    output = run(f"objective.relation={relation}", "objective.info_nce_weight=0.1")
    assert epochs(output)[0]["figures"]["target_entropy"] > 0.1


def test_fixed_scales_leave_the_learned_one_alone(run, teacher_folder):
    output = run(
        *TEACHES, f"teacher.folders=[{teacher_folder}]", "objective.audio_logit_scale=20",
        "objective.text_logit_scale=10",
    )  # fmt: skip
    before, after = weights(teacher_folder), weights(output / "export_last")
    assert torch.equal(before["log_logit_scale"], after["log_logit_scale"])


def test_a_killed_run_with_a_moving_teacher_goes_on_bit_for_bit(tmp_path, recipe_file, teacher_folder):
    settings = (
        "objective.relation=teacher", "teacher.ema_decay=0.8", "teacher.temperature_ratio=0.5",
        "objective.info_nce_weight=0.5", "training.checkpoint_steps=1",
    )  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    words = ["--recipe", str(recipe_file), "--student", str(teacher_folder), *words]
    whole = script("distill.py", *words, "--output", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    output = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "distill.py", *words, "--output", str(output)],
        cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        kill_in_second_epoch(process, output)
    resumed = script("distill.py", *words, "--output", str(output))
    assert resumed.returncode == 0, resumed.stderr
    expected = weights(tmp_path / "whole" / "export_last")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(output / "export_last").items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["teacher.temperature=0", "teacher.temperature_ratio=1.0"], "key 'teacher.temperature': Input should be"),
        (["objective.audio_logit_scale=-1"], "key 'objective.audio_logit_scale': Input should be greater than 0"),
        (["training.batch_size=1"], "key 'training.batch_size': Input should be greater than or equal to 2"),
        (["data.mixture={small: 1, medium: 1, absent: 1}"], "data.mixture names ['absent', 'medium', 'small']"),
        (["model.projection_dim=64"], "model.projection_dim: the recipe says 64, but"),
        (["model.features={sampling_rate: 8000}"], "model.features.sampling_rate: the recipe says 8000, but"),
        (["teacher.folders=[/nowhere]"], "/nowhere: no such model folder"),
    ],
)
def test_mistakes_stop_a_distillation_before_training(run, tmp_path, teacher_folder, settings, message):
    with pytest.raises(RaClapError) as caught:
        run(*TEACHES, f"teacher.folders=[{teacher_folder}]", *settings)
    assert message in str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.projection_dim=16"], "embeds in 16 dimensions, the student in 32"),
        (["model.features={sampling_rate: 8000}"], "its features have sampling_rate 8000, those of the student 16000"),
        ([], "has another tokenizer than the student"),
    ],
)
def test_a_teacher_has_to_fit_its_student(run, tmp_path, recipe_file, teacher_folder, changes, message):
    model, processor = build_model(read_recipe(recipe_file, changes).model)
    if not changes:
        processor.tokenizer.add_tokens(["gravelly"])
    export(model, processor, tmp_path / "teacher", card="")
    with pytest.raises(RaClapError) as caught:
        run(*TEACHES, f"teacher.folders=[{tmp_path / 'teacher'}]", f"model.init_from={teacher_folder}")
    assert message in str(caught.value) and str(tmp_path / "teacher") in str(caught.value)


def test_each_script_names_the_other_for_its_recipes(recipe_file, teacher_folder):
    done = script("distill.py", "--recipe", str(recipe_file))
    assert done.returncode == 2
    assert done.stderr == f"error: {recipe_file}: this recipe has no teacher; run it with train.py\n"
    words = ["--set", "objective.relation=teacher", "--set", f"teacher.folders=[{teacher_folder}]"]
    done = script("train.py", "--recipe", str(recipe_file), *words)
    assert done.returncode == 2 and "this recipe has a teacher; run it with distill.py" in done.stderr


def test_help_teaches_without_loading_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "distill.py", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "teacher.temperature_ratio" in done.stdout and "--student" in done.stdout
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
