"""Five corpora of five shapes, as released, prepared and trained on by one recipe."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from test_training import train

from raclap.corpora.preparation import prepare
from raclap.data.manifest import read_manifest, write_manifest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from corpus_fixtures import FIXTURES

# A CSV with paths into other corpora, an object of JSON, Parquet with lists, stretches of dialogues, bare file names.
SHAPES = ("textrolspeech", "speechcraft", "paraspeechcaps", "iemocap", "crema_d")


@pytest.fixture
def manifests(tmp_path: Path) -> dict[str, Path]:
    """Manifest by corpus. The fixtures are too small to be split: each pair stands in both splits that a run reads."""
    found = {}
    for name in SHAPES:
        release = FIXTURES[name](tmp_path / name)
        path = tmp_path / "manifests" / name / "manifest.parquet"
        prepare(name, release.root, path, console=Console(file=StringIO()), **release.options)
        manifest = read_manifest(path)
        rows = [
            replace(pair, pair_id=f"{pair.pair_id}-{split}", split=split)
            for pair in manifest
            for split in ("train", "validation")
        ]
        write_manifest(path, rows, manifest.audio_root)
        found[name] = path
    return found


def test_one_recipe_trains_on_five_shapes_of_corpora(manifests, recipe_file, tmp_path):
    recipe = yaml.safe_load(recipe_file.read_text())
    recipe["data"]["corpora"] = [{"name": name, "manifest": str(path)} for name, path in manifests.items()]
    recipe["data"]["mixture"] = "balanced"
    recipe["training"] |= {"epochs": 1, "batch_size": 2 * len(SHAPES), "steps_per_epoch": 3}
    path = tmp_path / "five.yaml"
    path.write_text(yaml.safe_dump(recipe))
    done = train(path, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    (epoch,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"]
    assert epoch["steps"] == 3
    assert set(epoch["validation"]) == set(SHAPES)
    builds = json.loads((tmp_path / "run" / "data.json").read_text())
    assert {name: build["pairs"] for name, build in builds["train"].items()} == {
        name: len(read_manifest(manifest).split("train")) for name, manifest in manifests.items()
    }
