"""`raclap export`: from a run to a folder that is whole, and says of itself what is known, or to none at all."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard, metadata_load

from conftest import RATE, tone
from raclap.cli import main
from raclap.data.manifest import read_manifest, write_manifest
from raclap.errors import ModelFolderError
from raclap.experiment import run_experiment
from raclap.exporting import ExportOptions, export_run
from raclap.model_folder import load_model_folder
from raclap.provenance import weights_digests
from raclap.recipe import read_recipe

LICENCES = {"small": "CC BY 4.0", "medium": "IEMOCAP: for research only"}
LOADS = """
import sys
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
audio = model.get_audio_features(**processor(audio="examples/1.flac")).pooler_output
text = model.get_text_features(**processor(text=["a low voice"])).pooler_output
print((audio @ text.T).item())
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe_file, corpora) -> Path:
    """A run on two corpora, of which one may be handed on, and a file of results of its best model."""
    folder = tmp_path_factory.mktemp("finished")
    listed = []
    for name, licence in LICENCES.items():
        rows = read_manifest(corpora[name])
        path = folder / name / "manifest.parquet"
        path.parent.mkdir()
        write_manifest(path, [replace(pair, licence=licence, language="en") for pair in rows], rows.audio_root)
        listed.append(f"{{name: {name}, manifest: {path}}}")
    settings = [f"data.corpora=[{', '.join(listed)}]", "training.steps_per_epoch=12", "optimizer.learning_rate=0.01"]
    run_experiment(read_recipe(recipe_file, settings), folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the run, to be changed."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def raclap(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs `raclap export` with these words; gives exit status and what was said."""

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["raclap", "export", *map(str, words)])
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def results_of(folder: Path, path: Path, value: float = 77.7) -> Path:
    cells = {d: {"R@1": {"value": value, "low": 70.1, "high": 80.2}} for d in ("audio_to_text", "text_to_audio")}
    protocol = {"split": "test", "seed": 0, "resamples": 50, "clips": {"small": 12}}
    models = {"m": {"weights": weights_digests(folder)}}
    path.write_text(json.dumps({"models": models, "protocol": protocol, "results": {"m": {"small": cells}}}))
    return path


def embeddings(folder: Path) -> torch.Tensor:
    model, processor = load_model_folder(folder)
    with torch.inference_mode():
        texts = model.get_text_features(**processor(text=["a low voice", "a loud voice"])).pooler_output
        sound = tone(220, 0.3, 0.5, np.random.default_rng(0))
        return torch.cat([texts, model.get_audio_features(**processor(audio=sound, sampling_rate=RATE)).pooler_output])


def test_a_run_writes_down_its_data_and_the_figures_of_its_best_epoch(finished):
    epochs = json.loads((finished / "metrics.json").read_text())["epochs"]
    best = [entry for entry in epochs if entry["best"]][-1]
    kept = json.loads((finished / "validation.json").read_text())
    assert kept["epoch"] == best["epoch"] + 1 and kept["resamples"] == 2000 and kept["seed"] == 0
    for corpus, directions in kept["results"].items():
        for direction, metrics in directions.items():
            values = {metric: found["value"] for metric, found in metrics.items()}
            assert values == pytest.approx(best["validation"][corpus][direction])
            assert all(found["low"] <= found["value"] <= found["high"] for found in metrics.values())
    corpora = json.loads((finished / "corpora.json").read_text())
    assert corpora["small"] == {
        "pairs": 18, "hours": corpora["small"]["hours"], "speakers": 4, "languages": ["en"], "licences": ["CC BY 4.0"],
    }  # fmt: skip
    for folder in ("export", "export_last"):
        seen = json.loads((finished / folder / "training_data.json").read_text())["corpora"]
        assert {name: (own["role"], *own["licences"]) for name, own in seen.items()} == {
            name: ("training", licence) for name, licence in LICENCES.items()
        }
        assert {"handler.py", "requirements.txt"} <= {path.name for path in (finished / folder).iterdir()}


def test_the_whole_folder(run, tmp_path, raclap):
    results_of(run / "export", run / "results.intervals.json")
    status, said = raclap(run, tmp_path / "out", "--repo-id", "someone/tiny", "--shard-size", "50KB")
    assert status == 0, said
    assert "results: validation (small, medium), test (small); examples: 3; licence: iemocap-for-research-only" in said
    out = tmp_path / "out"
    shards = sorted(path.name for path in out.glob("*.safetensors"))
    assert len(shards) > 2 and (out / "model.safetensors.index.json").is_file()
    assert torch.equal(embeddings(out), embeddings(run / "export"))
    header, card = metadata_load(out / "README.md"), (out / "README.md").read_text()
    assert header["license"] == "other" and header["license_name"] == "iemocap-for-research-only"
    assert "Non-commercial use only: trained on medium (IEMOCAP: for research only)." in card
    assert header["language"] == ["en"]
    assert "| small | text → audio | 77.7 (70.1–80.2) |" in card and "### Test" in card
    kept = json.loads((run / "validation.json").read_text())["results"]
    first = kept["small"]["audio_to_text"]["R@1"]
    assert f"| small | audio → text | {first['value']:.1f} ({first['low']:.1f}–{first['high']:.1f}) |" in card
    values = {
        (own.dataset_name, own.dataset_split, own.metric_name): own.metric_value
        for own in ModelCard(card).data.eval_results
    }
    assert values["small", "validation", "R@1 (audio → text)"] == first["value"]
    assert values["small", "test", "R@1 (text → audio)"] == 77.7
    # Only the corpus that may be handed on is heard.
    assert [entry["src"] for entry in header["widget"]] == [f"examples/{n}.flac" for n in (1, 2, 3)]
    assert card.count("from small (CC BY 4.0)") == 3 and "from medium" not in card
    for entry in header["widget"]:
        assert soundfile.info(out / entry["src"]).samplerate == RATE
        scores = [own["score"] for own in entry["output"]]
        assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    loaded = subprocess.run(
        [sys.executable, "-c", LOADS, str(out)], cwd=out, capture_output=True, text=True, check=True, timeout=120
    )
    model, processor = load_model_folder(out)
    with torch.inference_mode():
        audio = model.get_audio_features(**processor(audio=out / "examples" / "1.flac")).pooler_output
        text = model.get_text_features(**processor(text=["a low voice"])).pooler_output
    assert float(loaded.stdout) == pytest.approx((audio @ text.T).item(), abs=1e-5)


def test_an_older_export_is_replaced_and_nothing_else_is(run, tmp_path, raclap):
    out = tmp_path / "out"
    assert raclap(run, out, "--examples-count", 0)[0] == 0
    (out / "stale.json").write_text("{}")
    assert raclap(run, out, "--examples-count", 0)[0] == 0
    assert not (out / "stale.json").exists() and not (out / "examples").exists()
    (out / ".git").mkdir()
    status, said = raclap(run, out)
    assert status == 2 and "is there already and is no model folder of this package" in said
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("dear")
    status, said = raclap(run, other)
    assert status == 2 and "so it is not overwritten" in said and (other / "diary.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in raclap(run, tmp_path / "file")[1]
    for inside in ("export", "export/onnx", "export_last", "checkpoints/x"):
        status, said = raclap(run, run / inside)
        assert status == 2 and "lies in what the run itself writes" in said
    assert load_model_folder(run / "export")


def test_where_it_fails_nothing_is_left_and_the_older_export_stays(run, tmp_path, raclap, monkeypatch):
    out = tmp_path / "out"
    assert raclap(run, out, "--examples-count", 0)[0] == 0
    before = weights_digests(out)
    template = tmp_path / "card.md"
    template.write_text("---\nlicense: mit\n---\n# x\n\n{{ figures.test.small }}\n")
    status, said = raclap(run, out, "--template", template)
    assert status == 2 and "card.md, line 6: asks for what this model does not have" in said
    assert said.count("error: ") == 1 and "Traceback" not in said

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raclap.exporting.write_examples", full)
    with pytest.raises(ModelFolderError, match=r"cannot be written .No space left on device"):
        export_run(run, out, ExportOptions())
    assert weights_digests(out) == before and sorted(path.name for path in tmp_path.iterdir()) == [
        "card.md",
        "out",
        "run",
    ]


def test_results_must_be_of_this_model(run, tmp_path, raclap):
    other = results_of(run / "export", tmp_path / "other.intervals.json")
    other.write_text(other.read_text().replace(next(iter(weights_digests(run / "export").values())), "0" * 64))
    status, said = raclap(run, tmp_path / "out", "--results", other)
    assert status == 2 and "other.intervals.json: holds figures of m; none has the weights of" in said
    assert not (tmp_path / "out").exists()
    shutil.copy(other, run / "results.intervals.json")
    status, said = raclap(run, tmp_path / "out")
    assert status == 0 and "results: validation (small, medium); examples" in said


def test_the_last_epoch_finds_its_own_intervals(run, tmp_path, raclap):
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["epochs"][-1]["best"] = False
    metrics["epochs"][0]["best"] = True
    (run / "metrics.json").write_text(json.dumps(metrics))
    kept = json.loads((run / "validation.json").read_text())
    kept["epoch"] = 1
    (run / "validation.json").write_text(json.dumps(kept))
    status, said = raclap(run, tmp_path / "out", "--last", "--examples-count", 0)
    assert status == 0 and "no intervals of epoch 2: finding them on the validation clips" in said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Epoch 2 of 2, the last; another one was better" in card
    first = metrics["epochs"][-1]["validation"]["medium"]["text_to_audio"]["R@1"]
    assert f"| medium | text → audio | {first:.1f} (" in card


def test_a_run_of_an_earlier_version_is_completed_from_its_manifests(run, tmp_path, raclap):
    now = json.loads((run / "validation.json").read_text())["results"]
    (run / "corpora.json").unlink()
    (run / "validation.json").unlink()
    (run / "export" / "training_data.json").unlink()
    status, said = raclap(run, tmp_path / "out")
    assert status == 0 and "no corpora.json: looking at the manifests" in said
    card = (tmp_path / "out" / "README.md").read_text()
    found = now["medium"]["audio_to_text"]["mAP@10"]
    assert f"{found['value']:.1f} ({found['low']:.1f}–{found['high']:.1f})" in card
    assert "| medium | training | 36 | 0.0" in card and "IEMOCAP: for research only" in card
    # Without the manifests it says what is missing, and knows names and values alone.
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("manifest.parquet", "gone.parquet"))
    status, said = raclap(run, tmp_path / "out")
    assert status == 0 and said.count("not known: ") == 2 and "no examples: " in said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| medium | training | not known | not known | not stated | not stated |" in card
    assert "Intervals were not kept" in card and f"{found['value']:.1f}" in card
    assert metadata_load(tmp_path / "out" / "README.md")["license"] == "unknown"


def test_examples_of_ones_own(run, tmp_path, raclap):
    clips = tmp_path / "clips"
    clips.mkdir()
    status, said = raclap(run, tmp_path / "out", "--examples", clips)
    assert status == 2 and "no recording (" in said
    soundfile.write(clips / "my_voice.wav", tone(220, 0.3, 0.5, np.random.default_rng(0)), RATE)
    assert raclap(run, tmp_path / "out", "--examples", clips)[0] == 0
    assert metadata_load(tmp_path / "out" / "README.md")["widget"][0]["example_title"] == "my voice"
    (clips / "a.wav").write_text("no sound")
    status, said = raclap(run, tmp_path / "out", "--examples", clips)
    assert status == 2 and "a.wav" in said and "Traceback" not in said


def test_runs_that_cannot_be_exported(run, tmp_path, raclap):
    out = tmp_path / "out"

    def refused(folder: Path, words: str, *more: object) -> None:
        status, said = raclap(folder, out, *more)
        assert status == 2 and words in said and "Traceback" not in said, said

    refused(tmp_path / "missing", "missing: no such run folder")
    refused(tmp_path, "holds no recipe.yaml; is it a folder that train.py or distill.py wrote?")
    refused(run / "export", f"holds no recipe.yaml; name the run, {run}")
    refused(run, "not a name on the Hub", "--repo-id", "no/good/name")
    refused(run, "not a name on the Hub", "--repo-id", "alone")
    refused(run, "is no size such as 500MB or 5GB", "--shard-size", "big")
    refused(run, "no such card template", "--template", tmp_path / "none.md")
    (run / "validation.json").write_text("{}")
    refused(run, "validation.json: not what a run wrote")
    (run / "export" / "model.safetensors").unlink()
    refused(run, "holds no model.safetensors")
    shutil.rmtree(run / "export")
    refused(run, "nothing to export yet: no epoch is complete (there is no export/)")
    (run / "metrics.json").write_text("{")
    refused(run, "metrics.json: not JSON", "--last")
    assert not out.exists()


def test_help_teaches(raclap):
    status, said = raclap("--help")
    assert status == 0
    assert all(word in said for word in ("--results", "handler.py", "raclap export runs/demo out/demo", "raclap push"))
