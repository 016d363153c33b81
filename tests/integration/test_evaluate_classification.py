"""The script from manifest to page, with a model that starts at random."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import recall_score

import evaluate_classification
from conftest import free_port
from raclap.data.collection import read_split
from raclap.data.manifest import read_manifest, write_manifest
from raclap.errors import ManifestError
from raclap.model_folder import load_model_folder
from raclap.recipe import EvaluationRecipe
from raclap.retrieval.protocol import load_protocol
from raclap.retrieval.validation import Validation
from raclap.retrieval.zero_shot import classify_manifest, embed_prompts

ROOT = Path(__file__).parents[2]
PROTOCOL = """
about: how high a tone is
source: the tones of these tests
column: emotion
leave_out: [normal]
templates: ["a {} voice", "the person speaks in a {} tone"]
classes: {low: [low], high: [high]}
"""


@pytest.fixture
def protocol(tmp_path) -> Path:
    path = tmp_path / "tones.yaml"
    path.write_text(PROTOCOL)
    return path


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate_classification.py", *map(str, words)])
    try:
        evaluate_classification.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_tasks_and_columns_to_table_json_figure_and_page(
    teacher_folder, corpora, protocol, tmp_path, monkeypatch, capsys
):
    output, figure, page = (tmp_path / "out" / name for name in ("results.json", "confusion.png", "results.md"))
    words = [
        "--model",
        f"one={teacher_folder}",
        "--model",
        f"two={teacher_folder}",
        "--task",
        protocol,
        corpora["small"],
    ]
    words += ["--column", "volume", corpora["small"], "--column", "volume", f"other={corpora['medium']}"]
    words += ["--template", "a {} voice", "--resamples", 50, "--seed", 3]
    assert run(monkeypatch, *words, "--output", output, "--figure", figure, "--page", page) == 0

    found = json.loads(output.read_text())
    assert list(found["results"]) == ["one", "two"]
    assert list(found["tasks"]) == ["tones on small", "volume on small", "volume on other"]
    assert found["results"]["one"] == found["results"]["two"]
    tones = found["tasks"]["tones on small"]
    assert (tones["clips"], tones["left_out"], tones["split"]) == (8, {"'emotion' is normal": 4}, "test")
    assert tones["prompts"]["high"] == ["a high voice", "the person speaks in a high tone"]
    assert found["tasks"]["volume on small"]["prompts"] == {"loud": ["a loud voice"], "quiet": ["a quiet voice"]}

    # The figures are those of scikit-learn on what the model says of each clip.
    model, processor = load_model_folder(teacher_folder)
    corpus = read_split(corpora["small"], "test", processor.feature_extractor)
    clips = classify_manifest(model, processor, corpus, load_protocol(protocol))
    pairs = [corpus.manifest[row] for row in clips.rows]
    assert clips.labels == tuple(pair.emotion for pair in pairs)
    recall = 100 * recall_score(clips.labels, clips.predictions, average="macro")
    result = found["results"]["one"]["tones on small"]
    assert result["UAR"]["value"] == pytest.approx(recall)
    assert result["UAR"]["low"] <= recall <= result["UAR"]["high"]
    for name, row in zip(("low", "high"), result["confusion"], strict=True):
        assert sum(row) == 4 and set(result["recall"][name]) == {"value", "low", "high"}

    said = page.read_text()
    value = result["UAR"]
    assert f"{value['value']:.1f} [{value['low']:.1f}, {value['high']:.1f}]" in said
    assert "![Confusion matrices](confusion.png)" in said and "--seed 3" in said
    assert "Left out: 'emotion' is normal: 4." in said and "the tones of these tests" in said
    assert "tones on small" in capsys.readouterr().out
    height, width, _ = imread(figure).shape
    assert height > width > 500


def test_a_corpus_that_two_tasks_share_gives_what_each_gives_alone(
    teacher_folder, corpora, protocol, tmp_path, monkeypatch
):
    both = ["--task", protocol, corpora["small"], "--column", "volume", corpora["small"]]
    results = []
    for name, words in (("both", both), ("one", both[:3]), ("other", both[3:])):
        output = tmp_path / f"{name}.json"
        assert run(monkeypatch, "--model", f"m={teacher_folder}", *words, "--resamples", 20, "--output", output) == 0
        results.append(json.loads(output.read_text())["results"]["m"])
    assert results[0] == results[1] | results[2]


def test_two_processes_give_the_figures_of_one(teacher_folder, corpora, protocol, tmp_path, monkeypatch):
    words = ["--model", f"m={teacher_folder}", "--task", protocol, corpora["medium"], "--resamples", 20]
    assert run(monkeypatch, *words, "--output", tmp_path / "one.json") == 0
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    command = [sys.executable, *launcher, "evaluate_classification.py", *words, "--output", tmp_path / "two.json"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("tones on medium") == 1
    one, two = (json.loads((tmp_path / name).read_text())["results"] for name in ("one.json", "two.json"))
    assert one == two


def test_bad_recordings_are_counted_and_listed(teacher_folder, corpora, protocol, tmp_path, monkeypatch, capsys):
    shutil.copytree(corpora["small"].parent, tmp_path / "damaged")
    (tmp_path / "damaged" / "small-test-2.flac").write_bytes(b"no audio")
    words = ["--model", teacher_folder, "--task", protocol, tmp_path / "damaged" / "manifest.parquet"]
    assert run(monkeypatch, *words) == 2
    assert "small-test-2" in capsys.readouterr().err
    output, page = tmp_path / "r.json", tmp_path / "r.md"
    assert run(monkeypatch, *words, "--skip-bad", "--resamples", 20, "--output", output, "--page", page) == 0
    task = json.loads(output.read_text())["tasks"]["tones on small"]
    assert (task["clips"], task["left_out"]["bad recording"]) == (7, 1)
    assert [each["pair_id"] for each in task["bad_recordings"]] == ["small-test-2"]
    assert "bad recording: 1. First bad recording:" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to classify: give --task PROTOCOL MANIFEST or --column COLUMN MANIFEST"),
        (("--task", "TONES", "SMALL", "--template", "a {}"), "--template is for --column"),
        (("--column", "volume", "SMALL", "--model", "MODEL"), "two models have the same name"),
        (("--task", "nowhere.yaml", "SMALL"), "nowhere.yaml: cannot be read"),
        (("--task", "TONES", "nowhere.parquet"), "nowhere.parquet"),
        (("--column", "volum", "SMALL"), "no row has a label 'volum' (did you mean 'volume'?)"),
        (("--column", "volume", "SMALL", "--template", "a voice"), "'a voice' has no {}"),
        (("--column", "volume", "SMALL", "--column", "volume", "SMALL"), "two tasks are called 'volume on small'"),
        (("--column", "volume", "SMALL", "--split", "dev"), "invalid choice: 'dev'"),
        (("--column", "volume", "TRAINING"), "no rows of the split 'test'"),
    ],
)
def test_a_mistake_gives_one_line(words, message, teacher_folder, corpora, protocol, tmp_path, monkeypatch, capsys):
    training = tmp_path / "training.parquet"
    rows = read_manifest(corpora["small"]).split("train")
    write_manifest(training, list(rows), corpora["small"].parent)
    known = {"TONES": protocol, "SMALL": corpora["small"], "MODEL": teacher_folder, "TRAINING": training}
    assert run(monkeypatch, "--model", teacher_folder, *(known.get(word, word) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_classifying_leaves_the_model_as_it_was(teacher_folder, corpora, protocol):
    model, processor = load_model_folder(teacher_folder)
    corpus = read_split(corpora["small"], "test", processor.feature_extractor)
    model.train()
    clips = classify_manifest(model, processor, corpus, load_protocol(protocol))
    assert model.training
    # Embeddings that point to the prompts of "high" decide, whatever the clips are.
    model.eval()
    high = embed_prompts(model, processor, load_protocol(protocol))["high"].mean(0)
    told = classify_manifest(model, processor, corpus, load_protocol(protocol), high.expand(len(corpus.manifest), -1))
    assert set(told.predictions) == {"high"} and told.rows == clips.rows
    assert told.left_out == {"'emotion' is normal": 4}
    assert np.array_equal(told.speakers, [corpus.manifest[row].speaker for row in told.rows])


def test_validation_of_a_run_takes_the_same_protocol(teacher_folder, corpora, protocol):
    model, processor = load_model_folder(teacher_folder)
    corpora = {
        name: read_split(corpora[name], "validation", processor.feature_extractor) for name in ("small", "medium")
    }
    validation = Validation(EvaluationRecipe(select="zero_shot_UAR", zero_shot=str(protocol)), corpora, processor)
    results = validation.run(model)
    found = {}
    for name, corpus in corpora.items():
        clips = classify_manifest(model, processor, corpus, load_protocol(protocol))
        assert len(clips.rows) == 8  # of 12; the class that is left out has four
        found[name] = 100 * recall_score(clips.labels, clips.predictions, average="macro")
        assert results[name]["zero_shot"]["UAR"]["value"] == pytest.approx(found[name])
    assert validation.score(results) == pytest.approx(np.mean(list(found.values())))


def test_validation_names_a_label_that_the_protocol_does_not_know(teacher_folder, corpora, protocol):
    _, processor = load_model_folder(teacher_folder)
    corpus = read_split(corpora["small"], "validation", processor.feature_extractor)
    protocol.write_text(PROTOCOL.replace("leave_out: [normal]\n", ""))
    with pytest.raises(ManifestError, match=r"row small-validation-1: 'emotion' is 'normal', which is no class"):
        Validation(EvaluationRecipe(zero_shot=str(protocol)), {"small": corpus}, processor)
