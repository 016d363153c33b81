from pathlib import Path

import pytest

from raclap.data.manifest import Caption, Pair, write_manifest
from raclap.errors import ManifestError, RaClapError
from raclap.page import gallery
from raclap.page.gallery import synthesised_gallery, users_gallery


def test_a_manifest_gives_its_test_split_first_and_whole_recordings(tmp_path: Path):
    caption = (Caption("a voice"),)
    pairs = [
        Pair("t", "t.flac", caption, "c", "train", sex="male", age="old", attributes={"pitch": "low"}),
        Pair("v", "v.flac", caption, "c", "validation", transcript="Well.", sex="female", emotion="neutral"),
        Pair("part", "e.flac", caption, "c", "test", start=1.0, end=2.0),
        Pair("e", "e.flac", caption, "c", "test", sex="male", attributes={"sex": "male", "age": "child"}),
    ]
    manifest = tmp_path / "manifest.parquet"
    write_manifest(manifest, pairs, tmp_path)
    clips = users_gallery(manifest, 10)
    assert [clip.path.name for clip in clips] == ["e.flac", "v.flac", "t.flac"]
    assert [clip.title for clip in clips] == ["e", "Well.", "t"]
    assert [clip.facts for clip in clips] == [("boy",), ("woman",), ("old man", "low pitch")]
    assert len(users_gallery(manifest, 2)) == 2
    write_manifest(manifest, pairs[2:3], tmp_path)
    with pytest.raises(ManifestError, match="no row is a whole recording"):
        users_gallery(manifest, 10)


def test_a_folder_gives_its_recordings(tmp_path: Path):
    for name in ("b.wav", "a.flac", "notes.txt"):
        (tmp_path / name).touch()
    assert [(clip.path.name, clip.title, clip.facts) for clip in users_gallery(tmp_path, 10)] == [
        ("a.flac", "a", ()),
        ("b.wav", "b", ()),
    ]
    with pytest.raises(ManifestError, match="neither a manifest"):
        users_gallery(tmp_path / "notes.txt", 10)


def test_clips_are_spoken_once_and_varied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("espeakng_loader")
    clips = synthesised_gallery(3, tmp_path)
    kinds = {clip.facts[:2] for clip in synthesised_gallery(3, tmp_path)}
    assert len(clips) == len(kinds) == 3 and all(clip.path.stat().st_size > 1000 for clip in clips)
    monkeypatch.setattr(gallery, "speak_all", lambda *_, **__: pytest.fail("spoken again"))
    assert synthesised_gallery(3, tmp_path) == clips


def test_without_the_synthesiser_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing():
        raise RaClapError("Synthetic speech needs espeak-ng, which is not installed: pip install 'raclap[demo]'")

    monkeypatch.setattr(gallery, "Synthesiser", missing)
    with pytest.raises(RaClapError, match=r"raclap\[demo\]'; or name recordings of your own: --gallery"):
        synthesised_gallery(3, tmp_path)
    with pytest.raises(RaClapError, match="at most 400"):
        synthesised_gallery(401, tmp_path)
