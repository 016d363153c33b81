"""Manifests: what is written is read back, and a bad file or row is named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raclap.data.manifest as manifest_module
import raclap.data.mapped_table as mapped_module
from raclap.data.manifest import SCHEMA, Caption, Pair, find_manifest, read_manifest, write_manifest
from raclap.errors import ManifestError


def pair(pair_id: str = "a", **fields) -> Pair:
    values = {"audio": f"{pair_id}.wav", "captions": (Caption("a voice"),), "corpus": "c", "split": "train"}
    return Pair(pair_id, **{**values, **fields})


FULL = pair(
    "full", audio="sub folder/x (1).wav", captions=(Caption("low, calm", ("pitch",)), Caption("a voice")), start=1.5,
    end=2.0, transcript="hi", speaker="s", sex="female", age="old", language="en", emotion="sad",
    intensity="strong", valence=-0.5, arousal=0.25, dominance=0.0, attributes={"pitch": "low"},
    tags=("calm", "low"), style_key="pitch=low", licence="CC0-1.0",
)  # fmt: skip


def test_round_trip(tmp_path):
    path = tmp_path / "m.parquet"
    assert write_manifest(path, [FULL, pair()], tmp_path / "audio") == 2
    manifest = read_manifest(path)
    assert list(manifest) == [FULL, pair()]
    assert manifest[1] == pair()
    assert manifest.audio_path(FULL) == tmp_path / "audio" / "sub folder" / "x (1).wav"
    assert not list(tmp_path.glob(".*")), "nothing is left beside the manifest"


def test_a_moved_corpus_folder_still_finds_its_audio(tmp_path):
    write_manifest(tmp_path / "old" / "m.parquet", [pair()], tmp_path / "old" / "audio")
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "m.parquet").audio_root == tmp_path / "new" / "audio"
    assert read_manifest(tmp_path / "new" / "m.parquet", tmp_path / "else").audio_root == tmp_path / "else"


def test_selections(tmp_path):
    path = tmp_path / "m.parquet"
    write_manifest(path, [pair("a"), pair("b", split="test"), pair("c")], tmp_path)
    manifest = read_manifest(path)
    assert manifest.split("train").column("pair_id") == ["a", "c"]
    assert len(manifest.split("validation")) == 0
    assert [p.pair_id for p in manifest.rows([2, 0])] == ["c", "a"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([pair(), pair("b", captions=(Caption("  "),))], r"row 1 \(b\): empty caption"),
        ([pair(captions=(Caption("fine"), Caption("")))], r"row 0 \(a\): empty caption"),
        ([pair(captions=())], r"row 0 \(a\): no caption"),
        ([pair(), pair()], r"pair_id 'a' stands in more than one row"),
        ([pair(split="dev")], r"row 0 \(a\): split is not one of train, validation, test"),
        ([pair(audio=None)], r"column 'audio' is null"),
    ],
)
def test_bad_rows_are_named_and_nothing_is_lost(tmp_path, rows, message):
    path = tmp_path / "m.parquet"
    write_manifest(path, [FULL], tmp_path)
    with pytest.raises(ManifestError, match=message):
        write_manifest(path, rows, tmp_path)
    assert list(read_manifest(path)) == [FULL]


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(ManifestError, match=r"m\.parquet: no such manifest"):
        read_manifest(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read_manifest(path)
    write_manifest(path, [FULL], tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.append_column("loudness", pa.array([1.0])), path)
    with pytest.raises(ManifestError, match="unknown column 'loudness'"):
        read_manifest(path)
    pq.write_table(table.drop(["captions"]), path)
    with pytest.raises(ManifestError, match="missing column 'captions'"):
        read_manifest(path)
    pq.write_table(table.set_column(SCHEMA.names.index("valence"), "valence", pa.array(["much"])), path)
    with pytest.raises(ManifestError, match="column 'valence' is not double"):
        read_manifest(path)
    with pytest.raises(ManifestError, match="no column 'loud'; the columns are pair_id"):
        read_manifest_with(table, path).column("loud")


def read_manifest_with(table: pa.Table, path):
    pq.write_table(table, path)
    return read_manifest(path)


def test_a_hand_made_manifest_needs_five_columns_only(tmp_path):
    rows = [
        {"pair_id": "a", "audio": "a.wav", "captions": [{"text": "x", "names": None}], "corpus": "c", "split": "test"}
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet")[0] == pair(captions=(Caption("x"),), split="test")


@pytest.mark.parametrize("audio", ["../outside.wav", "/etc/passwd", "sub/../../outside.wav"])
def test_paths_never_leave_the_audio_root(tmp_path, audio):
    path = tmp_path / "m.parquet"
    write_manifest(path, [pair(audio=audio)], tmp_path / "root")
    manifest = read_manifest(path)
    with pytest.raises(ManifestError, match="leaves the audio root"):
        manifest.audio_path(manifest[0])


def write_parts(folder: Path, rows: list[Pair], size: int) -> Path:
    """A folder of shards, in row groups of three."""
    for number, first in enumerate(range(0, len(rows), size)):
        part = folder / f"part-{number:03d}.parquet"
        write_manifest(part, rows[first : first + size], folder)
        pq.write_table(pq.read_table(part), part, row_group_size=3)
    return folder


@pytest.fixture
def large(monkeypatch):
    """Five rows are a very large manifest."""
    monkeypatch.setattr(manifest_module, "_IN_MEMORY", 4)


MANY = [pair(f"{n:02d}", split=("train", "train", "test")[n % 3], start=float(n)) for n in range(20)]


def test_a_folder_of_parts_is_one_manifest(tmp_path):
    folder = write_parts(tmp_path / "shards", MANY, 7)
    manifest = read_manifest(folder)
    assert list(manifest) == MANY and manifest.path == folder
    assert manifest.audio_path(MANY[0]) == (folder / "00.wav").resolve()
    write_manifest(folder / "part-009.parquet", [pair("00")], folder)
    with pytest.raises(ManifestError, match=r"shards: pair_id '00' stands in more than one row"):
        read_manifest(folder)
    write_manifest(folder / "part-009.parquet", [pair("x")], tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match=r"part-009.parquet: its audio root is .*elsewhere, that of part-000"):
        read_manifest(folder)
    with pytest.raises(ManifestError, match=r"the folder holds no part-\*\.parquet"):
        read_manifest(tmp_path)


def test_rows_of_a_large_manifest_are_mapped_and_the_same(tmp_path, large):
    path = write_parts(tmp_path / "shards", MANY, 7)
    before = pa.total_allocated_bytes()
    manifest = read_manifest(path)
    assert pa.total_allocated_bytes() - before < 1000, "the rows are in the file, not in memory"
    (kept,) = path.glob(".shards-all-*.arrow")
    made = kept.stat().st_mtime_ns
    assert list(manifest) == list(read_manifest(path)) == MANY
    assert kept.stat().st_mtime_ns == made, "it is made once"
    train = manifest.split("train")
    assert [p.pair_id for p in train] == [p.pair_id for p in MANY if p.split == "train"]
    assert [train[row] for row in (12, 0, 5)] == list(train.rows([12, 0, 5]))
    assert train.rows(np.array([12, 0, 5])).rows([2]).column("start") == [train[5].start]
    assert train.table.num_rows == len(train) == 14
    with pytest.raises(IndexError):
        train[14]


def test_what_was_mapped_is_never_taken_for_another_manifest(tmp_path, large):
    path = tmp_path / "m.parquet"
    for rows in (MANY, MANY[::-1]):
        write_manifest(path, rows, tmp_path)
        assert list(read_manifest(path)) == rows
    assert len(list(tmp_path.glob(".m-all-*.arrow"))) == 1, "what was made of earlier contents is removed"
    write_manifest(tmp_path / "m-all.parquet", MANY, tmp_path)
    read_manifest(tmp_path / "m-all.parquet")
    assert len(list(tmp_path.glob(".m-*.arrow"))) == 2


def test_a_large_manifest_in_a_folder_that_cannot_be_written(tmp_path, large, monkeypatch):
    path = tmp_path / "m.parquet"
    write_manifest(path, MANY, tmp_path)
    monkeypatch.setattr(mapped_module.os, "access", lambda *_: False)
    monkeypatch.setattr(mapped_module, "_ELSEWHERE", tmp_path / "cache")
    assert list(read_manifest(path)) == MANY
    assert not list(tmp_path.glob(".*")) and len(list((tmp_path / "cache").rglob("*.arrow"))) == 1
    monkeypatch.setattr(mapped_module, "_ELSEWHERE", path)
    with pytest.raises(ManifestError, match=r"m\.parquet: its rows cannot be kept in"):
        read_manifest(path)


def test_nothing_is_left_of_a_large_manifest_with_a_bad_row(tmp_path, large):
    path = tmp_path / "m.parquet"
    write_manifest(path, MANY, tmp_path)
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(3, 1)]), path)
    with pytest.raises(ManifestError, match=r"m\.parquet: pair_id '03' stands in more than one row"):
        read_manifest(path)
    assert not list(tmp_path.glob(".*"))


def test_equal_hashes_of_different_identifiers_are_told_apart(tmp_path, monkeypatch):
    path = write_parts(tmp_path / "shards", MANY, 7)
    write_manifest(path / "twice.parquet", [pair("07")], path)
    monkeypatch.setattr(manifest_module, "hash", len, raising=False)
    assert list(read_manifest(path)) == MANY
    (path / "twice.parquet").rename(path / "part-009.parquet")
    with pytest.raises(ManifestError, match="pair_id '07' stands in more than one row"):
        read_manifest(path)


def test_bad_rows_are_numbered_within_their_file(tmp_path):
    folder = write_parts(tmp_path / "shards", MANY, 7)
    rows = pq.read_table(folder / "part-001.parquet").to_pylist()
    rows[5]["captions"] = [{"text": "", "names": None}]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "part-001.parquet", row_group_size=2)
    with pytest.raises(ManifestError, match=r"part-001\.parquet: row 5 \(12\): empty caption"):
        read_manifest(folder)


@pytest.mark.parametrize("group", [1, 3, 100])
def test_one_split_alone(tmp_path, group):
    rows = sorted(MANY, key=lambda row: row.split)
    write_manifest(tmp_path / "m.parquet", rows, tmp_path)
    pq.write_table(pq.read_table(tmp_path / "m.parquet"), tmp_path / "m.parquet", row_group_size=group)
    assert list(read_manifest(tmp_path / "m.parquet", split="train")) == [row for row in rows if row.split == "train"]
    files = find_manifest(tmp_path / "m.parquet")
    assert (len(files), files.count("train"), files.count("test"), files.count("validation")) == (20, 14, 6, 0)


def test_values_of_a_column_without_all_of_its_rows(tmp_path):
    write_manifest(tmp_path / "m.parquet", [pair("a", licence="CC0"), pair("b"), pair("c", licence="CC0")], tmp_path)
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.distinct("licence") == {"CC0"} and manifest.distinct("emotion") == set()
    assert manifest.has_values("licence") and not manifest.has_values("emotion")
    with pytest.raises(ManifestError, match="no column 'pitch'"):
        manifest.distinct("pitch")


@pytest.mark.parametrize("audio", ["../outside.wav", "/etc/passwd", "sub/../../outside.wav"])
def test_paths_are_looked_at_before_anything_is_opened(tmp_path, audio):
    write_manifest(tmp_path / "m.parquet", [pair("a..b", audio="a..b/c.wav"), pair(audio=audio)], tmp_path / "root")
    manifest = read_manifest(tmp_path / "m.parquet")
    manifest.rows([0]).check_paths()
    with pytest.raises(ManifestError, match=r"row a: audio .* leaves the audio root"):
        manifest.check_paths()
