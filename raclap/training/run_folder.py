"""A run's folder: resolved recipe, versions, metrics, checkpoints, exports. A run goes on where it stopped."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import raclap
from raclap.errors import RecipeError
from raclap.files import replacing, write_json
from raclap.recipe import Recipe, differences, dump_recipe, read_recipe

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "soundfile", "soxr")


class RunFolder:
    """`PATH/recipe.yaml, versions.json, metrics.json, skipped.json, checkpoints/, export/, export_last/`."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best = path / "export"
        self.last = path / "export_last"
        self._metrics = path / "metrics.json"

    def open(self, recipe: Recipe, fresh: bool) -> None:
        """Makes the folder, or goes on in it.

        Args:
            recipe: what is to be run.
            fresh: put an older run of this name aside and begin anew.

        Raises:
            RecipeError: the folder holds a run of another recipe.
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
            return
        write_json(self.path / "versions.json", versions())
        with replacing(stored) as beside:
            beside.write_text(dump_recipe(recipe), encoding="utf-8")

    def epochs(self) -> list[dict[str, Any]]:
        """Recorded epochs, in order."""
        return json.loads(self._metrics.read_text())["epochs"] if self._metrics.is_file() else []

    def record(self, epoch: dict[str, Any]) -> None:
        """Adds an epoch; one of the same number, and later ones, are replaced (they were run again)."""
        earlier = [entry for entry in self.epochs() if entry["epoch"] < epoch["epoch"]]
        write_json(self._metrics, {"epochs": [*earlier, epoch]})


def versions() -> dict[str, str]:
    """Versions of what the figures depend on, and the machine."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "raclap": raclap.__version__,
        "python": platform.python_version(),
        **found,
        "machine": f"{processor_name()}, {os.cpu_count()} cores",
        "system": platform.platform(terse=True),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor_name() -> str:
    """What the processor calls itself."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
