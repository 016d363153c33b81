"""What a folder or a manifest names, as it lies there now."""

from pathlib import Path

import pytest

from raclap.archive.facts import ArchiveError
from raclap.archive.source_opening import open_source
from raclap.archive.sources import FACT_COLUMNS, SourceRecording, Unreadable
from raclap.data.manifest import Caption, Pair, write_manifest
from raclap.errors import ManifestError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_folder_gives_every_recording_once_in_the_same_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.wav", "b/1.FLAC", "a/deep/er/x.mp3", "c.opus", "notes.txt", ".hidden/y.wav", "b/._1.wav")
    source = open_source(tmp_path)
    names = [entry.name for entry in source]
    assert sorted(names) == ["a/deep/er/x.mp3", "b/1.FLAC", "b/2.wav", "c.opus"]
    assert names == [entry.name for entry in source]
    first = next(entry for entry in source if entry.name == "c.opus")
    status = (tmp_path / "c.opus").stat()
    assert isinstance(first, SourceRecording) and first.stretches == ()
    assert (first.size, first.mtime_ns, first.path) == (1, status.st_mtime_ns, tmp_path / "c.opus")


def test_a_folder_is_walked_lazily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "1.wav", "below/2.wav")
    entries = iter(open_source(tmp_path))
    assert next(entries).name == "1.wav"
    monkeypatch.setattr("os.scandir", lambda path: pytest.fail(f"{path} is listed before it is needed"))
    with pytest.raises(pytest.fail.Exception):
        next(entries)


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "outside/secret.wav", "archive/own.wav")
    (tmp_path / "archive" / "link.wav").symlink_to(tmp_path / "outside" / "secret.wav")
    (tmp_path / "archive" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "archive" / "gone.wav").symlink_to(tmp_path / "archive" / "nothing.wav")
    (tmp_path / "archive" / "again.wav").symlink_to(tmp_path / "archive" / "own.wav")
    found = {entry.name: entry for entry in open_source(tmp_path / "archive")}
    assert set(found) == {"own.wav", "link.wav", "gone.wav", "again.wav"}
    assert isinstance(found["again.wav"], SourceRecording)
    assert "leads out" in found["link.wav"].reason and "no such" in found["gone.wav"].reason


def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    (tmp_path / "gut.wav").write_bytes(b"x")
    Path(f"{tmp_path}/schl\udcf6cht.wav").write_bytes(b"x")
    found = {entry.name: entry for entry in open_source(tmp_path)}
    assert isinstance(found["schl\udcf6cht.wav"], Unreadable) and "UTF-8" in found["schl\udcf6cht.wav"].reason


def pair(name: str, audio: str, **fields: object) -> Pair:
    return Pair(name, audio, (Caption(f"caption of {name}"), Caption("another")), "own", "test", **fields)


def test_a_manifest_gives_each_recording_with_all_its_rows(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    rows = [
        pair("a2", "a.wav", start=2.0, end=3.0, speaker="ann", valence=float("nan")),
        pair("b1", "b.wav", sex="female", arousal=0.25),
        pair("a1", "a.wav", start=0.5, end=1.5),
        pair("c1", "c.wav"),
    ]
    write_manifest(tmp_path / "manifest.parquet", rows, tmp_path)
    a, b, c = open_source(tmp_path / "manifest.parquet")
    assert [stretch.start for stretch in a.stretches] == [0.5, 2.0]
    facts = [dict(zip(FACT_COLUMNS, stretch.facts, strict=True)) for stretch in (*a.stretches, *b.stretches)]
    assert [own["pair_id"] for own in facts] == ["a1", "a2", "b1"]
    assert facts[1]["speaker"] == "ann" and facts[1]["valence"] is None and facts[1]["caption"] == "caption of a2"
    assert (facts[2]["sex"], facts[2]["arousal"], b.stretches[0].end) == ("female", 0.25, None)
    assert c == Unreadable("c.wav", "no such audio file")


def test_a_manifest_cannot_name_what_is_not_below_its_root(tmp_path: Path) -> None:
    touch(tmp_path, "secret.wav", "root/a.wav")
    write_manifest(
        tmp_path / "root" / "m.parquet", [pair("x", "../secret.wav"), pair("a", "a.wav")], tmp_path / "root"
    )
    found = list(open_source(tmp_path / "root" / "m.parquet"))
    assert [type(entry) for entry in found] == [Unreadable, SourceRecording]
    assert "leaves the audio root" in found[0].reason


def test_what_is_no_source_is_said_in_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "song.wav")
    with pytest.raises(ArchiveError, match=r"nowhere: no such folder or manifest \(a data set of the Hub"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(ArchiveError, match=r"expected a folder of recordings, a manifest"):
        open_source(tmp_path / "song.wav")
    (tmp_path / "broken.parquet").write_bytes(b"x")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        open_source(tmp_path / "broken.parquet")
    with pytest.raises(ArchiveError, match="audio_root"):
        open_source(tmp_path, tmp_path)
