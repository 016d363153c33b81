"""The raclap command and the evaluation script: what they write, and one clear line for a mistake."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import BertModel

from conftest import RATE, make_tokenizer, tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap import cli
from raclap.data.manifest import read_manifest
from raclap.hub.export import export


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    speech = EcapaTdnnModel(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8))
    model = RaClapModel.from_speech_text_pretrained(speech, BertModel(tiny_bert_config()), projection_dim=16)
    folder = tmp_path_factory.mktemp("run") / "export"
    export(model, RaClapProcessor(RaClapFeatureExtractor(features="log_mel"), make_tokenizer()), folder, "a card")
    return folder


def run(main, monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    try:
        main()
    except SystemExit as stop:
        return stop.code
    return 0


def evaluate(monkeypatch, *words) -> int:
    import evaluate_retrieval

    return run(evaluate_retrieval.main, monkeypatch, *map(str, words))


def test_prepare_writes_a_manifest(tmp_path, monkeypatch, capsys):
    time = np.arange(RATE) / RATE
    for actor in (1, 2, 16, 17):
        folder = tmp_path / "ravdess" / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        for emotion in (1, 5):
            sound = 0.1 * emotion / 5 * np.sin(2 * np.pi * (100 + 10 * actor) * time)
            soundfile.write(folder / f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav", sound, RATE)
    output = tmp_path / "out" / "m.parquet"
    words = ("prepare", "ravdess", str(tmp_path / "ravdess"), "--output", str(output))
    assert run(cli.main, monkeypatch, *words) == 0
    assert len(read_manifest(output).split("train")) == 4
    assert "ravdess" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "nothing", "."), "no corpus 'nothing'"),
        (("prepare", "ravdess"), "name the folder that holds the corpus"),
        (("prepare", "ravdess", "/nowhere"), "/nowhere"),
    ],
)
def test_prepare_names_a_mistake(words, message, monkeypatch, capsys, tmp_path):
    assert run(cli.main, monkeypatch, *words, "--cache", str(tmp_path)) == 2
    assert message in capsys.readouterr().err


def test_evaluation_writes_the_contract(model_folder, corpora, tmp_path, monkeypatch, capsys):
    output, figure = tmp_path / "results.json", tmp_path / "results.png"
    words = ["--model", f"one={model_folder}", "--model", f"two={model_folder}"]
    words += ["--manifest", corpora["small"], "--manifest", f"renamed={corpora['medium']}"]
    assert (
        evaluate(
            monkeypatch,
            *words,
            "--output",
            output,
            "--figure",
            figure,
            "--table",
            tmp_path / "results.txt",
            "--resamples",
            50,
        )
        == 0
    )
    results = json.loads(output.read_text())
    assert set(results) == {"one", "two"} and set(results["one"]) == {"small", "renamed"}
    metrics = results["one"]["small"]["audio_to_text"]
    expected = {"R@1", "R@5", "R@10", "mAP@10", "median_rank", "nDCG@10", "style_R@10", "style_mAP@10"}
    assert set(metrics) == expected | {"style_ceiling_R@1", "style_ceiling_R@10"}
    assert metrics["style_ceiling_R@1"] == 50.0  # 12 clips of 6 styles
    assert results["one"] == results["two"]
    intervals = json.loads((tmp_path / "results.intervals.json").read_text())
    assert intervals["results"]["one"]["small"]["audio_to_text"]["R@10"]["value"] == metrics["R@10"]
    assert {comparison["difference"] for comparison in intervals["comparisons"]} == {0.0}
    assert figure.stat().st_size > 10_000
    assert "R@10" in capsys.readouterr().out
    assert "style ceiling" in (tmp_path / "results.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "/nowhere", "--manifest", "MANIFEST"), "/nowhere: no such model folder"),
        (("--model", "MODEL", "--manifest", "/nowhere.parquet"), "/nowhere.parquet: no such manifest"),
        (("--model", "MODEL", "--manifest", "BAD"), "--skip-bad leaves bad rows out"),
    ],
)
def test_evaluation_names_a_mistake(words, message, model_folder, corpora, tmp_path, monkeypatch, capsys):
    known = {"MODEL": model_folder, "MANIFEST": corpora["small"], "BAD": damaged(corpora["small"], tmp_path)}
    assert evaluate(monkeypatch, *(known.get(word, word) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_evaluation_skips_bad_recordings_when_asked(model_folder, corpora, tmp_path, monkeypatch, capsys):
    words = ("--model", model_folder, "--manifest", damaged(corpora["small"], tmp_path), "--skip-bad")
    assert evaluate(monkeypatch, *words, "--resamples", 20) == 0
    assert "left out 1 bad recordings" in capsys.readouterr().out


def damaged(manifest: Path, folder: Path) -> Path:
    """A copy of a corpus in which one test recording is no audio."""
    import shutil

    shutil.copytree(manifest.parent, folder / "damaged", dirs_exist_ok=True)
    (folder / "damaged" / "small-test-2.flac").write_bytes(b"no audio")
    return folder / "damaged" / "manifest.parquet"
