"""examples/best_of_n.py as a user runs it, with a tiny model and two prompts."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "best_of_n.py"


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(*words: str) -> None:
        places = ["--output", str(tmp_path / "found.json"), "--page", str(tmp_path / "page.md")]
        monkeypatch.setattr(
            sys, "argv", [str(SCRIPT), "--prompts", "2", "--takes", "3", "--jobs", "1", *places, *words]
        )
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_models_choose_among_the_same_clips(run, teacher_folder, tmp_path):
    pytest.importorskip("espeakng_loader")
    models = ["--model", f"one={teacher_folder}", "--model", f"other={teacher_folder}"]
    run(*models, "--clips", str(tmp_path / "clips"))
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["models"]["one"] == record["models"]["other"] and record["setting"]["takes"] == 3
    low, high = (record[name]["share"]["value"] for name in ("random", "best_possible"))
    assert 0 <= low <= high <= 100 and record["models"]["one"]["share"]["value"] <= high
    assert "| one | " in (tmp_path / "page.md").read_text()
    assert len(list((tmp_path / "clips").glob("*.flac"))) == 6
    run(*models)
    again = json.loads((tmp_path / "found.json").read_text())
    assert again["models"] == record["models"]


def test_two_models_of_one_name_are_refused(run, teacher_folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--model", str(teacher_folder), "--model", str(teacher_folder))
    assert stop.value.code == 2 and "two models have one name" in capsys.readouterr().err
