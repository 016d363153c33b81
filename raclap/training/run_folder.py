"""A run's folder: resolved recipe, versions, metrics, checkpoints, exports. A run goes on where it stopped."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raclap.data.builds import Builds, changed_builds
from raclap.data.facts import CorpusFacts
from raclap.data.inspection import Inspection
from raclap.errors import RaClapError, RecipeError
from raclap.files import write_json, write_text
from raclap.provenance import versions
from raclap.recipe import Recipe, differences, dump_recipe, read_recipe

CORPORA, VALIDATION = "corpora.json", "validation.json"


class RunFolderError(RaClapError):
    """A run folder is missing, incomplete or damaged."""


class RunFolder:
    """`PATH/{recipe.yaml, versions.json, checkpoints, logs, export*}`, and what is known of data and results.

    `data.json`: builds; `corpora.json`: facts of the training data; `skipped.json`: bad recordings; `metrics.json`:
    every epoch; `validation.json`: figures of the best epoch, the exported one, with intervals.
    Bad recordings of streamed corpora are listed as they are met, in `skipped-PROCESS.jsonl`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best = path / "export"
        self.last = path / "export_last"
        self._metrics = path / "metrics.json"
        self._data = path / "data.json"

    def open(self, recipe: Recipe, builds: Builds, fresh: bool) -> None:
        """Makes the folder, or goes on in it.

        Args:
            recipe: what is to be run.
            builds: what tells the data apart that it is run on, by split and corpus.
            fresh: put an older run of this name aside and begin anew.

        Raises:
            RecipeError: the folder holds a run of another recipe, or on another build of the corpora.
        """
        stored = self.path / "recipe.yaml"
        if stored.is_file() and fresh:
            self.path.rename(self.path.with_name(f"{self.path.name}.{time.strftime('%Y%m%d-%H%M%S')}"))
        elif stored.is_file():
            changed = differences(read_recipe(stored), recipe)
            if changed:
                raise RecipeError(
                    f"{stored}: this run has another recipe ({', '.join(changed)} differ); choose another --output, "
                    f"or --fresh to put it aside"
                )
            changed = self.changed_data(builds)
            if changed:
                raise RecipeError(
                    f"{self._data}: this run learnt from other data ({'; '.join(changed)}); choose another --output, "
                    f"or --fresh to put it aside"
                )
            return
        write_json(self.path / "versions.json", versions())
        write_json(self._data, builds)
        write_text(stored, dump_recipe(recipe))

    def changed_data(self, builds: Builds) -> list[str]:
        """How the data of the run in this folder differs from these builds: a phrase each; empty if it does not."""
        return changed_builds(_read(self._data) or {}, builds)

    def record_skipped(self, corpora: dict[str, dict[str, Inspection]]) -> None:
        """Lists the rows that were left out, by split and corpus, and says how many there are."""
        listed = {
            split: {name: [asdict(row) for row in corpus.skipped] for name, corpus in by_name.items()}
            for split, by_name in corpora.items()
        }
        write_json(self.path / "skipped.json", listed)
        for split, by_name in listed.items():
            for name, rows in by_name.items():
                if rows:
                    print(f"{name}, {split}: left out {len(rows)} bad recordings, see {self.path / 'skipped.json'}")

    def record_corpora(self, facts: Mapping[str, CorpusFacts]) -> None:
        """Writes what is known of the training data, by corpus."""
        write_json(self.path / CORPORA, {name: own.to_dict() for name, own in facts.items()})

    def corpora(self) -> dict[str, CorpusFacts] | None:
        """What is known of the training data; None of a run that did not write it down.

        Raises:
            RunFolderError: the file is damaged.
        """
        path = self.path / CORPORA
        values = _read(path)
        try:
            return None if values is None else {name: CorpusFacts.from_dict(own) for name, own in values.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{path}: not what a run wrote ({type(error).__name__}: {error})") from error

    def record_validation(self, epoch: int, intervals: dict[str, Any]) -> None:
        """Writes the figures of the best epoch so far.

        Args:
            epoch: from 1.
            intervals: see `Validation.intervals`.
        """
        write_json(self.path / VALIDATION, {"epoch": epoch, **intervals})

    def validation(self) -> dict[str, Any] | None:
        """What `record_validation` wrote last; None of a run that wrote none.

        Raises:
            RunFolderError: the file is damaged.
        """
        values = _read(self.path / VALIDATION)
        if values is not None and not {"epoch", "resamples", "results"} <= set(values):
            raise RunFolderError(f"{self.path / VALIDATION}: not what a run wrote; no epoch, resamples and results")
        return values

    def epochs(self) -> list[dict[str, Any]]:
        """Recorded epochs, in order."""
        return (_read(self._metrics) or {"epochs": []})["epochs"]

    def record(self, epoch: dict[str, Any]) -> None:
        """Adds an epoch; one of the same number, and later ones, are replaced (they were run again)."""
        earlier = [entry for entry in self.epochs() if entry["epoch"] < epoch["epoch"]]
        write_json(self._metrics, {"epochs": [*earlier, epoch]})


def _read(path: Path) -> Any:
    """JSON of a run; None where there is no such file.

    Raises:
        RunFolderError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise RunFolderError(f"{path}: not JSON, so not what a run wrote ({error})") from error
