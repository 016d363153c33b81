"""Which models the page shows: those named on the command line, by the environment, or left by `make demo`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from raclap.console import named_model
from raclap.errors import ModelFolderError
from raclap.model_folder import check_model_folder

ENVIRONMENT = "RACLAP_MODELS"

# Where models lie without being named, below the folder that the page is started in.
_USUAL = {"RA-CLAP": Path("runs/demo_ra_clap/export"), "ESS-CLAP": Path("runs/demo/export")}
_COPIED = Path("models")


def choose_models(given: Sequence[str], environment: Mapping[str, str], root: Path) -> dict[str, Path]:
    """Finds the models to show.

    Args:
        given: `NAME=FOLDER` or `FOLDER` each, as on the command line; they come before everything else.
        environment: `RACLAP_MODELS` holds the same with commas between; it comes next.
        root: folder below which `models/*`, as a Space holds them, or else the models of `make demo` are looked for.

    Returns:
        Folders by name, in order; at least one.

    Raises:
        ModelFolderError: there is none, two have one name, or a folder is no model or not to be trusted (see
            `check_model_folder`).
    """
    words = given or [word.strip() for word in environment.get(ENVIRONMENT, "").split(",") if word.strip()]
    models: dict[str, Path] = {}
    for name, folder in map(named_model, words):
        if name in models:
            raise ModelFolderError(f"two models are called '{name}'; tell them apart as NAME=FOLDER")
        models[name] = folder
    models = models or _found_below(root)
    if not models:
        raise ModelFolderError(
            f"no model to show: `make demo` trains two, or name one: --model NAME=FOLDER, or {ENVIRONMENT}=NAME=FOLDER"
        )
    for folder in models.values():
        check_model_folder(folder)
    return models


def _found_below(root: Path) -> dict[str, Path]:
    copied = {file.parent.name: file.parent for file in sorted((root / _COPIED).glob("*/config.json"))}
    usual = {name: root / folder for name, folder in _USUAL.items() if (root / folder / "config.json").is_file()}
    return copied or usual
