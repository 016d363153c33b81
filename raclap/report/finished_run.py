"""What a run folder says of its run, read and checked; nothing in it is ever written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raclap.data.facts import CorpusFacts
from raclap.errors import RaClapError
from raclap.recipe import Recipe, read_recipe
from raclap.training.run_folder import RunFolder

# Of the record of an epoch.
_KEYS = ("epoch", "loss", "steps", "pairs_per_second", "logit_scale", "layer_weights", "score", "best", "validation")


class ReportError(RaClapError):
    """A folder is no run that can be reported on, or an option of the report does not fit it."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run of which at least one epoch is done.

    Attributes:
        path: its folder.
        recipe: what was run.
        epochs: records of `metrics.json`, in order; `epoch` counts from 0.
        epoch: the one whose model is reported on, from 1.
        best: the one that was chosen, from 1.
        export: folder of the model.
        versions: libraries, machine and date of the training; empty where not recorded.
        corpora: what was recorded of the training data; empty where nothing was.
    """

    path: Path
    recipe: Recipe
    epochs: list[dict[str, Any]]
    epoch: int
    best: int
    export: Path
    versions: dict[str, str]
    corpora: dict[str, CorpusFacts]

    @property
    def reported(self) -> dict[str, Any]:
        """The record of the epoch whose model is reported on."""
        return next(entry for entry in self.epochs if entry["epoch"] + 1 == self.epoch)


def read_run(path: Path, last: bool = False) -> FinishedRun:
    """Reads a run folder.

    Args:
        path: as `train.py` or `distill.py` made it.
        last: report on the model of the last epoch, not of the best.

    Raises:
        ReportError: it is no run folder, no epoch is done, or it holds no exported model.
        RunFolderError: a file of it is damaged.
        RecipeError: its recipe is damaged.
    """
    if not path.is_dir():
        raise ReportError(f"{path}: no such folder; expected the folder of a run, as in runs/demo")
    if not (path / "recipe.yaml").is_file():
        raise ReportError(f"{path}: holds no recipe.yaml; expected the folder of a run, not that of a model")
    recipe = read_recipe(path / "recipe.yaml")
    folder = RunFolder(path)
    epochs = _epochs(folder, path)
    best = max((entry["epoch"] + 1 for entry in epochs if entry["best"]), default=epochs[-1]["epoch"] + 1)
    export = folder.last if last else folder.best
    if not export.is_dir():
        raise ReportError(f"{export}: no exported model, so there is nothing to measure; was it moved?")
    return FinishedRun(
        path=path,
        recipe=recipe,
        epochs=epochs,
        epoch=epochs[-1]["epoch"] + 1 if last else best,
        best=best,
        export=export,
        versions=_versions(path / "versions.json"),
        corpora=folder.corpora() or {},
    )


def _epochs(folder: RunFolder, path: Path) -> list[dict[str, Any]]:
    try:
        epochs = folder.epochs()
        missing = [key for entry in epochs for key in _KEYS if key not in entry]
    except (KeyError, TypeError) as error:
        raise ReportError(
            f"{path / 'metrics.json'}: not the record of a run ({type(error).__name__}: {error})"
        ) from error
    if missing:
        raise ReportError(f"{path / 'metrics.json'}: an epoch has no '{missing[0]}'; is it of a run of this package?")
    if not epochs:
        raise ReportError(f"{path}: no epoch is finished yet, so there is nothing to report")
    return epochs


def _versions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(f"{path}: not valid JSON ({error})") from error
