"""Where samples come from is no part of what is learnt: files, memory and cache, threads and processes."""

import json
from pathlib import Path

import pytest

from raclap.experiment import run_experiment
from raclap.recipe import read_recipe

SPEECH = (
    "model.speech.config={model_type: wavlm, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, "
    "intermediate_size: 64, conv_dim: [32, 32, 32], conv_stride: [5, 4, 4], conv_kernel: [10, 4, 4], "
    "num_feat_extract_layers: 3, num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 2, "
    "hidden_dropout: 0.0, attention_dropout: 0.0, feat_proj_dropout: 0.0, activation_dropout: 0.0}"
)
SHORT = (
    SPEECH, "model.text.freeze=true", "model.features={normalize: utterance}", "data.crop_seconds=0.4",
    "augmentation.speed=0.03", "training.epochs=1", "training.steps_per_epoch=3",
)  # fmt: skip
NOISE = "augmentation.waveform=[{kind: gaussian_noise, probability: 0.5}]"
CHANGES = {
    "memory": ("data.keep_in_memory=true",),
    "cache": ("data.cache=FOLDER/cache",),
    "cache again, another process": ("data.cache=FOLDER/cache", "data.workers=1"),
    "headers": ("data.audio_check=header", "data.workers=2"),
}


@pytest.fixture(scope="module")
def losses(tmp_path_factory, recipe_file):
    """Runs the tiny recipe with a waveform tower; returns the loss of its epoch."""
    folder = tmp_path_factory.mktemp("runs")

    def run(name: str, *settings: str) -> float:
        settings = [setting.replace("FOLDER", str(folder)) for setting in settings]
        run_experiment(read_recipe(recipe_file, [*SHORT, *settings]), folder / name)
        return json.loads((folder / name / "metrics.json").read_text())["epochs"][0]["loss"]

    return run


@pytest.fixture(scope="module")
def from_files(losses) -> float:
    return losses("files")


@pytest.mark.parametrize("name", CHANGES)
def test_runs_learn_the_same_from_wherever_the_samples_come(losses, from_files, name):
    """The recordings have 16 bits and the tower's rate: nothing is rounded."""
    assert losses(name, *CHANGES[name]) == pytest.approx(from_files, abs=1e-6)


def test_a_run_with_changed_sound_and_a_teacher_of_crops(losses):
    pytest.importorskip("audiomentations", minversion="0.43", reason="pip install 'raclap[augment]'")
    alone = losses("noise", NOISE)
    assert alone == pytest.approx(
        losses("noise and micro-batches", NOISE, "training.speech_micro_batches=3"), abs=1e-4
    )
    teaches = ("objective.relation=teacher", "teacher.folders=[FOLDER/noise/export]")
    taught = [
        losses(f"taught in {parts}", NOISE, *teaches, f"training.speech_micro_batches={parts}") for parts in (1, 2)
    ]
    assert 0 < taught[0] == pytest.approx(taught[1], abs=1e-4)


def test_a_cache_is_left_for_the_next_run(losses, from_files, tmp_path):
    assert losses("first", f"data.cache={tmp_path}/cache") == pytest.approx(from_files, abs=1e-6)
    made = {path: path.stat().st_mtime_ns for path in Path(tmp_path / "cache").glob("*/samples.int16")}
    assert len(made) == 6, "two splits of three corpora"
    losses("second", f"data.cache={tmp_path}/cache", "seed=5")
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path / "cache").glob("*/samples.int16")} == made
