"""The cache of decoded clips: the same sound, made once, made anew when it must be, and never half."""

import errno
import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import RATE, make_corpus, tone
from modeling_raclap import RaClapFeatureExtractor
from modeling_raclap.recording_raclap import as_float
from raclap.data import cache
from raclap.data.cache import CacheAt, as_int16, cached_clips
from raclap.data.collection import read_split
from raclap.data.dataset import PairDataset
from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.sampling import Draw
from raclap.errors import AudioError, RecipeError
from raclap.recipe import DataRecipe


@pytest.fixture
def manifest(tmp_path):
    return read_manifest(make_corpus(tmp_path, "tones", {"train": 12}))


def inspect(manifest, folder: Path, **options) -> Inspection:
    return inspect_audio(manifest, RATE, cache=CacheAt(folder, "None"), progress=False, **options)


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_cached_clips_are_those_that_are_decoded(manifest, tmp_path):
    found, read = inspect(manifest, tmp_path / "cache"), inspect_audio(manifest, RATE, progress=False)
    np.testing.assert_array_equal(found.seconds, read.seconds)
    for row in range(len(manifest)):
        np.testing.assert_array_equal(found.waveform(row), read.waveform(row))
    again = found.rows([7, 2])
    np.testing.assert_array_equal(again.waveform(0), read.waveform(7))
    assert again.manifest.column("pair_id") == [manifest[7].pair_id, manifest[2].pair_id]


def test_the_second_time_nothing_is_decoded(manifest, tmp_path, monkeypatch):
    first = inspect(manifest, tmp_path / "cache")
    monkeypatch.setattr(soundfile, "SoundFile", None)
    second = inspect(manifest, tmp_path / "cache")
    for row in range(len(manifest)):
        np.testing.assert_array_equal(second.waveform(row), first.waveform(row))
    crops = [PairDataset([corpus], 0.1, seed=3)[Draw(4, 9)] for corpus in (first, second)]
    np.testing.assert_array_equal(*(crop.waveform for crop in crops))
    assert crops[0].waveform.dtype == np.int16 and crops[0].waveform.base is not None, "a view of the file"


def test_sixteen_bits_lose_nothing_and_louder_sounds_are_clipped():
    every = np.arange(-(2**15), 2**15).astype(np.int16)
    np.testing.assert_array_equal(as_int16(as_float(every)), every)
    assert as_int16(np.array([1.5, 1.0, -1.0, -2.0], np.float32)).tolist() == [32767, 32767, -32768, -32768]


def test_what_the_clips_depend_on_is_in_the_key(manifest, tmp_path):
    folder = tmp_path / "cache"
    inspect(manifest, folder)
    inspect(manifest, folder)
    assert len(caches(folder)) == 1
    inspect_audio(manifest, 8000, cache=CacheAt(folder, "None"), progress=False)
    inspect_audio(manifest, RATE, lambda clip: clip[:2000], cache=CacheAt(folder, "40"), progress=False)
    inspect(manifest.rows([0, 1, 2]), folder)
    inspect(manifest.rows([2, 1, 0]), folder)
    assert len(caches(folder)) == 5
    longer = tone(300, 0.2, 0.9, np.random.default_rng(5))
    soundfile.write(manifest.audio_path(manifest[3]), longer, RATE)
    found = inspect(manifest, folder)
    assert len(caches(folder)) == 6 and len(found.waveform(3)) == len(longer)


def test_a_moved_corpus_keeps_its_cache(tmp_path):
    folders = [tmp_path / place / "tones" for place in ("here", "there")]
    for folder in folders:
        inspect(read_manifest(make_corpus(folder.parent, "tones", {"train": 4})), tmp_path / "cache")
    assert len(caches(tmp_path / "cache")) == 1


def test_trimmed_clips_are_cached_trimmed(tmp_path):
    voiced = tone(200, 0.3, 1.0, np.random.default_rng(0))
    soundfile.write(tmp_path / "a.flac", np.concatenate([np.zeros(8000), voiced, np.zeros(8000)]), RATE)
    write_manifest(tmp_path / "m.parquet", [Pair("a", "a.flac", (Caption("x"),), "c", "train")], tmp_path)
    features = RaClapFeatureExtractor(trim_silence_db=40.0)
    corpora = [
        read_split(tmp_path / "m.parquet", "train", features, cache=place, progress=False)
        for place in (tmp_path / "cache", None)
    ]
    assert corpora[0].seconds.tolist() == corpora[1].seconds.tolist() == [1.0]
    np.testing.assert_array_equal(corpora[0].waveform(0), corpora[1].waveform(0))


@pytest.fixture
def with_bad_rows(manifest):
    soundfile.write(manifest.audio_path(manifest[2]), np.zeros(RATE), RATE)
    manifest.audio_path(manifest[11]).write_text("these are words", encoding="utf-8")
    return manifest


def test_bad_rows_stop_the_first_run_and_every_other(with_bad_rows, tmp_path):
    for _ in range(2):
        with pytest.raises(AudioError, match=r"row tones-train-2: .*silence.* \(as it was when .*cache.*1 more bad"):
            inspect(with_bad_rows, tmp_path / "cache")
    found = inspect(with_bad_rows, tmp_path / "cache", skip_bad=True)
    assert [row.pair_id for row in found.skipped] == ["tones-train-2", "tones-train-11"]
    assert len(found.manifest) == len(found.kept) == 10
    read = inspect_audio(with_bad_rows, RATE, skip_bad=True, progress=False)
    for row in range(10):
        np.testing.assert_array_equal(found.waveform(row), read.waveform(row))


@pytest.mark.parametrize("stop", [0, 1, 4, 9])
@pytest.mark.parametrize("torn", [0, 5])
def test_a_cache_goes_on_where_it_was_stopped(with_bad_rows, tmp_path, monkeypatch, stop, torn):
    monkeypatch.setattr(cache, "_CHUNK", 2)
    clips = [np.full(10 * (row + 1), row, np.int16) for row in range(len(with_bad_rows))]
    clips[2] = "bad"
    asked = []

    def decode(first: int, last: int | None = None):
        asked.append(first)
        yield from clips[first:last]
        if last is not None:
            raise KeyboardInterrupt

    at = CacheAt(tmp_path / "cache", "")
    with pytest.raises(KeyboardInterrupt):
        cached_clips(at, with_bad_rows, RATE, lambda first: decode(first, stop))
    unfinished = next((tmp_path / "cache").glob("*.unfinished"))
    for name in ("samples.int16", "lengths.int64", "reasons.jsonl"):  # a write that was not finished
        with (unfinished / name).open("ab") as file:
            file.write(b'[1, "'[:torn])
    found = cached_clips(at, with_bad_rows, RATE, decode)
    assert asked == [0, stop // 2 * 2], "whole pieces are kept"
    for row, clip in enumerate(clips):
        assert found[row].tolist() == ([] if row == 2 else clip.tolist())
    assert [row for row, reason in enumerate(found.reasons) if reason] == [2]
    assert not list((tmp_path / "cache").glob("*.unfinished"))


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_and_what_was_written_is_taken_away(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_fill", no_space)
    with pytest.raises(RecipeError, match=r"data\.cache: .*cache: cannot be written \(No space left on device\)"):
        inspect(manifest, tmp_path / "cache")
    assert caches(tmp_path / "cache") == []


def test_a_disk_too_small_for_all_is_found_at_the_first_rows(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_CHUNK", 3)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RecipeError, match=r"some 0\.0 GB are needed, 0\.0 GB are free"):
        inspect(manifest, tmp_path / "cache")


def test_a_place_that_is_no_folder_is_named(manifest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"data\.cache: .*file/cache: cannot be written"):
        inspect(manifest, tmp_path / "file" / "cache")


def make(arguments: tuple[Path, Path, Path]) -> list[int]:
    """What a process finds in the cache; it notes down when it decodes."""
    path, folder, log = arguments
    manifest = read_manifest(path)

    def decode(first: int):
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(first) + "\n")
        yield from (as_int16(np.full(100 + row, row / 1000, np.float32)) for row in range(first, len(manifest)))

    return [len(clip) for clip in cached_clips(CacheAt(folder, ""), manifest, RATE, decode)]


def test_of_several_processes_one_makes_it(manifest, tmp_path):
    work = [(manifest.path, tmp_path / "cache", tmp_path / "log")] * 4
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(make, work, chunksize=1)
    assert found == [[100 + row for row in range(12)]] * 4
    assert (tmp_path / "log").read_text(encoding="utf-8") == "0\n"


def test_processes_that_are_not_forked_map_the_file_themselves(manifest, tmp_path):
    corpus = inspect(manifest, tmp_path / "cache")
    before = corpus.waveform(5)
    packed = pickle.dumps(corpus.kept)
    assert len(packed) < 2000 < 2 * int(corpus.kept.lengths.sum()), "the samples stay where they are"
    np.testing.assert_array_equal(as_float(pickle.loads(packed)[5]), before)


def test_clips_are_kept_in_one_place(corpora):
    one = {"name": "small", "manifest": str(corpora["small"])}
    with pytest.raises(ValueError, match="keep_in_memory holds clips in memory and cache in a file"):
        DataRecipe(corpora=(one,), cache="x", keep_in_memory=True)
