import json
import shutil
import sys
from pathlib import Path

import pytest

import app
from raclap.errors import ModelFolderError
from raclap.page.models import choose_models


@pytest.fixture
def root(tmp_path: Path, teacher_folder: Path) -> Path:
    """A folder as `make demo` leaves it."""
    for name in ("demo", "demo_ra_clap"):
        shutil.copytree(teacher_folder, tmp_path / "runs" / name / "export")
    return tmp_path


def test_what_is_named_comes_first_then_the_environment_then_what_is_found(root: Path, teacher_folder: Path):
    environment = {"RACLAP_MODELS": f"one={teacher_folder}, {root / 'runs/demo/export'}"}
    assert choose_models([f"mine={teacher_folder}"], environment, root) == {"mine": teacher_folder}
    assert list(choose_models([], environment, root)) == ["one", "demo"]
    assert list(choose_models([], {"RACLAP_MODELS": " "}, root)) == ["RA-CLAP", "ESS-CLAP"]
    shutil.copytree(teacher_folder, root / "models" / "copied")
    assert choose_models([], {}, root) == {"copied": root / "models" / "copied"}


def test_one_model_of_the_demo_is_enough(root: Path):
    shutil.rmtree(root / "runs" / "demo_ra_clap")
    assert list(choose_models([], {}, root)) == ["ESS-CLAP"]


def test_no_model_and_equal_names_are_refused(tmp_path: Path, teacher_folder: Path):
    with pytest.raises(ModelFolderError, match="make demo"):
        choose_models([], {}, tmp_path)
    with pytest.raises(ModelFolderError, match="two models are called 'a'"):
        choose_models([f"a={teacher_folder}", f"a={teacher_folder}"], {}, tmp_path)


@pytest.mark.parametrize("broken", ["no weights", "code outside", "missing"])
def test_a_bad_folder_is_one_line_and_the_page_does_not_start(
    broken: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    folder = root / "runs/demo/export"
    if broken == "no weights":
        (folder / "model.safetensors").unlink()
    elif broken == "code outside":
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"]["AutoModel"] = "../../evil.Model"
        (folder / "config.json").write_text(json.dumps(config))
    else:
        shutil.rmtree(folder)
    monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ") and str(folder) in printed and "\n" not in printed
