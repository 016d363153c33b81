"""Cards: their Python blocks run as they stand, without this repository, and the Hub's client takes their header."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import soundfile
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard import model_index_to_eval_results
from snippets.documents import blocks_of
from test_published_clap import published, roberta_tokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from transformers.pipelines import SUPPORTED_TASKS

from conftest import RATE, tone
from fresh_process import AWAY_FROM_HERE
from loopback_hub import LoopbackHub
from raclap import cli
from raclap.experiment import run_experiment
from raclap.hub.published_clap import convert_clap, write_clap
from raclap.recipe import read_recipe

# Scripts run as `python SCRIPT` would in the folder of their model: what others imported from theirs is gone.
RUNNER = (
    AWAY_FROM_HERE
    + """
import contextlib, io, os, runpy, traceback
sys.path.insert(0, "")
said = []
for folder, script in json.loads(sys.argv[1]):
    os.chdir(folder)
    printed, error = io.StringIO(), None
    before = set(sys.modules)
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(script)
    except Exception:
        error = traceback.format_exc()
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]
    said.append((folder, script, printed.getvalue(), error))
print(json.dumps(said))
"""
)


@dataclass(frozen=True)
class Said:
    """What a block printed, and the traceback that it ended with."""

    printed: str
    error: str | None


def run_python_blocks(folders: list[Path], scratch: Path) -> dict[Path, list[Said]]:
    """Runs the blocks of cards in the folders of their models, all in one fresh process."""
    scripts = []
    for number, folder in enumerate(folders):
        for block in blocks_of(folder / "README.md"):
            if block.language == "python":
                scripts.append((str(folder), str(scratch / f"folder_{number}_line_{block.line}.py")))
                Path(scripts[-1][1]).write_text("\n" * (block.line - 1) + block.text, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HOME": str(scratch / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(scripts)],
        cwd=scratch, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    said = {folder: [] for folder in folders}
    for folder, _, printed, error in json.loads(done.stdout.splitlines()[-1]):
        said[Path(folder)].append(Said(printed, error))
    return said


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe_file) -> Path:
    """A run that is calibrated."""
    folder = tmp_path_factory.mktemp("run")
    settings = ["training.steps_per_epoch=12", "optimizer.learning_rate=0.01"]
    run_experiment(read_recipe(recipe_file, settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run_folder) -> Path:
    """What `raclap export` makes of it, with clips of a user as examples."""
    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir()
    for name, pitch in (("deep_voice", 120.0), ("bright_voice", 400.0)):
        soundfile.write(folder / "clips" / f"{name}.wav", tone(pitch, 0.3, 0.6, rng), RATE)
    words = ["export", str(run_folder), str(folder / "out"), "--examples", str(folder / "clips")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["raclap", *words, "--repo-id", "somebody/voices"])
        cli.main()
    return folder / "out"


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    """A published model of small sizes, converted."""
    folder = tmp_path_factory.mktemp("converted")
    torch.save(published("paraspeechclap").state_dict(), folder / "weights.pth.tar")
    roberta_tokenizer().save_pretrained(folder / "tokenizer")
    clap = convert_clap("paraspeechclap", folder / "weights.pth.tar", folder / "out", str(folder / "tokenizer"))
    write_clap(clap, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def folders(run_folder, exported, converted, tmp_path_factory) -> dict[str, Path]:
    """Every kind of folder that has a card; one has a mistake in it."""
    wrong = tmp_path_factory.mktemp("wrong") / "out"
    shutil.copytree(converted, wrong)
    card = (wrong / "README.md").read_text()
    (wrong / "README.md").write_text(card.replace("get_audio_features", "get_speech_features"))
    found = {"of the run": run_folder / "export", "exported": exported, "converted": converted, "wrong": wrong}
    rng = np.random.default_rng(0)
    for folder in found.values():  # what a card without examples takes as the reader's own
        for name in ("a.wav", "b.wav", "b.flac"):
            soundfile.write(folder / name, tone(200.0, 0.3, 0.6, rng), RATE)
    return found


@pytest.fixture(scope="module")
def said(folders, tmp_path_factory) -> dict[Path, list[Said]]:
    return run_python_blocks(list(folders.values()), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(params=["of the run", "exported", "converted"])
def model_folder(request, folders) -> Path:
    return folders[request.param]


def test_every_python_block_runs_without_this_repository(model_folder, said):
    assert said[model_folder]
    for block in said[model_folder]:
        assert block.error is None, block.error
        assert block.printed.strip() and "nan" not in block.printed


def test_a_block_that_does_not_run_is_found(folders, said):
    assert "has no attribute 'get_speech_features'" in said[folders["wrong"]][0].error


def test_the_metadata_go_through_the_client_and_back(model_folder):
    path = model_folder / "README.md"
    card, metadata = ModelCard.load(path), metadata_load(path)
    assert card.data.to_dict() == ModelCard(str(card)).data.to_dict()
    again = yaml.safe_load(ModelCardData(**metadata).to_yaml())
    assert again == yaml.safe_load(card.data.to_yaml())
    for key in metadata.keys() - {"model-index"}:
        assert again[key] == metadata[key], key
    if "model-index" in metadata:
        name, results = model_index_to_eval_results(metadata["model-index"])
        assert name == metadata["model-index"][0]["name"] and results
        assert {(one.unique_identifier, one.metric_type) for one in results} == {
            (one.unique_identifier, one.metric_type) for one in card.data.eval_results
        }


def test_the_metadata_say_what_the_hub_knows(model_folder):
    data = metadata_load(model_folder / "README.md")
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] in SUPPORTED_TASKS and "zero-shot-audio-classification" in data["tags"]
    assert re.fullmatch(r"[a-z0-9.-]+", data["license"])
    assert data["license"] != "other" or data["license_name"]
    assert set(data.get("language", ())) <= LANGUAGES.keys()
    assert all(isinstance(value, str) for value in data["tags"])


def test_results_are_those_of_the_run(exported, run_folder):
    _, results = model_index_to_eval_results(metadata_load(exported / "README.md")["model-index"])
    epochs = json.loads((run_folder / "metrics.json").read_text())["epochs"]
    best = max(epochs, key=lambda epoch: epoch["score"])["validation"]
    known = [value for corpus in best.values() for direction in corpus.values() for value in direction.values()]
    known = [value for value in known if isinstance(value, float | int)]
    assert len(results) >= 3
    for result in results:
        assert any(result.metric_value == pytest.approx(value, abs=1e-3) for value in known), result.metric_name


def test_every_widget_can_be_heard_and_shows_scores(exported):
    widgets = metadata_load(exported / "README.md")["widget"]
    assert len(widgets) == 2
    for widget in widgets:
        source = widget["src"].removeprefix("https://huggingface.co/somebody/voices/resolve/main/")
        samples, rate = soundfile.read(exported / source)
        assert len(samples) > rate / 10 and abs(samples).max() > 0.01
        assert widget["example_title"].strip()
        scores = [entry["score"] for entry in widget["output"]]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        assert all(entry["label"].strip() for entry in widget["output"])


def test_the_hub_s_own_check_is_asked_and_can_refuse(model_folder, monkeypatch):
    card = ModelCard.load(model_folder / "README.md")
    with LoopbackHub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        card.validate()
        assert hub.count("validate") == 1
        card.data.license = "Nobody's"
        with pytest.raises(ValueError, match="not Nobody's"):
            card.validate()
