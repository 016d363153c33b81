"""study.py as a user runs it: two small runs, one of which goes on from the other, and nothing done twice."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import study
from raclap.data.manifest import read_manifest, write_manifest
from raclap.retrieval.relevance import DIRECTIONS
from raclap.study import running
from raclap.study.plan import Job


@pytest.fixture
def plan_file(tmp_path, recipe_file, corpora) -> Path:
    shorter = ["training.epochs=1", "training.steps_per_epoch=2", "training.trackers=[]"]
    run = {"recipe": str(recipe_file), "set": shorter}
    plan = {
        "title": "Tones",
        "output": str(tmp_path / "runs"),
        "page": str(tmp_path / "docs" / "tones.md"),
        "seeds": [0],
        "corpora": {name: str(corpora[name]) for name in ("small", "medium")},
        "runs": {
            "tuned": {**run, "title": "Base, tuned", "init_from": "base"},
            "base": {**run, "title": "Base"},
        },
        "claims": [
            {"title": "Tuning helps", "better": "tuned", "worse": "base", "corpora": ["small"], "source": "a hope"}
        ],
        "resamples": 200,
    }
    path = tmp_path / "tones.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


@pytest.fixture
def emotional_plan(plan_file, corpora, tmp_path) -> Path:
    """The same plan with values of valence and arousal on one corpus, a protocol, and runs tested on a part."""
    rows = read_manifest(corpora["small"])
    places = {"low": -0.5, "normal": 0.0, "high": 0.5}
    moved = [replace(row, valence=places[row.emotion], arousal=float(row.style_key.endswith("loud"))) for row in rows]
    write_manifest(tmp_path / "small.parquet", moved, rows.audio_root)
    (tmp_path / "pitch.yaml").write_text(
        "{column: pitch, templates: ['a {} voice'], classes: {low: [low], normal: [normal], high: [high]}}"
    )
    plan = yaml.safe_load(plan_file.read_text())
    claim = {"better": "tuned", "worse": "base", "source": "a hope"}
    plan["corpora"]["small"] = str(tmp_path / "small.parquet")
    plan["runs"]["tuned"]["tests"] = ["small"]
    plan |= {
        "ordinality": ["small"],
        "protocols": {"pitch": {"corpus": "small", "file": "pitch.yaml"}},
        "claims": [
            {**claim, "title": "Order", "corpora": ["small"], "metric": "tau"},
            {**claim, "title": "Pitch", "metric": "macro_F1 pitch"},
        ],
    }
    plan_file.write_text(yaml.safe_dump(plan, sort_keys=False))
    return plan_file


@pytest.fixture
def run_study(monkeypatch, plan_file):
    """Runs study.py in this process; returns the jobs for which it started a process."""
    started: list[str] = []
    plainly = running.command_line

    def noting(plan, job: Job, scripts: Path) -> list[str]:
        started.append(str(job))
        return plainly(plan, job, scripts)

    monkeypatch.setattr(running, "command_line", noting)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*words: str) -> list[str]:
        started.clear()
        monkeypatch.setattr(sys, "argv", ["study.py", "--plan", str(plan_file), *words])
        study.main()
        return list(started)

    return run


def test_a_study_is_run_once_and_its_page_is_written(run_study, tmp_path, capfd):
    assert run_study("--list") == []
    assert "left  seed0/base  Base\nleft  seed0/tuned  Base, tuned\n" in capfd.readouterr().out
    assert not (tmp_path / "runs").exists()

    assert run_study() == ["seed0/base", "seed0/tuned"]
    page = (tmp_path / "docs" / "tones.md").read_text()
    assert "2 of 2 training runs are done" in page
    for title in ("Base", "Base, tuned"):
        assert f"| {title} | 1 |" in page.split("### nDCG@10")[1]
    assert "### Tuning helps" in page
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"tones.md", "tones_claims.png", "tones_runs.png"}
    record = json.loads((tmp_path / "runs" / "study.json").read_text())
    claim = record["claims"][0]
    cells = record["results"]["tuned"]["small"], record["results"]["base"]["small"]
    means = [sum(cell[d]["nDCG@10"]["value"] for d in cell) / 2 for cell in cells]
    assert claim["difference"]["value"] == pytest.approx(means[0] - means[1])
    assert record["runs"]["tuned"]["seeds"]["0"]["steps"] == 2
    assert "epoch 1" in (tmp_path / "runs" / "seed0" / "tuned.log").read_text()

    values = tmp_path / "runs" / "seed0" / "tuned" / "test" / "small.parquet"
    written = values.stat().st_mtime_ns
    (tmp_path / "docs" / "tones_notes.md").write_text("Tones are tones.\n")
    assert run_study() == []
    assert values.stat().st_mtime_ns == written
    assert "\n\nTones are tones.\n\n" in (tmp_path / "docs" / "tones.md").read_text()


def test_order_and_protocols_are_measured_where_the_plan_asks(run_study, emotional_plan, tmp_path):
    assert run_study() == ["seed0/base", "seed0/tuned"]
    record = json.loads((tmp_path / "runs" / "study.json").read_text())
    assert set(record["results"]["tuned"]) == {"small"} and set(record["results"]["base"]) == {"small", "medium"}
    order, pitch = record["claims"]
    taus = [record["ordinality"][run]["small"] for run in ("tuned", "base")]
    means = [np.mean([found[d]["tau"]["value"] for d in DIRECTIONS]) for found in taus]
    assert order["difference"]["value"] == pytest.approx(means[0] - means[1])
    f1 = [record["classified"][run]["pitch"]["macro_F1"]["value"] for run in ("tuned", "base")]
    assert pitch["difference"]["value"] == pytest.approx(f1[0] - f1[1])
    assert pitch["corpora"] == ["small"] and record["protocols"]["pitch"]["clips"] == 12
    for run in ("tuned", "base"):
        measured = record["classified"][run]["pitch"]
        assert measured["macro_F1"]["value"] == pytest.approx(np.mean(list(measured["class_f1"].values())))
    page = (tmp_path / "docs" / "tones.md").read_text()
    assert "### Order of valence and arousal on small" in page and "### Zero-shot classification: pitch" in page
    medium = page.split("### Recall on medium")[1].split("###")[0]
    assert "| Base |" in medium and "Base, tuned" not in medium


def test_a_page_without_any_run_says_so(run_study, tmp_path):
    assert run_study("--page-only") == []
    page = (tmp_path / "docs" / "tones.md").read_text()
    assert "- Base: seed 0" in page and "**not run**" in page and ".png" not in page


def test_a_mistake_in_the_plan_is_one_line(run_study, plan_file, capsys):
    plan_file.write_text(plan_file.read_text().replace("init_from: base", "init_from: bass"))
    with pytest.raises(SystemExit) as stop:
        run_study()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {plan_file}: key 'runs.tuned': 'bass': there is no run 'bass'")
    assert error.count("\n") == 1
