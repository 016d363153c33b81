"""Indexing an archive: the right vectors, going on, and only what changed is done again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import RATE, make_corpus, tone
from raclap.archive import embedding, indexing, source_opening
from raclap.archive.facts import ArchiveError
from raclap.archive.indexing import IndexReport, index_archive
from raclap.archive.recipe import IndexSettings
from raclap.archive.store import ArchiveIndex
from raclap.cli import main
from raclap.data.collection import read_split
from raclap.data.manifest import Manifest, read_manifest, write_manifest
from raclap.hub.export import export
from raclap.model_folder import load_model_folder
from raclap.recipe import read_recipe
from raclap.retrieval.embed import embed_audio, embed_waveforms
from raclap.training.towers import build_model

SETTINGS = IndexSettings(window_seconds=1.0, hop_seconds=0.5)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four recordings; `long.flac` is 3.2 s."""
    folder, rng = tmp_path / "archive", np.random.default_rng(0)
    for name, pitch, seconds in (("a", 120, 0.5), ("b", 220, 0.7), ("sub/c", 300, 0.9), ("long", 400, 3.2)):
        path = folder / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(pitch, 0.3, seconds, rng), RATE)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def run(source: Path, index: Path, model: Path, settings: IndexSettings = SETTINGS) -> IndexReport:
    return index_archive(source, index, model, settings, progress=False)


def contents(index: Path) -> dict[tuple[str, str, int], tuple]:
    """Everything of an index but when it was made: by root, recording and window."""
    archive = ArchiveIndex.open(index)
    rows = archive.rows(range(archive.windows)).to_pylist()
    vectors = archive.vectors()
    return {
        (row["root"], row["recording"], row["window"]): (row, vector)
        for row, vector in zip(rows, vectors, strict=True)
    }


def assert_same(one: Path, other: Path) -> None:
    left, right = contents(one), contents(other)
    assert left.keys() == right.keys()
    for key, (row, vector) in left.items():
        assert row == right[key][0]
        assert np.abs(vector.astype(np.float32) - right[key][1].astype(np.float32)).max() < 2e-3


def unreadable(index: Path) -> dict[str, str]:
    lines = (index / "unreadable.jsonl").read_text().splitlines()
    return {line["recording"]: line["reason"] for line in map(json.loads, lines)}


def count_embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the model is asked to embed from now on."""
    batches: list[int] = []

    def counting(model: object, processor: object, waveforms: list[np.ndarray]) -> np.ndarray:
        batches.append(len(waveforms))
        return embed_waveforms(model, processor, waveforms)

    monkeypatch.setattr(embedding, "embed_waveforms", counting)
    return batches


def test_windows_have_the_vectors_of_their_sound(archive: Path, index: Path, teacher_folder: Path) -> None:
    report = run(archive, index, teacher_folder)
    found = contents(index)
    root = str(archive)
    assert [(row["start"], row["end"]) for (_, name, _), (row, _) in found.items() if name == "long.flac"] == [
        (0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5), (2.0, 3.0), (2.2, 3.2),
    ]  # fmt: skip
    assert (report.embedded, report.windows, report.unreadable, report.silent) == (4, 9, 0, 0)
    assert report.audio_seconds == pytest.approx(0.5 + 0.7 + 0.9 + 6 * 1.0)
    model, processor = load_model_folder(teacher_folder)
    for (_, name, _), (row, vector) in found.items():
        samples, _ = soundfile.read(archive / name, dtype="float32")
        part = samples[round(row["start"] * RATE) : round(row["end"] * RATE)]
        expected = embed_waveforms(model, processor, [part])[0]
        assert np.abs(vector.astype(np.float32) - expected).max() < 1e-3
        assert (row["root"], row["size"]) == (root, (archive / name).stat().st_size)
        assert row["duration"] == pytest.approx(row["end"] - row["start"])
    assert ArchiveIndex.open(index).facts.model.projection_dim == 32


def test_a_manifest_gives_the_embeddings_of_an_evaluation(
    index: Path, corpora: dict[str, Path], teacher_folder: Path
) -> None:
    run(corpora["small"], index, teacher_folder, IndexSettings(window_seconds=0.2, hop_seconds=0.1))
    model, processor = load_model_folder(teacher_folder)
    rows = read_split(corpora["small"], "test", processor.feature_extractor)
    expected = dict(zip(rows.manifest.column("pair_id"), embed_audio(model, processor, rows, False), strict=True))
    by_pair = {row["pair_id"]: (row, vector) for row, vector in contents(index).values()}
    assert len(by_pair) == len(read_manifest(corpora["small"]))
    for pair in rows.manifest:
        row, vector = by_pair[pair.pair_id]
        assert torch.allclose(torch.from_numpy(vector).float(), expected[pair.pair_id], atol=1e-3)
        assert (row["caption"], row["emotion"], row["speaker"]) == (pair.captions[0].text, pair.emotion, pair.speaker)
        assert (row["split"], row["corpus"], row["recording"], row["sex"]) == ("test", "small", pair.audio, None)


def test_nothing_is_done_twice(
    archive: Path, index: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(archive, index, teacher_folder)
    version = ArchiveIndex.open(index).version
    batches = count_embedded(monkeypatch)
    report = run(archive, index, teacher_folder)
    assert (report.kept, report.embedded, batches) == (4, 0, [])
    assert ArchiveIndex.open(index).version == version


def test_new_changed_touched_moved_and_deleted(
    archive: Path, index: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(archive, index, teacher_folder)
    rng = np.random.default_rng(1)
    soundfile.write(archive / "new.wav", tone(150, 0.2, 0.6, rng), RATE)
    soundfile.write(archive / "a.flac", tone(333, 0.2, 1.6, rng), RATE)
    os.utime(archive / "b.flac", ns=(1, 1))
    (archive / "moved").mkdir()
    (archive / "long.flac").rename(archive / "moved" / "it's.flac")
    (archive / "sub" / "c.flac").unlink()
    batches = count_embedded(monkeypatch)
    report = run(archive, index, teacher_folder)
    assert sum(batches) == 1 + 2  # `new.wav` and the windows of the new `a.flac`
    assert (report.embedded, report.carried_over, report.kept, report.dropped) == (2, 2, 0, 2)
    run(archive, tmp_path / "afresh", teacher_folder)
    assert_same(index, tmp_path / "afresh")
    assert run(archive, index, teacher_folder).kept == 4


def test_equal_size_and_other_time_lets_the_hash_decide(archive: Path, index: Path, teacher_folder: Path) -> None:
    soundfile.write(archive / "x.wav", tone(150, 0.2, 0.6, np.random.default_rng(1)), RATE)
    run(archive, index, teacher_folder)
    size = (archive / "x.wav").stat().st_size
    soundfile.write(archive / "x.wav", tone(350, 0.2, 0.6, np.random.default_rng(1)), RATE)
    assert (archive / "x.wav").stat().st_size == size
    before = contents(index)[str(archive), "x.wav", 0][1]
    assert run(archive, index, teacher_folder).embedded == 1
    assert not np.array_equal(before, contents(index)[str(archive), "x.wav", 0][1])


def test_an_archive_that_moved_as_a_whole_is_not_embedded_again(
    archive: Path, index: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(archive, index, teacher_folder)
    elsewhere = archive.rename(archive.with_name("elsewhere"))
    batches = count_embedded(monkeypatch)
    report = run(elsewhere, index, teacher_folder)
    assert (report.carried_over, report.embedded, batches) == (4, 0, [])
    assert {root for root, _, _ in contents(index)} == {str(elsewhere)}


def test_two_archives_with_equal_names_share_an_index(
    archive: Path, index: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "a.flac", tone(333, 0.2, 0.6, np.random.default_rng(2)), RATE)
    run(archive, index, teacher_folder)
    run(other, index, teacher_folder)
    assert sum(name == "a.flac" for _, name, _ in contents(index)) == 2
    (other / "a.flac").rename(other / "b.flac")
    run(other, index, teacher_folder)
    assert {(root, name) for root, name, _ in contents(index)} == {
        (str(other), "b.flac"),
        *((str(archive), name) for name in ("a.flac", "b.flac", "sub/c.flac", "long.flac")),
    }


def rewritten(path: Path, manifest: Manifest, **changes: object) -> None:
    from dataclasses import replace

    first, *others = manifest
    write_manifest(path, [replace(first, **changes), *others], manifest.audio_root)


def test_what_a_manifest_says_anew_is_taken_over(
    index: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_corpus(tmp_path, "own", {"test": 6})
    run(path, index, teacher_folder)
    rewritten(path, read_manifest(path), speaker="somebody else")
    assert run(path, index, teacher_folder).kept == 5
    assert contents(index)[str(path.parent), "own-test-0.flac", 0][0]["speaker"] == "somebody else"
    rewritten(path, read_manifest(path), start=0.1, end=0.25)
    run(path, index, teacher_folder)
    row = contents(index)[str(path.parent), "own-test-0.flac", 0][0]
    assert (row["start"], row["end"]) == (0.1, 0.25)
    batches = count_embedded(monkeypatch)
    assert run(path, index, teacher_folder).kept == 6 and not batches


@pytest.mark.parametrize(
    ("former", "later"),
    [({"end": 0.25}, {"end": None}), ({"end": None}, {"end": 0.25}), ({"end": 0.25}, {"end": 0.251})],
)
def test_an_end_that_changes_is_noticed(
    index: Path, teacher_folder: Path, tmp_path: Path, former: dict, later: dict
) -> None:
    path = make_corpus(tmp_path, "own", {"test": 3})
    rewritten(path, read_manifest(path), **former)
    run(path, index, teacher_folder)
    rewritten(path, read_manifest(path), **later)
    assert run(path, index, teacher_folder).kept == 2
    run(path, tmp_path / "afresh", teacher_folder)
    assert_same(index, tmp_path / "afresh")
    assert run(path, index, teacher_folder).kept == 3


def split_manifest(path: Path) -> tuple[Path, Path]:
    """Two manifests with one audio root; the middle recording is in both, with another caption in the second."""
    from dataclasses import replace

    manifest = read_manifest(path)
    rows = list(manifest)
    one, two = path.with_name("one.parquet"), path.with_name("two.parquet")
    write_manifest(one, rows[:4], manifest.audio_root)
    write_manifest(two, [replace(rows[3], speaker="told anew"), *rows[4:]], manifest.audio_root)
    return one, two


def test_manifests_with_one_audio_root_share_an_index(
    index: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = split_manifest(make_corpus(tmp_path, "own", {"test": 6}))

    def held() -> dict[str, list[tuple]]:
        archive = ArchiveIndex.open(index)
        rows = archive.rows(range(archive.windows), ["source", "recording", "speaker"]).to_pylist()
        found: dict[str, list[tuple]] = {}
        for row in rows:
            found.setdefault(Path(row["source"]).name, []).append((row["recording"], row["speaker"]))
        return {name: sorted(own) for name, own in found.items()}

    run(one, index, teacher_folder)
    first = held()
    report = run(two, index, teacher_folder)
    assert (report.embedded, report.dropped) == (3, 0)
    both = held()
    assert both["one.parquet"] == first["one.parquet"] and len(both["two.parquet"]) == 3
    assert ("own-test-3.flac", "told anew") in both["two.parquet"]
    batches = count_embedded(monkeypatch)
    assert run(one, index, teacher_folder).kept == 4 and run(two, index, teacher_folder).kept == 3
    assert held() == both and not batches
    rows = list(read_manifest(one))
    write_manifest(one, rows[1:], tmp_path / "own")
    assert run(one, index, teacher_folder).dropped == 1
    assert held() == {"one.parquet": both["one.parquet"][1:], "two.parquet": both["two.parquet"]}


def test_a_manifest_whose_audio_moved_is_not_embedded_again(
    index: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_corpus(tmp_path, "own", {"test": 3})
    run(path, index, teacher_folder)
    shutil.copytree(path.parent, tmp_path / "copy")
    write_manifest(path, list(read_manifest(path)), tmp_path / "copy")
    batches = count_embedded(monkeypatch)
    report = run(path, index, teacher_folder)
    assert (report.carried_over, report.dropped, batches) == (3, 0, [])
    assert {root for root, _, _ in contents(index)} == {str(tmp_path / "copy")}
    assert run(path, index, teacher_folder).kept == 3


def test_rows_of_one_recording_are_windows_as_they_are(index: Path, teacher_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    path = make_corpus(tmp_path, "own", {"test": 1})
    soundfile.write(tmp_path / "own" / "own-test-0.flac", tone(200, 0.3, 3.0, np.random.default_rng(0)), RATE)
    first = read_manifest(path)[0]
    rows = [replace(first, pair_id=f"p{n}", start=start, end=end) for n, (start, end) in enumerate(
        [(1.5, 3.0), (0.25, 0.75), (2.0, 9.0)]
    )]  # fmt: skip
    write_manifest(path, rows, path.parent)
    report = run(path, index, teacher_folder)
    found = [(row["pair_id"], row["start"], row["end"], row["windows"]) for row, _ in contents(index).values()]
    assert sorted(found) == [("p0", 1.5, 3.0, 2), ("p1", 0.25, 0.75, 2)]
    assert report.unreadable == 1 and "row p2: 2.0 to 9.0 s is not a stretch" in unreadable(index)["own-test-0.flac"]


def test_what_cannot_be_read_is_listed_and_the_rest_goes_on(archive: Path, index: Path, teacher_folder: Path) -> None:
    (archive / "empty.wav").write_bytes(b"")
    (archive / "text.mp3").write_text("no music")
    whole = (archive / "long.flac").read_bytes()
    (archive / "cut.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(archive / "silent.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write(archive / "blip.wav", np.full(80, 0.1, np.float32), RATE)
    report = run(archive, index, teacher_folder)
    found = unreadable(index)
    assert set(found) == {"empty.wav", "text.mp3", "cut.flac", "silent.wav", "blip.wav"}
    assert "silence" in found["silent.wav"] and "empty file" in found["empty.wav"]
    assert (report.unreadable, report.embedded) == (5, 4)
    assert {name for _, name, _ in contents(index)} == {"a.flac", "b.flac", "sub/c.flac", "long.flac"}
    shutil.copy(archive / "a.flac", archive / "empty.wav")
    (archive / "b.flac").write_bytes(b"")
    run(archive, index, teacher_folder)
    assert "b.flac" in unreadable(index) and "empty.wav" not in unreadable(index)
    assert "b.flac" not in {name for _, name, _ in contents(index)}


def test_what_cannot_be_read_is_listed_at_an_address_too(archive: Path, tmp_path: Path, teacher_folder: Path) -> None:
    """Through the same calls as in object storage, of a file system that is here."""
    (archive / "text.mp3").write_text("no music")
    (tmp_path / "stored").mkdir()
    report = run(archive, f"file://{tmp_path}/stored", teacher_folder)
    assert (report.embedded, report.unreadable) == (4, 1)
    assert set(unreadable(tmp_path / "stored")) == {"text.mp3"}


def test_silent_windows_are_left_out_and_counted(archive: Path, index: Path, teacher_folder: Path) -> None:
    sound = tone(200, 0.3, 4.0, np.random.default_rng(0))
    sound[RATE : 3 * RATE] = 0
    soundfile.write(archive / "pause.flac", sound, RATE)
    report = run(archive, index, teacher_folder)
    found = [(row["window"], row["start"]) for (_, name, _), (row, _) in contents(index).items() if "pause" in name]
    assert sorted(found) == [(0, 0.0), (1, 0.5), (2, 2.5), (3, 3.0)]
    assert report.silent == 3


def test_windows_without_a_voice_are_left_out(archive: Path, index: Path, teacher_folder: Path) -> None:
    pytest.importorskip("webrtcvad")
    rng = np.random.default_rng(0)
    soundfile.write(archive / "hiss.wav", (0.01 * rng.standard_normal(2 * RATE)).astype(np.float32), RATE)
    settings = IndexSettings(1.0, 0.5, voice_activity=True)
    report = run(archive, index, teacher_folder, settings)
    assert "voice" in unreadable(index)["hiss.wav"] and report.embedded >= 1


def test_memory_is_bounded_however_long_a_recording(
    index: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_FIRST_POOL_SECONDS", 20.0)
    monkeypatch.setattr(indexing, "bytes_ahead", lambda _: 20 * RATE * 4)
    (tmp_path / "archive").mkdir()
    soundfile.write(tmp_path / "archive" / "x.flac", tone(200, 0.3, 120.0, np.random.default_rng(0)), RATE)
    pools: list[int] = []
    embed = embedding.WindowEmbedder._embed
    monkeypatch.setattr(
        embedding.WindowEmbedder, "_embed", lambda self, pool: pools.append(len(pool)) or embed(self, pool)
    )
    monkeypatch.setattr(embedding.WindowEmbedder, "_next_pool", lambda self, speed: 20.0)
    assert run(tmp_path / "archive", index, teacher_folder).windows == 239
    assert max(pools) <= 20 and len(pools) >= 12


def test_other_models_and_windows_are_refused(
    archive: Path, index: Path, teacher_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    run(archive, index, teacher_folder)
    before = contents(index)
    torch.manual_seed(4)
    export(*build_model(read_recipe(recipe_file).model), tmp_path / "other", card="")
    with pytest.raises(ArchiveError, match="was made by another model"):
        run(archive, index, tmp_path / "other")
    with pytest.raises(ArchiveError, match=r"was made with --window 1 --hop 0\.5; say the same"):
        run(archive, index, teacher_folder, IndexSettings(2.0, 0.5))
    assert contents(index).keys() == before.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (IndexSettings(0.0, 0.0), "--window 0: expected 0.1 to 600 seconds"),
        (IndexSettings(1_000.0, 5.0), "--window 1000"),
        (IndexSettings(float("nan"), 5.0), "--window nan"),
        (IndexSettings(1.0, 2.0), "--hop 2: expected 0.1 seconds to --window 1"),
    ],
)
def test_impossible_windows(
    archive: Path, index: Path, teacher_folder: Path, settings: IndexSettings, message: str
) -> None:
    with pytest.raises(ArchiveError, match=message):
        run(archive, index, teacher_folder, settings)
    assert not index.exists()


def test_nothing_to_index_makes_no_index(index: Path, teacher_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with pytest.raises(ArchiveError, match="no such folder or manifest"):
        run(folder, index, teacher_folder)
    folder.mkdir()
    with pytest.raises(ArchiveError, match="an empty folder"):
        run(folder, index, teacher_folder)
    for name in ("a.txt", "b.md", "sub.csv"):
        (folder / name).write_text("text")
    with pytest.raises(ArchiveError, match=r"none of the 3 files below it is a recording \(\.flac"):
        run(folder, index, teacher_folder)
    with pytest.raises(ArchiveError, match="lies inside"):
        run(folder, folder / "index", teacher_folder)
    assert not index.exists()
    (folder / "a.wav").write_text("text")
    with pytest.raises(ArchiveError, match=r"none of its 1 recordings can be used; the first is a\.wav: "):
        run(folder, index, teacher_folder)


def test_an_archive_that_nobody_may_look_at(
    archive: Path, index: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(source_opening, "is_dataset", refused)
    with pytest.raises(ArchiveError, match=r"archive: cannot be looked at \(Permission denied\)"):
        run(archive, index, teacher_folder)


def test_an_archive_that_is_not_mounted_just_now_loses_nothing(
    archive: Path, index: Path, teacher_folder: Path
) -> None:
    run(archive, index, teacher_folder)
    away = archive.rename(archive.with_name("away"))
    archive.mkdir()
    with pytest.raises(ArchiveError, match="an empty folder"):
        run(archive, index, teacher_folder)
    archive.rmdir()
    away.rename(archive)
    assert run(archive, index, teacher_folder).kept == 4


def test_a_second_indexer_is_told_so(archive: Path, index: Path, teacher_folder: Path) -> None:
    run(archive, index, teacher_folder)
    with ArchiveIndex.open(index).writing(), pytest.raises(ArchiveError, match="is being written by another"):
        run(archive, index, teacher_folder)


def test_the_command_tells_what_it_did(
    archive: Path,
    index: Path,
    teacher_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    (archive / "text.mp3").write_text("no music")
    words = ["raclap", "index", str(archive), str(index), "--model", str(teacher_folder), "--window", "1"]
    monkeypatch.setattr("sys.argv", words)
    main()
    printed, bar = capsys.readouterr()
    assert "4 recordings embedded (9 windows" in printed and "1 cannot be used" in printed
    assert "clips/s" in bar and "h of audio" in bar and "left" in bar
    monkeypatch.setattr("sys.argv", [*words, "--hop", "0.25"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "was made with --window 1 --hop 0.5" in capsys.readouterr().err
