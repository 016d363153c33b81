"""A run's folder: resolved recipe, versions, metrics, checkpoints, exports. A run goes on where it stopped."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raclap.data.builds import Builds, changed_builds
from raclap.data.inspection import Inspection
from raclap.errors import RecipeError
from raclap.files import write_json, write_text
from raclap.provenance import versions
from raclap.recipe import Recipe, differences, dump_recipe, read_recipe


class RunFolder:
    """`PATH/{recipe.yaml, data.json, versions.json, metrics.json, skipped.json, checkpoints, logs, export*}`.

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
        return changed_builds(json.loads(self._data.read_text()) if self._data.is_file() else {}, builds)

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

    def epochs(self) -> list[dict[str, Any]]:
        """Recorded epochs, in order."""
        return json.loads(self._metrics.read_text())["epochs"] if self._metrics.is_file() else []

    def record(self, epoch: dict[str, Any]) -> None:
        """Adds an epoch; one of the same number, and later ones, are replaced (they were run again)."""
        earlier = [entry for entry in self.epochs() if entry["epoch"] < epoch["epoch"]]
        write_json(self._metrics, {"epochs": [*earlier, epoch]})
