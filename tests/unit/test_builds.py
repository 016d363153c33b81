"""Two builds of a corpus are told apart by their rows and the sizes of their recordings, not by where they lie."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclap.data import builds
from raclap.data.builds import changed_builds, corpus_builds
from raclap.data.manifest import Caption, read_manifest, write_manifest
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


def test_what_arrow_keeps_besides_the_values_is_no_part_of_a_build(moved, tmp_path):
    """Row groups, chunks, files, and what happens to lie under a null."""
    before = builds_of(moved)
    table = pq.read_table(moved)
    pq.write_table(table, moved, row_group_size=5)
    assert changed_builds(before, builds_of(moved)) == []
    shards = moved.parent / "shards"
    shards.mkdir()
    for number, first in enumerate(range(0, len(table), 11)):
        pq.write_table(table.slice(first, 11), shards / f"part-{number}.parquet")
    assert changed_builds(before, builds_of(shards, audio_root=str(moved.parent))) == []
    values = pa.array(["one", "two", "three"])
    validity = pa.array([True, False, True]).buffers()[1]
    hidden = pa.Array.from_buffers(pa.string(), 3, [validity, *values.buffers()[1:]])
    digests = []
    for array in (hidden, pa.array(["one", None, "three"]), pa.array(["x", "one", None, "three"])[1:]):
        digest = hashlib.sha256()
        builds._digest_values(digest, array)
        digests.append(digest.hexdigest())
    assert hidden.to_pylist() == ["one", None, "three"] and len(set(digests)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"start": 0.1}, {"captions": (Caption("a voice", ("pitch",)),)}, {"attributes": {}}, {"tags": ("", "")},
        {"licence": ""}, {"attributes": {"pitch": "low", "volume": "quie", "t": "x"}},
    ],
)  # fmt: skip
def test_every_column_counts(moved, change):
    manifest = read_manifest(moved)
    first, *others = manifest
    builds_before = builds_of(moved)
    assert first.split == "train"
    write_manifest(moved, [replace(first, **change), *others], manifest.audio_root)
    assert len(changed_builds(builds_before, builds_of(moved))) == 1


def test_streamed_rows_are_told_apart_by_their_files(moved):
    before = builds_of(moved, streaming=True)
    assert before["train"]["small"]["pairs"] == 18 and before["train"]["small"]["captions"] is None
    manifest = read_manifest(moved)
    write_manifest(moved, [replace(pair, emotion="weary") for pair in manifest], manifest.audio_root)
    assert changed_builds(before, builds_of(moved, streaming=True)) == [
        "small, train: as many rows, with other contents",
        "small, validation: as many rows, with other contents",
    ]


def test_a_run_with_another_kind_of_digest_is_told_apart_by_counts(moved):
    now = builds_of(moved)
    earlier = {
        split: {"small": {**{key: own["small"][key] for key in ("pairs", "captions", "bytes")}, "sha256": "other"}}
        for split, own in now.items()
    }
    assert changed_builds(earlier, now) == []
    earlier["train"]["small"]["captions"] += 1
    assert changed_builds(earlier, now) == ["small, train: 37 captions then, 36 now"]


def test_a_run_that_says_nothing_of_its_data_is_not_trusted(moved):
    assert changed_builds({}, builds_of(moved)) == [
        "small, train: not known before",
        "small, validation: not known before",
    ]
