"""study.py as a user runs it: two small runs, one of which goes on from the other, and nothing done twice."""

import json
import signal
import sys
from pathlib import Path

import pytest
import yaml

import study
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
