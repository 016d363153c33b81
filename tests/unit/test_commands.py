"""raclap calibrate and raclap rerank on the command line: what they print and write, and one line for a mistake."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

from conftest import RATE, tone
from modeling_raclap.calibration_raclap import Calibration
from raclap import cli, commands
from raclap.model_folder import load_model_folder
from raclap.retrieval.embed import PairEmbeddings

CALIBRATION = Calibration(slope=5.0, intercept=-1.0, quantiles=tuple(np.linspace(-1, 1, 101).tolist()))


@pytest.fixture
def model_folder(teacher_folder: Path, tmp_path: Path) -> Path:
    """An exported model of one's own."""
    return shutil.copytree(teacher_folder, tmp_path / "model")


@pytest.fixture
def calibrated(model_folder: Path) -> Path:
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, "calibration": CALIBRATION.to_dict()}))
    return model_folder


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> Path:
    """Six takes, two in a folder of their own, and a file that is no recording."""
    folder, rng = tmp_path_factory.mktemp("takes"), np.random.default_rng(0)
    (folder / "more").mkdir()
    for index in range(6):
        samples = tone(100.0 + 60 * index, 0.05 + 0.05 * index, 0.3 + 0.1 * (index % 3), rng)
        soundfile.write(folder / ("more" if index > 3 else "") / f"{index}.wav", samples, RATE)
    (folder / "notes.txt").write_text("no recording")
    return folder


@pytest.fixture
def raclap(monkeypatch, capsys):
    def run(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raclap", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def order_by_model(folder: Path, clips: list[Path], text: str) -> list[str]:
    model, processor = load_model_folder(folder)
    with torch.inference_mode():
        audio = torch.cat([model.get_audio_features(**processor(audio=clip)).pooler_output for clip in clips])
        cosines = audio @ model.get_text_features(**processor(text=text)).pooler_output[0]
    return [str(clips[place]) for place in cosines.argsort(descending=True)]


def test_clips_of_a_folder_are_ranked(calibrated, takes, raclap):
    code, said, complained = raclap("rerank", calibrated, "--text", "a low voice", takes, takes / "0.wav")
    assert code == 0 and "not calibrated" not in complained
    found = json.loads(said)
    ranking = found["ranking"]
    assert [own["clip"] for own in ranking] == order_by_model(calibrated, sorted(takes.rglob("*.wav")), "a low voice")
    assert found["best"] == ranking[0]["clip"] and found["prompt"] == "a low voice"
    assert [own["rank"] for own in ranking] == [1, 2, 3, 4, 5, 6]
    assert set(ranking[0]) == {"rank", "clip", "score", "cosine", "probability", "percentile"}
    for own in ranking:
        assert own["probability"] == pytest.approx(1 / (1 + np.exp(1 - 5 * own["cosine"])), abs=1e-5)
        assert own["percentile"] == pytest.approx(50 + 50 * own["cosine"], abs=1e-3)


def test_options_may_stand_anywhere_and_a_reference_decides_alone(calibrated, takes, raclap):
    clips = sorted(takes.glob("*.wav"))
    results = [
        raclap("rerank", calibrated, *clips, "--reference", takes / "2.wav", "--top", 2),
        raclap("rerank", "--reference", takes / "2.wav", calibrated, "--top", 2, *clips),
        raclap("rerank", "--reference", takes / "2.wav", "--top", 2, calibrated, *clips),
    ]
    assert [code for code, _, _ in results] == [0, 0, 0] and len({said for _, said, _ in results}) == 1
    found = json.loads(results[0][1])
    assert found["best"] == str(takes / "2.wav") and len(found["ranking"]) == 2
    assert found["ranking"][0]["reference_cosine"] == pytest.approx(1, abs=1e-4)
    assert "prompt" not in found and "probability" not in found["ranking"][0]


def test_weight_one_is_the_reference_alone(calibrated, takes, raclap):
    words = ("rerank", calibrated, takes, "--reference", takes / "3.wav")
    alone = json.loads(raclap(*words)[1])
    both = json.loads(raclap(*words, "--text", "a low voice", "--reference-weight", 1)[1])
    assert [own["clip"] for own in alone["ranking"]] == [own["clip"] for own in both["ranking"]]
    assert alone["best"] == str(takes / "3.wav") and "cosine" in both["ranking"][0]


def test_without_a_calibration_one_line_says_so(model_folder, takes, raclap, tmp_path):
    output = tmp_path / "new" / "out.json"
    code, said, complained = raclap("rerank", model_folder, takes, "--text", "a low voice", "--output", output)
    assert (code, said) == (0, "") and f"{model_folder}: not calibrated" in complained
    assert set(json.loads(output.read_text())["ranking"][0]) == {"rank", "clip", "score", "cosine"}


def write_table(folder: Path, rows: list[str], header: str = "prompt,candidate") -> Path:
    (folder / "takes.csv").write_text("\n".join([header, *rows, ""]))
    return folder / "takes.csv"


def test_a_table_gives_the_best_of_every_prompt(calibrated, takes, raclap, tmp_path):
    rows = [f"a {text} voice,{clip}" for text in ("low", "loud") for clip in ("0.wav", "1.wav", "more/4.wav")]
    table = write_table(tmp_path, [*rows, "a quiet voice,2.wav", "a low voice,0.wav"])
    code, said, _ = raclap("rerank", calibrated, "--table", table, "--audio-root", takes)
    assert code == 0
    found = [json.loads(line) for line in said.splitlines()]
    assert [own["prompt"] for own in found] == ["a low voice", "a loud voice", "a quiet voice"]
    for own in found[:2]:
        order = order_by_model(calibrated, [takes / "0.wav", takes / "1.wav", takes / "more/4.wav"], own["prompt"])
        assert [str(takes / clip["clip"]) for clip in own["ranking"]] == order
        assert str(takes / own["best"]) == order[0]
    assert found[2]["best"] == "2.wav" and len(found[2]["ranking"]) == 1
    for suffix in (".json", ".jsonl"):
        output = tmp_path / f"out{suffix}"
        assert raclap("rerank", calibrated, "--table", table, "--audio-root", takes, "--output", output)[0] == 0
        text = output.read_text()
        assert (json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]) == found


def test_ids_references_and_columns_of_other_names(calibrated, takes, raclap, tmp_path):
    rows = [f"u{item},a low voice,{clip}.wav,{item}.wav" for item in (0, 1) for clip in (0, 1, 2)]
    table = write_table(tmp_path, rows, "utterance,style,wav,voice")
    names = ("id=utterance", "prompt=style", "candidate=wav", "reference=voice")
    words = ("rerank", calibrated, "--table", table, "--audio-root", takes, "--columns", *names)
    found = [json.loads(line) for line in raclap(*words, "--reference-weight", 1)[1].splitlines()]
    assert [(own["id"], own["reference"], own["best"]) for own in found] == [
        ("u0", "0.wav", "0.wav"), ("u1", "1.wav", "1.wav"),
    ]  # fmt: skip


def test_bad_rows_stop_the_table_or_are_listed(calibrated, takes, raclap, tmp_path):
    rows = ["a low voice,0.wav", "a low voice,notes.txt", "a low voice,../0.wav", "a loud voice,notes.txt"]
    table = write_table(tmp_path, rows)
    words = ("rerank", calibrated, "--table", table, "--audio-root", takes)
    code, _, complained = raclap(*words)
    assert code == 2 and "row 3: column 'candidate' is '../0.wav', which leaves the audio root" in complained
    write_table(tmp_path, [row for row in rows if ".." not in row])
    code, _, complained = raclap(*words)
    expected = f"error: takes.csv, row 2: {takes / 'notes.txt'}: not a readable audio file"
    assert code == 2 and expected in complained and "--skip-bad leaves bad rows out" in complained
    write_table(tmp_path, rows)
    code, said, complained = raclap(*words, "--skip-bad")
    assert code == 0 and "left out 3:" in complained
    assert all(f"  takes.csv, row {row}: " in complained for row in (2, 3, 4))
    assert "1 of 2 prompts have no clip left" in complained
    assert [json.loads(line)["best"] for line in said.splitlines()] == ["0.wav", None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("MODEL", "--text", "x"), "no clips; name recordings or a folder of them, or --table"),
        (("MODEL", "TAKES/0.wav"), "nothing to rank by: give a caption, a reference clip, or both"),
        (("MODEL", "TAKES/0.wav", "--text", " "), "a caption is empty"),
        (("MODEL", "TAKES/none.wav", "--text", "x"), "none.wav: no such audio file"),
        (("MODEL", "TAKES/notes.txt", "--text", "x", "--skip-bad"), "no clip is left to choose from"),
        (
            ("MODEL", "TAKES/0.wav", "--text", "x", "--reference-weight", "2"),
            "reference weight 2.0; expected a number",
        ),
        (("MODEL", "TAKES/0.wav", "--text", "x", "--top", "0"), "'0'; expected a whole number, 1 or more"),
        (("MODEL", "TAKES/0.wav", "--text", "x", "--columns", "a=b"), "--columns is of no use without --table"),
        (("MODEL", "TAKES/0.wav", "--table", "TAKES/t.csv"), "CLIPS is of no use with --table"),
        (("MODEL", "--table", "TAKES/t.csv"), "t.csv: no such table"),
        (("MODEL", "--table", "TAKES/t.csv", "--columns", "a"), "--columns: 'a'; expected NAME=VALUE"),
        (("MODEL", "TAKES/0.wav", "--text", "x", "--output", "o.csv"), "o.csv: expected a name that ends in .json"),
        (("TAKES", "TAKES/0.wav", "--text", "x"), "holds no config.json"),
        (("MODEL", "TAKES/empty", "--text", "x"), "empty: no recording"),
    ],
)
def test_rerank_names_a_mistake(words, message, model_folder, takes, raclap):
    (takes / "empty").mkdir(exist_ok=True)
    words = [word.replace("MODEL", str(model_folder)).replace("TAKES", str(takes)) for word in words]
    code, said, complained = raclap("rerank", *words)
    assert code == 2 and said == "" and message in complained


def by_style(sign: float):
    """Embeddings that know the style of every row, in place of those of an untrained model."""

    def embed(model, processor, rows) -> PairEmbeddings:
        keys = rows.manifest.column("style_key")
        codes = torch.tensor([sorted(set(keys)).index(key) for key in keys])
        noise = torch.Generator().manual_seed(len(keys))
        audio = F.normalize(torch.eye(8)[codes] + 0.3 * torch.randn(len(keys), 8, generator=noise), dim=1)
        return PairEmbeddings(sign * audio, torch.eye(8)[codes])

    return embed


def test_calibrate_rewrites_the_configuration_alone(model_folder, corpora, raclap, monkeypatch):
    monkeypatch.setattr(commands, "embed_pairs", by_style(1.0))
    before = json.loads((model_folder / "config.json").read_text())
    others = {path.name: path.read_bytes() for path in model_folder.iterdir() if path.name != "config.json"}
    words = ("calibrate", model_folder, "--manifest", corpora["small"], f"second={corpora['medium']}")
    code, said, complained = raclap(*words)
    assert code == 0, complained
    assert f"{model_folder / 'config.json'}: calibrated on 24 clips (small 12, second 12)" in said
    assert "Brier score" in said and "random clips and captions" in said
    after = json.loads((model_folder / "config.json").read_text())
    found = after.pop("calibration")
    before.pop("calibration", None)
    assert after == before and list(after) == sorted(after)
    assert {path.name: path.read_bytes() for path in model_folder.iterdir() if path.name != "config.json"} == others
    calibration = load_model_folder(model_folder)[0].calibration
    assert calibration.slope > 0 and calibration.to_dict() == found
    assert raclap(*words)[1] == said and json.loads((model_folder / "config.json").read_text())["calibration"] == found
    raclap(*words, "--seed", 1)
    assert json.loads((model_folder / "config.json").read_text())["calibration"] != found


@pytest.mark.parametrize(
    ("sign", "words", "message"),
    [
        (1.0, ("SMALL",), "12 pairs; a calibration needs at least 20"),
        (-1.0, ("SMALL", "MEDIUM"), "captions that fit have no higher cosines than others on small, medium"),
        (1.0, ("SMALL", "SMALL"), "two manifests are of 'small'; tell them apart as NAME=FILE"),
        (1.0, ("/nowhere.parquet",), "/nowhere.parquet: no such manifest"),
    ],
)
def test_calibrate_names_a_mistake_and_leaves_the_model(sign, words, message, model_folder, corpora, raclap,
                                                        monkeypatch):  # fmt: skip
    monkeypatch.setattr(commands, "embed_pairs", by_style(sign))
    config = (model_folder / "config.json").read_bytes()
    known = {"SMALL": corpora["small"], "MEDIUM": corpora["medium"]}
    code, _, complained = raclap("calibrate", model_folder, "--manifest", *(known.get(word, word) for word in words))
    assert code == 2 and message in complained
    assert (model_folder / "config.json").read_bytes() == config
