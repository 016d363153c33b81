"""Streamed batches: exact mixtures, the same with any number of loader processes, and bad recordings on the way."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import RATE, make_corpus, tone
from modeling_raclap.recording_raclap import as_float
from raclap.data.audio import decode
from raclap.data.dataset import PairDataset
from raclap.data.inspection import Skipped
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.notes import CaptionCodes
from raclap.data.stream_loader import LeftOutList, ProcessMixture, StreamDataset, StreamLoader
from raclap.data.streaming import StreamedCorpus, stream_split
from raclap.errors import AudioError, RecipeError
from raclap.recipe import CorpusRecipe

SIZES = {"small": 18, "medium": 36, "large": 72}


def stream(path: Path) -> StreamedCorpus:
    return stream_split(CorpusRecipe(name="c", manifest=str(path), streaming=True), "train", RATE, None)


@pytest.fixture(scope="module")
def streamed(corpora) -> dict[str, StreamedCorpus]:
    return {name: stream(path) for name, path in corpora.items()}


def collate(examples) -> dict:
    return {
        "number": torch.tensor([example.number for example in examples]),
        "caption": [example.caption for example in examples],
        "sound": torch.tensor([float(np.abs(as_float(example.waveform)).sum()) for example in examples]),
    }


def loader(
    corpora, workers=0, shares=(1, 1, 1), batch=12, process=0, processes=1, skip_bad=False, crop=0.2, log=None, steps=4
) -> StreamLoader:
    sizes = tuple(len(corpus.manifest) for corpus in corpora.values())
    mixture = ProcessMixture(sizes, shares, batch, processes)
    examples_of = partial(PairDataset, crop_seconds=crop)
    dataset = StreamDataset(corpora, mixture, process, 8, 5, skip_bad, examples_of, collate)
    return StreamLoader(dataset, steps, workers, left_out=log)


def batches(source: StreamLoader, epochs=range(3)) -> list[tuple]:
    found = []
    for epoch in epochs:
        source.set_epoch(epoch)
        found += [(b["number"].tolist(), b["caption"], b["sound"].tolist()) for b in source]
    return found


def test_batches_are_the_same_with_any_number_of_loader_processes_and_from_any_place(streamed):
    expected = batches(loader(streamed))
    assert len(expected) == 12
    assert [numbers for numbers, _, _ in expected] == np.arange(144).reshape(12, 12).tolist()
    source = loader(streamed, workers=2)
    source.set_epoch(0)
    early = iter(source)
    assert [next(early)["sound"].tolist() for _ in range(3)] == [sound for _, _, sound in expected[:3]]
    place = json.loads(json.dumps(source.state_dict()))
    for workers in (1, 0):
        resumed = loader(streamed, workers)
        resumed.load_state_dict(place)
        assert batches(resumed) == expected[3:]


def test_at_the_end_of_an_epoch_there_is_nothing_left_of_it(streamed):
    source, later = loader(streamed), loader(streamed)
    assert len(batches(source, [0])) == 4
    later.load_state_dict(source.state_dict())
    assert batches(later, [0]) == []
    assert batches(later, [1]) == batches(source, [1])
    with pytest.raises(ValueError, match="the stream is at step 8, which is not of epoch 3"):
        source.set_epoch(3)


@pytest.mark.parametrize(("shares", "counts"), [((1, 1, 1), (4, 4, 4)), ((1, 2, 3), (2, 4, 6))])
@pytest.mark.parametrize("processes", [1, 2])
def test_every_global_batch_holds_the_exact_mixture(streamed, corpora, shares, counts, processes):
    owners = {pair.audio: name for name, path in corpora.items() for pair in read_manifest(path)}

    def names(batch) -> dict:
        return {"audio": [example.notes["audio"] for example in batch]}

    def audio(pair: Pair, row: int, caption: int) -> dict:
        return {"audio": pair.audio}

    def rows_of(process: int) -> list[list[str]]:
        mixture = ProcessMixture(tuple(SIZES.values()), shares, 12, processes)
        examples_of = partial(PairDataset, crop_seconds=None, notes=audio)
        dataset = StreamDataset(streamed, mixture, process, 8, 5, False, examples_of, names)
        return [batch["audio"] for batch in StreamLoader(dataset, 8)]

    for step in zip(*map(rows_of, range(processes)), strict=True):
        rows = list(itertools.chain(*step))
        assert len(set(rows)) == 12
        assert Counter(owners[row] for row in rows) == dict(zip(SIZES, counts, strict=True))


def test_the_natural_mixture_spreads_corpora_evenly_by_size():
    mixture = ProcessMixture((1000, 2000, 7000), None, 100, 2)
    parts = np.array([mixture.counts(step, process) for step in range(100) for process in range(2)])
    assert (parts.sum(axis=1) == 50).all()
    assert np.abs(parts.sum(axis=0) - [1000, 2000, 7000]).max() <= 2
    assert np.abs(parts - [5, 10, 35]).max() <= 2
    assert (parts <= mixture.most).all()


@pytest.mark.parametrize(
    ("shares", "batch", "processes", "message"),
    [
        ((1, 1, 1), 192, 5, r"batch_size 192: .* 5 processes .* of 1:1:1; 180 or 195 can be split so"),
        ((1, 2), 6, 4, r"its own whole part of 1:2; 12 can be split so"),
        (None, 9, 2, r"its own whole part; 8 or 10 can be split so"),
    ],
)
def test_a_batch_that_processes_cannot_share_names_sizes_that_they_can(shares, batch, processes, message):
    with pytest.raises(RecipeError, match=message):
        ProcessMixture((100, 100, 100)[: len(shares or (1, 1))], shares, batch, processes)


def test_a_common_factor_of_the_shares_is_split_over_processes():
    assert ProcessMixture((100, 100), (2, 2), 8, 2).counts(3, 1) == [2, 2]
    assert ProcessMixture((100, 100), (2, 4), 6, 2).counts(3, 1) == [1, 2]


def test_a_corpus_that_is_too_small_is_named(streamed):
    with pytest.raises(RecipeError, match=r"asks each of 2 processes for 10 pairs of 'small' at a time.*18 in all"):
        loader(streamed, batch=60, processes=2)


@pytest.fixture
def long_recording(tmp_path) -> tuple[StreamedCorpus, Path]:
    """One recording of ten seconds; rows are stretches of it, each with three captions."""
    rng = np.random.default_rng(0)
    sound = np.concatenate([tone(100 + 40 * n, 0.3, 1.0, rng) for n in range(10)])
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    captions = tuple(Caption(f"caption {n}") for n in range(3))
    rows = [Pair(f"{n}", "long.flac", captions, "c", "train", start=n + 0.25, end=n + 0.75) for n in range(10)]
    write_manifest(tmp_path / "m.parquet", rows, tmp_path)
    return stream(tmp_path / "m.parquet"), tmp_path / "long.flac"


def test_stretches_and_one_of_several_captions_are_drawn(long_recording):
    corpus, path = long_recording
    expected = {round(float(np.abs(decode(path, RATE, n + 0.25, n + 0.75)).sum()), 1) for n in range(10)}
    found = batches(loader({"c": corpus}, shares=(1,), batch=5, crop=None, steps=20), [0])
    assert {round(value, 1) for _, _, sound in found for value in sound} == expected
    drawn = Counter(caption for _, captions, _ in found for caption in captions)
    assert set(drawn) == {"caption 0", "caption 1", "caption 2"} and min(drawn.values()) > 15


@pytest.fixture
def with_bad(tmp_path) -> dict[str, StreamedCorpus]:
    path = make_corpus(tmp_path, "tones", {"train": 24})
    (path.parent / "tones-train-3.flac").unlink()
    (path.parent / "tones-train-5.flac").write_text("these are words")
    return {"tones": stream(path)}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_recording_stops_training_by_name(with_bad, workers):
    with pytest.raises(
        AudioError, match=r"manifest\.parquet: row tones-train-[35]: .*--skip-bad leaves bad"
    ) as stopped:
        batches(loader(with_bad, workers, (1,), 6))
    assert "Traceback" not in str(stopped.value)


def test_skip_bad_puts_other_rows_in_their_place_and_lists_them_once(with_bad, tmp_path):
    log = tmp_path / "skipped-00000.jsonl"
    expected = batches(loader(with_bad, 0, (1,), 6, skip_bad=True, log=LeftOutList(log)), [0])
    listed = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["corpus"] for entry in listed] == ["tones", "tones"]
    assert {entry["pair_id"] for entry in listed} == {"tones-train-3", "tones-train-5"}
    assert sum("no such audio file" in entry["reason"] for entry in listed) == 1
    assert all(len(set(sound)) == 6 and min(sound) > 0 for _, _, sound in expected), "no row is twice in a batch"
    again = batches(loader(with_bad, 2, (1,), 6, skip_bad=True, log=LeftOutList(log)), [0])
    assert again == expected
    assert len(log.read_text().splitlines()) == 2, "a run that goes on lists no row again"


def test_a_window_without_any_good_recording_stops_training(with_bad):
    for path in with_bad["tones"].manifest.files.audio_root.glob("*.flac"):
        path.unlink()
    with pytest.raises(AudioError, match=r"nor can another of 8 rows stand in for it"):
        batches(loader(with_bad, 0, (1,), 6, skip_bad=True))


def test_codes_of_captions_are_the_same_in_every_window(corpora):
    rows = read_manifest(corpora["large"])
    texts = {caption.text: CaptionCodes()(pair, 0, n)["codes"].item() for pair in rows
             for n, caption in enumerate(pair.captions)}  # fmt: skip
    assert len(set(texts.values())) == len(texts)
    assert CaptionCodes()(replace(rows[0], pair_id="other"), 7, 0)["codes"].item() == texts[rows[0].captions[0].text]


def test_the_list_of_bad_recordings_tells_now_and_then(tmp_path, capsys):
    log = LeftOutList(tmp_path / "skipped.jsonl")
    log.add([("c", Skipped(str(number), "gone")) for number in range(25)])
    assert [line.split(" bad")[0] for line in capsys.readouterr().out.splitlines()] == ["left out 1", "left out 10"]
