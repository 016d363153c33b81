"""A folder that runs the page as a Space of the Hugging Face Hub: the page, this package, and the models."""

import re
import shutil
from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path

from huggingface_hub import SpaceCardData

from raclap.errors import ModelFolderError
from raclap.files import replacing_folder

_PACKAGES = ("raclap", "modeling_raclap")
_SPOKEN_BY = "espeakng-loader"  # the gallery is spoken when the Space starts
_NOT_TO_COPY = shutil.ignore_patterns("__pycache__", ".*")
_NAME = re.compile(r"\w[\w .+-]*")
_README = """---
{header}
---

Judge how well descriptions fit a clip of speech, and find voices by description. What is said is not judged.

The models and their licences are described in {models}.
"""


def write_space(target: Path, source: Path, models: Mapping[str, Path]) -> None:
    """Writes the folder, whole or not at all.

    Args:
        target: a new or empty folder; gets app.py, requirements.txt, README.md, this package and `models/NAME`.
        source: folder that holds app.py and this package.
        models: checked folders by name.

    Raises:
        ModelFolderError: a name is not one that a folder could have, or `target` holds something.
    """
    for name in models:
        if not _NAME.fullmatch(name):
            raise ModelFolderError(f"the model's name '{name}' cannot be that of a folder; use letters and digits")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelFolderError(f"{target}: is there already; name a folder that is new or empty")
    with replacing_folder(target) as folder:
        shutil.copy(source / "app.py", folder)
        for package in _PACKAGES:
            shutil.copytree(source / package, folder / package, ignore=_NOT_TO_COPY)
        for name, model in models.items():
            shutil.copytree(model, folder / "models" / name, ignore=_NOT_TO_COPY)
        (folder / "requirements.txt").write_text("\n".join(_requirements()) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_readme(list(models)), encoding="utf-8")


def _readme(names: list[str]) -> str:
    header = SpaceCardData(
        title="How does it sound?", sdk="gradio", sdk_version=version("gradio"), app_file="app.py", emoji="🗣️",
        colorFrom="green", colorTo="blue", pinned=False,
    )  # fmt: skip
    models = ", ".join(f"[models/{name}](<models/{name}/README.md>)" for name in names)
    return _README.format(header=header.to_yaml(), models=models)


def _requirements() -> list[str]:
    """What this package needs by itself, and the synthesiser; gradio comes with the Space."""
    needed = [line.partition(";") for line in requires("raclap") or ()]
    return [name for name, extra, _ in needed if not extra or name.startswith(_SPOKEN_BY)]
