"""distill.py and --init-from as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raclap.hub.export import export
from raclap.recipe import read_recipe
from raclap.training.towers import build_model

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
TEACHES = ("objective.relation=teacher", "teacher.temperature_ratio=0.5")


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def run(script: str, recipe: Path, output: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, script, "--recipe", str(recipe), "--output", str(output), *more],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def epochs(output: Path) -> list[dict]:
    return json.loads((output / "metrics.json").read_text())["epochs"]


def test_a_student_starts_as_its_teacher_and_learns_from_it(tmp_path, recipe_file, teacher_folder):
    words = settings(*TEACHES, "augmentation.time_masks=1", "augmentation.time_mask_frames=8")
    done = run("distill.py", recipe_file, tmp_path / "run", "--teacher", str(teacher_folder), *words)
    assert done.returncode == 0, done.stderr
    first, last = epochs(tmp_path / "run")
    assert last["loss"] < first["loss"]
    assert 0 < first["figures"]["target_entropy"] < 2.5
    before, after = weights(teacher_folder), weights(tmp_path / "run" / "export_last")
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())
    still = run("distill.py", recipe_file, tmp_path / "still", "--teacher", str(teacher_folder),
                *words, *settings("optimizer.learning_rate=1e-12", "training.epochs=1"))  # fmt: skip
    assert still.returncode == 0, still.stderr
    found = weights(tmp_path / "still" / "export_last")
    learned = [name for name in before if "running" not in name and "num_batches" not in name]
    for name in learned:
        torch.testing.assert_close(found[name], before[name], rtol=1e-5, atol=1e-6)


def test_stored_teachers_are_asked_once_and_again_when_they_change(tmp_path, recipe_file, teacher_folder):
    output = tmp_path / "run"
    words = ["--teacher", str(teacher_folder), "--teacher", str(tmp_path / "second"),
             *settings(*TEACHES, "teacher.sees=clips")]  # fmt: skip
    torch.manual_seed(9)
    export(*build_model(read_recipe(recipe_file).model), tmp_path / "second", card="")
    done = run("distill.py", recipe_file, output, *words, *settings("training.epochs=1"))
    assert done.returncode == 0, done.stderr
    stored = output / "teacher.safetensors"
    made = stored.stat().st_mtime_ns
    vectors = load_file(stored)
    assert vectors["audio"].shape == (18 + 36 + 72, 64), "two teachers of 32 dimensions side by side"
    torch.testing.assert_close(vectors["audio"].float().norm(dim=1), torch.ones(126), rtol=0, atol=2e-3)
    again = run("distill.py", recipe_file, output, *words, *settings("training.epochs=1"))
    assert again.returncode == 0, again.stderr
    assert stored.stat().st_mtime_ns == made
    torch.manual_seed(10)
    export(*build_model(read_recipe(recipe_file).model), tmp_path / "second", card="")
    changed = run("distill.py", recipe_file, output, *words, *settings("training.epochs=1"))
    assert changed.returncode == 0, changed.stderr
    assert stored.stat().st_mtime_ns != made


def test_a_killed_run_with_a_moving_teacher_goes_on_bit_for_bit(tmp_path, recipe_file, teacher_folder):
    words = [
        "--student", str(teacher_folder),
        *settings("objective.relation=teacher", "teacher.ema_decay=0.8", "teacher.temperature_ratio=0.5",
                  "objective.info_nce_weight=0.5", "training.checkpoint_steps=1"),
    ]  # fmt: skip
    whole = run("distill.py", recipe_file, tmp_path / "whole", *words)
    assert whole.returncode == 0, whole.stderr
    output = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "distill.py", "--recipe", str(recipe_file), "--output", str(output), *words],
        cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        limit = time.monotonic() + 120
        while not list((output / "checkpoints").glob("epoch-0001-step-00000[1-3]")):
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    resumed = run("distill.py", recipe_file, output, *words)
    assert resumed.returncode == 0, resumed.stderr
    expected = weights(tmp_path / "whole" / "export_last")
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(output / "export_last").items())


def test_training_goes_on_from_an_exported_folder(tmp_path, recipe_file, teacher_folder):
    words = settings("training.epochs=1", "optimizer.learning_rate=1e-12")
    done = run("train.py", recipe_file, tmp_path / "run", "--init-from", str(teacher_folder), *words)
    assert done.returncode == 0, done.stderr
    before, after = weights(teacher_folder), weights(tmp_path / "run" / "export")
    for name in before:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("relation", ["caption", "style", "attributes"])
def test_relations_by_label_train(tmp_path, recipe_file, relation):
    words = settings(f"objective.relation={relation}", "objective.info_nce_weight=0.1", "training.epochs=1",
                     "training.steps_per_epoch=2")  # fmt: skip
    done = run("train.py", recipe_file, tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    assert epochs(tmp_path / "run")[0]["figures"]["target_entropy"] > 0.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("teacher.temperature=0", "teacher.temperature_ratio=1.0"), "key 'teacher.temperature': Input should be"),
        (("objective.audio_logit_scale=-1",), "key 'objective.audio_logit_scale': Input should be greater than 0"),
        (("training.batch_size=1",), "key 'training.batch_size': Input should be greater than or equal to 2"),
        (("data.mixture={small: 1, medium: 1, absent: 1}",), "data.mixture names ['absent', 'medium', 'small']"),
        (("model.projection_dim=64",), "model.projection_dim: the recipe says 64, but"),
        (("model.features={sampling_rate: 8000}",), "model.features.sampling_rate: the recipe says 8000, but"),
        (("teacher.folders=[/nowhere]",), "/nowhere: no such model folder"),
    ],
)
def test_mistakes_stop_a_distillation_before_training(tmp_path, recipe_file, teacher_folder, words, message):
    done = run("distill.py", recipe_file, tmp_path / "run", "--teacher", str(teacher_folder),
               *settings(*TEACHES, *words))  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("misfit", "message"),
    [
        ("size", "embeds in 16 dimensions, the student in 32"),
        ("rate", "its features have sampling_rate 8000, those of the student 16000"),
        ("tokenizer", "has another tokenizer than the student"),
    ],
)
def test_a_teacher_has_to_fit_its_student(tmp_path, recipe_file, teacher_folder, misfit, message):
    changes = ["model.projection_dim=16"] if misfit == "size" else []
    changes += ["model.features={sampling_rate: 8000}"] if misfit == "rate" else []
    model, processor = build_model(read_recipe(recipe_file, changes).model)
    if misfit == "tokenizer":
        processor.tokenizer.add_tokens(["gravelly"])
    export(model, processor, tmp_path / "teacher", card="")
    done = run("distill.py", recipe_file, tmp_path / "run", "--teacher", str(tmp_path / "teacher"),
               "--student", str(teacher_folder), *settings(*TEACHES))  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and str(tmp_path / "teacher") in done.stderr


def test_each_script_names_the_other_for_its_recipes(tmp_path, recipe_file, teacher_folder):
    done = run("distill.py", recipe_file, tmp_path / "run")
    assert done.returncode == 2 and "this recipe has no teacher; run it with train.py" in done.stderr
    words = settings(*TEACHES, f"teacher.folders=[{teacher_folder}]")
    done = run("train.py", recipe_file, tmp_path / "run", *words)
    assert done.returncode == 2 and "this recipe has a teacher; run it with distill.py" in done.stderr


def test_help_teaches_without_loading_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "distill.py", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "teacher.temperature_ratio" in done.stdout and "--student" in done.stdout
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
