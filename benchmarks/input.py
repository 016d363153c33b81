"""Files to model inputs: ours against librosa.load and transformers' feature extractor, side by side in one run.

    python benchmarks/input.py                               192 recordings, five rounds, all cores
    python benchmarks/input.py --recordings 24 --rounds 1    a quick look
    python benchmarks/input.py --threads 1                   core for core
    python benchmarks/input.py --normalize none              not standardised, as WavLM-base was trained

Recordings are made in a temporary folder: a voice-like sound, lengths lognormal with a mean of 5 s and at most 25 s,
a third each 24 kHz FLAC, 16 kHz WAV and 48 kHz FLAC, 16 bits. All have been read once before they are timed: the disk
plays no part. The inputs are those of a training step: one batch, mono at 16 kHz, standardised, zero-padded, with a
mask. Where there are crops, both ways cut the same; what both make is compared first.

Theirs decodes with librosa.load, cuts the crop, and gives all clips to Wav2Vec2FeatureExtractor, as a script that uses
these libraries does: one clip after the other, memory as the C library has it. Ours is what train.py does:
`Inspection` and `PairDataset` in as many threads as there are cores, a batch end to end, then padded in eight parts of
like length as the speech tower's micro-batches are, freed memory kept (raclap.memory). Each way is timed in a process
of its own.

    files_speedup            time of theirs over ours, whole clips
    files_speedup_same_cores the same, theirs in as many processes of a DataLoader as ours has threads
    crops_speedup            crops of 10 s of recordings six times as long: theirs decodes what it then cuts away
    cache_speedup            theirs from files, ours from the 16-bit cache, up to the flat batch that a device is sent
    cache_and_pad_speedup    the same, and ours padded on this CPU; a GPU does that in a millisecond
    collate_speedup          of clips that are decoded: theirs padded, ours end to end
    collate_and_pad_speedup  the same, and ours padded on this CPU

Ends with one line of JSON. Times are medians of rounds in which the ways take turns.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

RATE = 16_000
KINDS = ((24_000, "flac"), (16_000, "wav"), (48_000, "flac"))
MEAN_SECONDS, LONGEST_SECONDS, SPREAD = 5.0, 25.0, 0.6
CROP_SECONDS, PARTS, LONGER = 10.0, 8, 6
SEED = 0


class Task(NamedTuple):
    """What is to be made into inputs, and how.

    Attributes:
        folder: holds a manifest and its recordings.
        crop_seconds: longest crop; None: whole clips.
        normalize: of the feature extractor.
        threads: of ours; processes beside theirs.
    """

    folder: Path
    crop_seconds: float | None
    normalize: str
    threads: int


def main() -> None:
    """Measures one step after the other on recordings made here, and prints the ratios."""
    asked = arguments()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, seed {SEED}")
    print(f"python {' '.join(sys.argv)}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, process() as their, process() as our:
        short, long = (Path(folder) / name for name in ("short", "long"))
        our.submit(make_recordings, short, asked.recordings, 1).result()
        our.submit(make_recordings, long, asked.recordings, LONGER).result()
        our.submit(keep_memory).result()
        whole = Task(short, None, asked.normalize, asked.threads)
        crops = whole._replace(folder=long, crop_seconds=CROP_SECONDS)
        figures["largest_difference"] = max(our.submit(largest_difference, task).result() for task in (whole, crops))
        one, same, ours, flat, padded = in_turn("files", asked.rounds, {
            "theirs": (their, their_files, whole, 0),
            f"theirs in {asked.threads} processes": (their, their_files, whole, asked.threads),
            "ours": (our, our_files, whole, True),
            "ours from the cache": (our, our_cache, whole, False),
            "ours from the cache, padded": (our, our_cache, whole, True),
        })  # fmt: skip
        figures["files_speedup"], figures["files_speedup_same_cores"] = one / ours, same / ours
        figures["cache_speedup"], figures["cache_and_pad_speedup"] = one / flat, one / padded
        one, ours = in_turn("crops of long files", asked.rounds, {
            "theirs": (their, their_files, crops, 0), "ours": (our, our_files, crops, True)
        })  # fmt: skip
        figures["crops_speedup"] = one / ours
        one, flat, padded = in_turn("collating", asked.rounds, {
            "theirs": (their, their_collating, whole),
            "ours": (our, our_collating, whole, False),
            "ours, padded": (our, our_collating, whole, True),
        })  # fmt: skip
        figures["collate_speedup"], figures["collate_and_pad_speedup"] = one / flat, one / padded
    sizes = {name: getattr(asked, name) for name in ("recordings", "threads", "normalize")}
    print(json.dumps({**sizes, **{name: float(f"{value:.3g}") for name, value in figures.items()}}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=192, help="clips of the batch (default 192)")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each way (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: one a core")
    parser.add_argument("--normalize", choices=("utterance", "none"), default="utterance", help="default: utterance")
    return parser.parse_args()


def process() -> ProcessPoolExecutor:
    """A process of its own; this one never imports torch, so the new one starts small and unset."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def in_turn(title: str, rounds: int, ways: dict[str, tuple]) -> list[float]:
    """Median seconds of each way, one after the other in each round, after a first that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (where, way, *task) in ways.items():
            taken = where.submit(way, *task).result()
            if number:
                seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{title}: " + ", ".join(f"{name} {1000 * median:.1f} ms" for name, median in medians.items()))
    return list(medians.values())


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def keep_memory() -> None:
    """What train.py does before anything else; and one thread for the padding, which waits for memory."""
    from raclap.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    torch.set_num_threads(1)


def their_files(task: Task, processes: int) -> float:
    """Seconds of theirs, in one batch for each process."""
    loader = their_loader(task, processes)
    return timed(lambda: list(loader))


def their_collating(task: Task) -> float:
    """Seconds of padding alone."""
    from modeling_raclap.recording_raclap import as_float

    floats = [as_float(example.waveform) for example in decoded(task)]
    collate = their_collator(task)
    return timed(lambda: collate(floats))


def our_files(task: Task, pads: bool) -> float:
    """Seconds of ours from files."""
    return our_seconds(task, corpus_of(task.folder, cached=False), pads)


def our_cache(task: Task, pads: bool) -> float:
    """Seconds of ours from the cache."""
    return our_seconds(task, corpus_of(task.folder, cached=True), pads)


def our_seconds(task: Task, corpus: Any, pads: bool) -> float:
    """Seconds of ours, up to the flat batch or to padded parts."""
    dataset, draws = our_dataset(task, corpus)
    collate = our_collator(task)
    return timed(lambda: finish(collate(dataset.__getitems__(draws)), pads))


def our_collating(task: Task, pads: bool) -> float:
    """Seconds of laying clips end to end, or of padding them as well."""
    examples, collate = decoded(task), our_collator(task)
    return timed(lambda: finish(collate(examples), pads))


def finish(batch: dict, pads: bool) -> None:
    """Pads what is to be padded, part by part."""
    for _ in parts_of(batch) if pads else ():
        pass


def parts_of(batch: dict) -> Iterator[dict]:
    """The micro-batches of a step."""
    from raclap.data.ragged import LENGTHS, pad_clips
    from raclap.training.micro_batches import part_sizes

    lengths, order = batch[LENGTHS].sort(stable=True)
    runs = order.split(part_sizes(lengths.tolist(), PARTS))
    return pad_clips(batch, [rows.tolist() for rows in runs])


def largest_difference(task: Task) -> float:
    """Between the inputs that both ways make."""
    import torch

    from raclap.data.ragged import padded

    dataset, draws = our_dataset(task, corpus_of(task.folder, cached=False))
    found = padded(our_collator(task)(dataset.__getitems__(draws)))
    expected = next(iter(their_loader(task, 0)))
    if not torch.equal(found["audio_attention_mask"].int(), expected["attention_mask"].int()):
        raise SystemExit("the two ways do not make the same inputs")
    return float((found["input_values"] - expected["input_values"]).abs().max())


@lru_cache
def their_loader(task: Task, processes: int) -> Any:
    """librosa.load, the crop, and transformers' padding, in a DataLoader."""
    import librosa
    from torch.utils.data import DataLoader

    corpus = corpus_of(task.folder, cached=False)
    paths = [str(corpus.manifest.audio_path(pair)) for pair in corpus.manifest]
    lengths = (corpus.seconds * RATE).round().astype(int).tolist()
    dataset, _ = our_dataset(task, corpus)
    crops = [dataset.crop(length, row) for row, length in enumerate(lengths)]
    librosa.load(paths[0], sr=RATE)  # it imports its parts at first use; other processes inherit them
    batch = -(-len(paths) // max(1, processes))
    beside = {"num_workers": processes, "multiprocessing_context": "fork"} if processes else {}
    return DataLoader(TheirRows(paths, crops), batch, collate_fn=their_collator(task), **beside)


class TheirRows:
    """Crops of recordings by librosa.load."""

    def __init__(self, paths: list[str], crops: list[tuple[int, int]]):
        self._paths = paths
        self._crops = crops

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Any:
        """(S,) float32."""
        import librosa

        first, last = self._crops[row]
        return librosa.load(self._paths[row], sr=RATE)[0][first:last]


def their_collator(task: Task) -> Callable[[list], dict]:
    """Padding by transformers' feature extractor."""
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(do_normalize=task.normalize == "utterance", return_attention_mask=True)
    return lambda clips: dict(extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt"))


def our_dataset(task: Task, corpus: Any) -> tuple[Any, list]:
    """The dataset of a training run, and one draw of each row."""
    from raclap.data.dataset import PairDataset
    from raclap.data.sampling import Draw

    dataset = PairDataset([corpus], task.crop_seconds, SEED, threads=task.threads)
    return dataset, [Draw(row, row) for row in range(len(corpus.manifest))]


def our_collator(task: Task) -> Callable[[list], dict]:
    """Clips end to end, without captions."""
    from modeling_raclap import RaClapFeatureExtractor
    from raclap.data.ragged import flatten

    extractor = RaClapFeatureExtractor(normalize=task.normalize)
    return lambda examples: flatten(
        [example.waveform for example in examples], extractor.shortest_samples, extractor.normalize
    )


@lru_cache
def corpus_of(folder: Path, cached: bool) -> Any:
    """The recordings of a folder, from their files or from the cache."""
    from raclap.data.cache import CacheAt
    from raclap.data.inspection import inspect_audio
    from raclap.data.manifest import read_manifest

    manifest = read_manifest(folder / "manifest.parquet")
    if cached:
        return inspect_audio(manifest, RATE, cache=CacheAt(folder / "cache", ""), progress=False)
    return inspect_audio(manifest, RATE, check="header", in_parts=True, progress=False)


@lru_cache
def decoded(task: Task) -> list:
    """16-bit examples of all rows."""
    dataset, draws = our_dataset(task, corpus_of(task.folder, cached=True))
    return dataset.__getitems__(draws)


def make_recordings(folder: Path, count: int, longer: int) -> None:
    """Writes recordings of all kinds in turn, so many times longer, and their manifest."""
    import numpy as np
    import soundfile

    from raclap.data.manifest import Caption, Pair, write_manifest

    folder.mkdir()
    rng = np.random.default_rng(SEED)
    pairs = []
    for row in range(count):
        rate, suffix = KINDS[row % len(KINDS)]
        drawn = float(rng.lognormal(np.log(MEAN_SECONDS) - SPREAD**2 / 2, SPREAD))
        samples = voice(longer * min(max(drawn, 0.5), LONGEST_SECONDS), rate, rng)
        soundfile.write(folder / f"{row}.{suffix}", samples, rate, subtype="PCM_16")
        pairs.append(Pair(str(row), f"{row}.{suffix}", (Caption("a voice"),), "made", "train"))
    write_manifest(folder / "manifest.parquet", pairs, folder)


def voice(seconds: float, rate: int, rng: Any) -> Any:
    """Harmonics of a moving pitch that come and go like syllables, with breath in them."""
    import numpy as np

    moment = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 250) * (1 + 0.15 * np.sin(2 * np.pi * 0.5 * moment))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    tones = sum(np.sin(k * phase) / k for k in range(1, 16))
    return 0.1 * np.abs(np.sin(2 * np.pi * 1.8 * moment)) * (tones + 0.05 * rng.standard_normal(len(moment)))


if __name__ == "__main__":
    main()
