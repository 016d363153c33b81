"""train.py as a user runs it: whole runs, killed runs, two processes, and mistakes."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from conftest import kill_in_second_epoch
from raclap.model_folder import load_model_folder

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
SPEECH = (
    "model.speech.config={model_type: wavlm, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, "
    "intermediate_size: 64, conv_dim: [32, 32, 32], conv_stride: [5, 4, 4], conv_kernel: [10, 4, 4], "
    "num_feat_extract_layers: 3, num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 2, "
    "hidden_dropout: 0.0, attention_dropout: 0.0, feat_proj_dropout: 0.0, activation_dropout: 0.0, layerdrop: 0.0, "
    "mask_time_prob: 0.0}"
)


def command(recipe: Path, output: Path, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, "train.py", "--recipe", str(recipe), "--output", str(output), *more]


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def train(recipe: Path, output: Path, *more: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(recipe, output, *more, **kwargs), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, recipe_file) -> Path:
    """An unbroken run of two epochs."""
    output = tmp_path_factory.mktemp("runs") / "unbroken"
    done = train(recipe_file, output, *settings("training.checkpoint_steps=1"))
    assert done.returncode == 0, done.stderr
    return output


def test_a_run_leaves_everything_behind(finished_run):
    epochs = json.loads((finished_run / "metrics.json").read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [0, 1]
    assert epochs[1]["loss"] < epochs[0]["loss"]
    assert set(epochs[0]["validation"]) == {"small", "medium", "large"}
    assert (finished_run / "recipe.yaml").is_file()
    assert json.loads((finished_run / "versions.json").read_text())["torch"] == torch.__version__
    assert list((finished_run / "logs").rglob("events.out.tfevents*"))
    for folder in ("export", "export_last"):
        model, processor = load_model_folder(finished_run / folder)
        assert model.config.projection_dim == 32 and processor.feature_extractor.features == "log_mel"
    best = max(epochs, key=lambda epoch: epoch["score"])
    assert best["best"]
    assert len(list((finished_run / "checkpoints").iterdir())) == 2


def test_a_killed_and_resumed_run_equals_an_unbroken_one(tmp_path, recipe_file, finished_run):
    output = tmp_path / "killed"
    words = settings("training.checkpoint_steps=1")
    with subprocess.Popen(
        command(recipe_file, output, *words), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        kill_in_second_epoch(process, output)
    assert len(json.loads((output / "metrics.json").read_text())["epochs"]) == 1
    resumed = train(recipe_file, output, *words)
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = (load_file(run / "export_last" / "model.safetensors") for run in (output, finished_run))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    scores = [json.loads((run / "metrics.json").read_text())["epochs"][1]["score"] for run in (output, finished_run)]
    assert scores[0] == scores[1]


def test_a_finished_run_started_again_trains_nothing(finished_run, recipe_file):
    before = (finished_run / "export_last" / "model.safetensors").stat().st_mtime_ns
    again = train(recipe_file, finished_run, *settings("training.checkpoint_steps=1"))
    assert again.returncode == 0, again.stderr
    assert (finished_run / "export_last" / "model.safetensors").stat().st_mtime_ns == before


def test_another_recipe_does_not_overwrite_a_run(finished_run, recipe_file):
    other = train(recipe_file, finished_run, *settings("training.checkpoint_steps=1", "seed=5"))
    assert other.returncode == 2
    assert "this run has another recipe (seed differ)" in other.stderr


def test_a_run_does_not_go_on_with_another_build_of_its_corpora(finished_run, recipe_file):
    stored = finished_run / "data.json"
    before = stored.read_text()
    builds = json.loads(before)
    builds["train"]["small"]["bytes"] += 1
    stored.write_text(json.dumps(builds))
    try:
        other = train(recipe_file, finished_run, *settings("training.checkpoint_steps=1"))
    finally:
        stored.write_text(before)
    assert other.returncode == 2
    size = builds["train"]["small"]["bytes"]
    assert f"data.json: this run learnt from other data (small, train: {size} bytes then, {size - 1} now)" in (
        other.stderr
    )


def test_two_processes_train_the_same_model_as_one(tmp_path, recipe_file):
    words = [*settings(SPEECH, "model.text.freeze=true", "training.epochs=1", "optimizer.learning_rate=0.001")]
    one = train(recipe_file, tmp_path / "one", *words)
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611")
    # How a batch is computed is no part of what is learnt, on two processes as on one.
    frugal = settings("training.speech_micro_batches=2", "training.gradient_checkpointing=true")
    two = train(recipe_file, tmp_path / "two", *words, *frugal, launcher=launcher)
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    first, second = (load_file(tmp_path / run / "export" / "model.safetensors") for run in ("one", "two"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-4, atol=2e-5)
    loss = [json.loads((tmp_path / run / "metrics.json").read_text())["epochs"][0]["loss"] for run in ("one", "two")]
    assert loss[0] == pytest.approx(loss[1], abs=1e-4)


def test_bf16_and_length_micro_batches_and_trained_text_run(tmp_path, recipe_file):
    words = settings(
        SPEECH, "training.mixed_precision=bf16", "training.speech_micro_batches=3",
        "training.text_micro_batches=2", "training.epochs=1",
        "data.workers=1", "model.text_pooling=layer_weighted_mean", "optimizer.schedule=linear",
    )  # fmt: skip
    done = train(recipe_file, tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    epoch = json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"][0]
    assert set(epoch["layer_weights"]) == {"audio", "text"}
    assert sum(epoch["layer_weights"]["audio"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (settings("training.batchsize=3"), "key 'training.batchsize': unknown key; did you mean 'batch_size'?"),
        (settings("training.batch_size=99"), "training.batch_size 99 asks for 33 pairs of 'small'"),
        (settings("data.corpora.0.manifest=gone.parquet"), "gone.parquet: no such manifest"),
        (settings("data.class_balance={groups: [pitches]}"), "or an attribute 'pitches'; there are the tag groups"),
        (
            settings("data.class_balance={groups: [pitch], rare_share: 0.4, rare_per_batch: 13}"),
            "rare_per_batch asks for 13 clips with a rare tag in every batch of 12, but 12 fit into its shares",
        ),
        (settings("model.text.pretrained=package:not_there/model"), "the package 'not_there' is not installed"),
        (settings("model.text.sha256=abc"), "SHA-256 is"),
        (settings("model.text.pretrained=/nowhere"), "model.text.pretrained /nowhere: cannot be loaded"),
        (settings("model.speech.config.channels=30"), "model.speech.config: channels (30) must be a multiple"),
        (settings("model.features.hop=1"), "model.features.hop: unknown key"),
    ],
)
def test_mistakes_end_in_one_clear_line_before_training(tmp_path, recipe_file, words, message, monkeypatch, capsys):
    import train as script

    monkeypatch.setattr("sys.argv", command(recipe_file, tmp_path / "run", *words)[1:])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_bad_audio_stops_before_training_and_skip_bad_goes_on(tmp_path, recipe_file, corpora):
    folder = tmp_path / "small"
    shutil.copytree(corpora["small"].parent, folder)
    soundfile.write(folder / "small-train-3.flac", [0.0] * 4000, 16_000)
    (folder / "small-train-5.flac").unlink()
    words = settings(f"data.corpora.0.manifest={folder / 'manifest.parquet'}", "training.epochs=1")
    stopped = train(recipe_file, tmp_path / "run", *words)
    assert stopped.returncode == 2
    assert "row small-train-3" in stopped.stderr and "every sample is zero" in stopped.stderr
    assert "1 more bad recording" in stopped.stderr
    went_on = train(recipe_file, tmp_path / "skipping", *words, "--skip-bad")
    assert went_on.returncode == 0, went_on.stderr
    skipped = json.loads((tmp_path / "skipping" / "skipped.json").read_text())
    assert {entry["pair_id"] for entry in skipped["train"]["small"]} == {"small-train-3", "small-train-5"}


def test_help_is_quick_and_teaches_the_recipe():
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert time.monotonic() - began < 10
    assert "optimizer.learning_rate: default 2e-05" in done.stdout
    assert " torch\n" not in done.stderr and " transformers\n" not in done.stderr
