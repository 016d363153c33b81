"""Code that somebody put into a model folder: only those who trust it run it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raclap import cli
from raclap.model_folder import load_model_folder

TRUSTING = "import sys\nfrom transformers import AutoModel\nAutoModel.from_pretrained('.', trust_remote_code=True)"
DOUBTING = TRUSTING.replace("True", "False")


@pytest.fixture
def folder(teacher_folder, tmp_path, monkeypatch) -> Path:
    """A model folder whose code, tokenizer's and towers' too, leaves a mark where it is run."""
    mark = tmp_path / "mark"
    folder = tmp_path / "model"
    shutil.copytree(teacher_folder, folder)
    line = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n"
    for path in (*folder.glob("*.py"), folder / "mine.py"):
        code = path.read_text() if path.exists() else "class Mine: pass\n"
        path.write_text(line + code.replace("from __future__ import annotations\n", ""))
    for name, places in (("config.json", ("audio_config", "text_config")), ("tokenizer_config.json", ())):
        settings = json.loads((folder / name).read_text())
        for part in (settings[place] for place in places) if places else (settings,):
            part["auto_map"] = {
                "AutoConfig": "mine.Mine",
                "AutoModel": "mine.Mine",
                "AutoTokenizer": [None, "mine.Mine"],
            }
        (folder / name).write_text(json.dumps(settings))
    monkeypatch.chdir(folder)
    return folder


def is_marked(folder: Path) -> bool:
    return (folder.parent / "mark").exists()


def test_the_commands_of_this_package_run_nothing_of_it(folder, corpora, monkeypatch, capsys):
    model, processor = load_model_folder(folder)
    assert model.get_text_features(**processor(text="a low voice")).pooler_output.isfinite().all()
    clip = sorted(corpora["small"].parent.glob("*.flac"))[0]
    monkeypatch.setattr(sys, "argv", ["raclap", "rerank", str(folder), str(clip), "--text", "a low voice"])
    cli.main()
    assert str(clip) in capsys.readouterr().out
    assert not is_marked(folder)


def test_transformers_run_it_where_they_are_told_to(folder, tmp_path):
    """The oracle of the test above: the code would have left its mark."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    for program, marked in ((DOUBTING, False), (TRUSTING, True)):
        probe = program.replace("from transformers", "sys.meta_path = [f for f in sys.meta_path if '__editable__' "
                                "not in repr(f)]\nfrom transformers")  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", probe], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert is_marked(folder) == marked, done.stderr
