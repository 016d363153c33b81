from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement

from raclap.errors import ModelFolderError
from raclap.page.models import choose_models
from raclap.page.space import write_space

ROOT = Path(__file__).parents[2]


def test_a_space_holds_all_that_the_page_needs(tmp_path: Path, teacher_folder: Path):
    gradio = pytest.importorskip("gradio")
    write_space(tmp_path / "space", ROOT, {"RA-CLAP 2.0": teacher_folder})
    assert list(choose_models([], {}, tmp_path / "space")) == ["RA-CLAP 2.0"]
    card = SpaceCard.load(tmp_path / "space" / "README.md").data
    assert (card.sdk, card.sdk_version, card.app_file) == ("gradio", gradio.__version__, "app.py")
    lines = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    names = {Requirement(line).name for line in lines}
    assert {"torch", "transformers", "espeakng-loader"} <= names and not names & {"pytest", "gradio"}
    copied = {path.relative_to(tmp_path / "space") for path in (tmp_path / "space").rglob("*.py")}
    for package in ("raclap", "modeling_raclap"):
        assert {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")} <= copied


def test_nothing_is_overwritten_and_no_name_leaves_the_folder(tmp_path: Path, teacher_folder: Path):
    pytest.importorskip("gradio")
    (tmp_path / "app.py").touch()
    with pytest.raises(ModelFolderError, match="is there already"):
        write_space(tmp_path, ROOT, {"a": teacher_folder})
    for name in ("../a", "", "a/b", ".a"):
        with pytest.raises(ModelFolderError, match="cannot be that of a folder"):
            write_space(tmp_path / "space", ROOT, {name: teacher_folder})
    assert not (tmp_path / "space").exists()
