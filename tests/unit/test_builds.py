"""Two builds of a corpus are told apart by their rows and the sizes of their recordings, not by where they lie."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from raclap.data.builds import changed_builds, corpus_builds
from raclap.data.manifest import read_manifest, write_manifest
from raclap.recipe import DataRecipe


def builds_of(manifest: Path, **keys):
    return corpus_builds(DataRecipe(corpora=({"name": "small", "manifest": str(manifest), **keys},)))


@pytest.fixture
def moved(corpora, tmp_path) -> Path:
    """A copy of a corpus elsewhere."""
    return Path(shutil.copytree(corpora["small"].parent, tmp_path / "moved")) / corpora["small"].name


def test_a_moved_corpus_is_the_same(corpora, moved):
    builds = builds_of(corpora["small"])
    assert changed_builds(builds, builds_of(moved)) == []
    rows = read_manifest(moved).split("train")
    assert builds["train"]["small"]["pairs"] == len(rows)
    assert builds["train"]["small"]["bytes"] == sum(rows.audio_path(pair).stat().st_size for pair in rows)


def test_another_caption_is_another_build(moved):
    before = builds_of(moved)
    manifest = read_manifest(moved)
    pairs = [replace(pair, emotion="weary") if pair.split == "validation" else pair for pair in manifest]
    write_manifest(moved, pairs, manifest.audio_root)
    assert changed_builds(before, builds_of(moved)) == ["small, validation: as many rows, with other contents"]


def test_a_longer_recording_is_another_build_unless_none_is_to_be_opened(moved):
    before, unopened = builds_of(moved), builds_of(moved, pairs=1)
    rows = read_manifest(moved).split("train")
    path = rows.audio_path(rows[0])
    size = before["train"]["small"]["bytes"]
    path.write_bytes(path.read_bytes() + b"0123")
    assert changed_builds(before, builds_of(moved)) == [f"small, train: {size} bytes then, {size + 4} now"]
    assert unopened["train"]["small"]["pairs"] == 1
    recipe = DataRecipe(corpora=({"name": "small", "manifest": str(moved)},), audio_check="none")
    assert corpus_builds(recipe)["train"]["small"]["bytes"] is None


def test_a_run_that_says_nothing_of_its_data_is_not_trusted(moved):
    assert changed_builds({}, builds_of(moved)) == [
        "small, train: not known before",
        "small, validation: not known before",
    ]
