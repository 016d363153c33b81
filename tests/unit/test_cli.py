"""The raclap command and the evaluation script: what they write, and one clear line for a mistake."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
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
from raclap.cli import convert
from raclap.corpora.options import OPTIONS
from raclap.corpora.preparation import READERS
from raclap.data.manifest import read_manifest, write_manifest
from raclap.hub.clap_catalogue import PUBLISHED_CLAPS
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


@pytest.mark.parametrize("kind", sorted(PUBLISHED_CLAPS))
def test_convert_of_a_model_teaches_and_names_a_mistake(kind, tmp_path, monkeypatch, capsys):
    assert set(convert.MODEL_CONVERSIONS) == set(PUBLISHED_CLAPS)
    assert run(cli.main, monkeypatch, "convert", kind, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "FILE" in said and ".safetensors" in said and "--tokenizer FOLDER_OR_NAME" in said
    file, out = str(tmp_path / "weights.pt"), str(tmp_path / "out")
    assert run(cli.main, monkeypatch, "convert", kind, file, out) == 2
    assert capsys.readouterr().err == f"error: {file}: no such file\n"
    torch.save({"head.weight": torch.zeros(1)}, file)
    make_tokenizer().save_pretrained(tmp_path / "words")
    assert run(cli.main, monkeypatch, "convert", kind, file, out, "--tokenizer", str(tmp_path / "words")) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: does not hold the weights of {kind}: ") and said.count("\n") == 1
    assert said.endswith("; 1 surplus: head.weight\n") and not (tmp_path / "out").exists()


def test_convert_teaches_and_names_a_mistake(tmp_path, monkeypatch, capsys):
    assert set(convert.CONVERSIONS) == set(PUBLISHED_ENCODERS)
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
    digest = hashlib.sha256((model_folder / "model.safetensors").read_bytes()).hexdigest()
    assert intervals["models"] == {name: {"weights": {"model.safetensors": digest}} for name in ("one", "two")}
    expected = {"split": "test", "seed": 0, "resamples": 50, "clips": {"small": 12, "renamed": 12}}
    assert intervals["protocol"] == expected
    assert figure.stat().st_size > 10_000
    assert "R@10" in capsys.readouterr().out
    assert "style ceiling" in (tmp_path / "results.txt").read_text()


def with_valence(manifest: Path, folder: Path, valence: Sequence[float]) -> Path:
    """The same corpus with these valences in turn, and the arousal of every second row."""
    folder.mkdir()
    rows = read_manifest(manifest)
    pairs = [
        replace(pair, valence=valence[row % len(valence)], arousal=row / 7 if row % 2 else None)
        for row, pair in enumerate(rows)
    ]
    write_manifest(folder / "manifest.parquet", pairs, rows.audio_root)
    return folder / "manifest.parquet"


def test_evaluation_measures_the_order_of_valence_and_arousal(model_folder, corpora, tmp_path, monkeypatch, capsys):
    manifest = with_valence(corpora["small"], tmp_path / "moods", [1.0, 2.0, 4.0])
    words = ["--model", f"one={model_folder}", "--model", f"two={model_folder}", "--manifest", f"moods={manifest}"]
    words += ["--manifest", f"plain={corpora['small']}", "--resamples", 50]
    assert evaluate(monkeypatch, *words, "--output", tmp_path / "a.json", "--table", tmp_path / "a.txt") == 0
    assert "τ valence" in capsys.readouterr().out and "τ arousal" in (tmp_path / "a.txt").read_text()
    results = json.loads((tmp_path / "a.json").read_text())
    order = results["one"]["moods"].pop("ordinality")
    assert results["one"]["moods"] == results["one"]["plain"]
    assert order["samples"]["tau_valence"] == {"unlabelled": 0, "rows": 12}
    assert order["samples"]["tau_arousal"] == {"unlabelled": 6, "rows": 6}
    assert {*order["audio_to_text"]} == {*order["text_to_audio"]} == {"tau_valence", "tau_arousal"}
    intervals = json.loads((tmp_path / "a.intervals.json").read_text())
    entry = intervals["results"]["one"]["moods"]["ordinality"]["text_to_audio"]["tau_arousal"]
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["value"] == pytest.approx(order["text_to_audio"]["tau_arousal"])
    compared = [each for each in intervals["comparisons"] if each["metric"] == "tau_valence"]
    assert [(each["corpus"], each["difference"]) for each in compared] == [("moods", 0), ("moods", 0)]
    assert evaluate(monkeypatch, *words, "--order-rows", 0, "--output", tmp_path / "b.json") == 0
    assert json.loads((tmp_path / "b.json").read_text()) == results | {"two": results["one"]}
    assert "τ valence" not in capsys.readouterr().out


def test_evaluation_refuses_an_order_of_one_value(model_folder, corpora, tmp_path, monkeypatch, capsys):
    manifest = with_valence(corpora["small"], tmp_path / "flat", [3.0])
    assert evaluate(monkeypatch, "--model", model_folder, "--manifest", manifest) == 2
    assert f"{manifest}: column 'valence': no order to measure: rows with a value: 12, " in capsys.readouterr().err


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
