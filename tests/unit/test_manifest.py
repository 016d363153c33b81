"""Manifests: what is written is read back, and a bad file or row is named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclap.data.manifest import SCHEMA, Caption, Pair, read_manifest, write_manifest
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


def test_labels_come_from_columns_and_attributes(tmp_path):
    path = tmp_path / "m.parquet"
    write_manifest(path, [FULL, pair(emotion="angry")], tmp_path)
    manifest = read_manifest(path)
    assert manifest.labels("emotion") == ["sad", "angry"]
    assert manifest.rows([0]).labels("pitch") == ["low"]
    with pytest.raises(ManifestError, match="row a: no label 'pitch'"):
        manifest.labels("pitch")


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
