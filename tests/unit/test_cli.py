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
from modeling_raclap import (
    EcapaTdnnConfig,
    EcapaTdnnModel,
    RaClapFeatureExtractor,
    RaClapModel,
    RaClapProcessor,
    ResNet34Config,
    ResNet34Model,
)
from raclap import cli
from raclap.corpora.options import OPTIONS
from raclap.corpora.preparation import READERS
from raclap.data.manifest import read_manifest
from raclap.hub.export import export
from raclap.hub.speaker_weights import PUBLISHED_ENCODERS


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


def make_table(folder: Path, rows: int = 3) -> Path:
    lines = [f"voices/{row}.wav,A calm voice.,Voice {row}.,s{row},low" for row in range(rows)]
    for row in range(rows):
        (folder / "voices").mkdir(exist_ok=True)
        soundfile.write(folder / "voices" / f"{row}.wav", 0.1 * np.sin(np.arange(RATE) / 20), RATE)
    (folder / "my table.csv").write_text("\n".join(["clip,one,two,who,F0 level", *lines, ""]), encoding="utf-8")
    return folder / "my table.csv"


def test_prepare_reads_a_table_of_any_columns(tmp_path, monkeypatch, capsys):
    table = make_table(tmp_path)
    words = ["prepare", "table", str(table), "--columns", "path=clip", "speaker=who", "--columns", "pitch=F0 level"]
    words += ["--caption-columns", "one", "two", "--attributes", "pitch", "--split", "test", "--licence", "CC0"]
    assert run(cli.main, monkeypatch, *words, "--cache", str(tmp_path / "cache")) == 0
    manifest = read_manifest(tmp_path / "cache" / "my table" / "manifest.parquet")
    pair = manifest[1]
    assert (pair.audio, pair.speaker, pair.corpus, pair.split) == ("voices/1.wav", "s1", "my table", "test")
    assert [caption.text for caption in pair.captions] == ["A calm voice.", "Voice 1."]
    assert (pair.attributes, pair.licence) == ({"pitch": "low"}, "CC0")
    said = capsys.readouterr().out
    assert "Licence: CC0" in said and "taken for" not in said
    assert run(cli.main, monkeypatch, *words, "--cache", str(tmp_path / "cache"), "--name", "mine") == 0
    assert read_manifest(tmp_path / "cache" / "mine" / "manifest.parquet")[0].corpus == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("table", "TABLE", "--emotions", "a=b"), "--emotions: this corpus has no such option; it has --audio-root"),
        (("ravdess", ".", "--columns", "a=b"), "--columns: this corpus has no such option"),
        (("embedded", "--columns", "a=b"), "--columns: this corpus has no such option; it has none"),
        (("table", "TABLE", "--columns", "clip"), "--columns: 'clip'; expected NAME=VALUE"),
        (("table", "TABLE", "--columns", "path=clip", "--columns", "path=one"), "path is both 'clip' and 'one'"),
        (("table", "TABLE", "--captions", "few"), "--captions: 'few': input should be a valid integer"),
        (("table", "TABLE", "--columns", "path=clop", "caption=one"), "row 1: no column 'clop'; the columns are clip"),
        (("table", "TABLE"), "row 1: no column is known to be audio; the columns are clip, one, two, who, F0 level"),
        (("webdataset", "shards"), "--extract-to is needed"),
    ],
)
def test_prepare_names_what_a_corpus_does_not_take(words, message, monkeypatch, capsys, tmp_path):
    table = str(make_table(tmp_path))
    words = [table if word == "TABLE" else word for word in words]
    assert run(cli.main, monkeypatch, "prepare", *words, "--cache", str(tmp_path / "cache")) == 2
    assert message in capsys.readouterr().err


def test_prepare_lists_every_corpus_and_option(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(cli.main, monkeypatch, "prepare", "--help") == 0
    said = capsys.readouterr().out
    listed = said.partition("\ncorpora:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == sorted(READERS)
    for line in listed:
        name, words = line.split(maxsplit=1)
        assert words.endswith(".") and words[0].isupper(), name
    assert all(f"--{name.replace('_', '-')} " in said for name in OPTIONS)


def test_convert_writes_a_tower_and_says_how_to_use_it(tmp_path, monkeypatch, capsys):
    published = ResNet34Model(ResNet34Config(num_mel_bins=16, channels=2, block_counts=(1, 1, 1, 1), hidden_size=8))
    weights = {**published.state_dict(), "projection.weight": torch.zeros(3, 8)}
    torch.save({f"model.{name}": value for name, value in weights.items()}, tmp_path / "avg_model.pt")
    words = ("convert", "wespeaker-resnet34", str(tmp_path / "avg_model.pt"), str(tmp_path / "tower"))
    assert run(cli.main, monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "16 mel bins, embeddings of 8, features of kaldi" in said
    assert "left out, as no part of the encoder: model.projection.weight" in said
    assert f"--set model.speech.pretrained={tmp_path / 'tower'}" in said
    assert (tmp_path / "tower" / "preprocessor_config.json").is_file()
    assert run(cli.main, monkeypatch, *words) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'tower'}: exists; name a folder that is to be made\n"


def test_convert_teaches_and_names_a_mistake(tmp_path, monkeypatch, capsys):
    assert set(cli._CONVERSIONS) == set(PUBLISHED_ENCODERS)
    for kind in PUBLISHED_ENCODERS:
        assert run(cli.main, monkeypatch, "convert", kind, "--help") == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "FILE" in said and ".safetensors" in said and "pretrained: OUT" in said
        assert run(cli.main, monkeypatch, "convert", kind, str(tmp_path / "gone.pt"), str(tmp_path / "out")) == 2
        assert capsys.readouterr().err == f"error: {tmp_path / 'gone.pt'}: no such file\n"
    assert not (tmp_path / "out").exists()


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
