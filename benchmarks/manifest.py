"""Reading, mapping and streaming a very large manifest: rows a second, and the memory that it takes.

    python benchmarks/manifest.py                       1,000,000 rows, and half of them beside
    python benchmarks/manifest.py --rows 20000000 --folder /data/tmp    where there is room for 500 bytes a row
    python benchmarks/manifest.py --processes 8         a stream that eight training processes share

The rows are made up: two captions, a transcript, a speaker and a path each. Every figure is taken in a process of its
own. Two kinds of memory are told apart, both as growth over what the libraries take before:

    own       what the process must hold (RssAnon): this is what decides whether a corpus fits
    mapped    pages of files that the system reads and drops as it likes (RssFile)

What a step must hold shows at two sizes: it should hardly grow. This part needs Linux. Ends with one line of JSON.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from raclap.provenance import processor_name

FEWEST = 600_000  # both sizes are then beyond what is held in memory
GROUP = 16_384
SAMPLE = 5_000  # rows read by number
IN_TURN = 100_000
BATCH = 64


def main() -> None:
    """Measures each step at two sizes and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the larger manifest (default 1000000)")
    parser.add_argument("--processes", type=int, default=1, help="that share a stream (default 1)")
    parser.add_argument("--buffer", type=int, default=50_000, help="data.shuffle_buffer (default 50000)")
    parser.add_argument("--folder", type=Path, help="where manifests are made (default: a temporary folder)")
    asked = parser.parse_args()
    if asked.rows < FEWEST:
        parser.error(f"--rows {asked.rows}: smaller manifests are held in memory; take {FEWEST} or more")
    steps = {
        "first read, checked": (read,),
        "read again": (read,),
        "rows by number": (rows_by_number,),
        "rows in turn": (rows_in_turn,),
        "digest of the build": (digest,),
        "one pass streamed": (stream, asked.processes, asked.buffer),
    }
    sizes = (asked.rows // 2, asked.rows)
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        paths = {size: make(Path(folder) / str(size) / "manifest.parquet", size) for size in sizes}
        figures = {
            name: [apart(work, str(paths[size]), *more) for size in sizes] for name, (work, *more) in steps.items()
        }
    print(f"{processor_name()}, {os.cpu_count()} cores")
    print(f"{'':<22}{'at':>10}{sizes[0]:>14,}{sizes[1]:>25,} rows")
    print(f"{'':<22}{'rows/s':>10}{'own MB':>14}{'own MB':>14}{'mapped MB':>16}")
    for name, (half, whole) in figures.items():
        print(
            f"{name:<22}{whole['rows_per_s']:>10,}{half['own_mb']:>14.0f}{whole['own_mb']:>14.0f}"
            f"{whole['mapped_mb']:>16.0f}"
        )
    result = {"rows": asked.rows, "processes": asked.processes}
    print(json.dumps({**result, **{name: whole for name, (_, whole) in figures.items()}}))


def apart(work: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """What `work` does to time and memory, in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(watched, work, *arguments).result()


def watched(work: Callable[..., Iterator[int]], *arguments: Any) -> dict[str, float]:
    """Runs a step that yields once when it is ready, and then its number of rows."""
    step = work(*arguments)
    next(step)
    before, peak, done = memory(), list(memory()), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[:] = map(max, peak, memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    rows = next(step)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    own, mapped = (round((top - start) / 1024, 1) for top, start in zip(peak, before, strict=True))
    return {"seconds": round(seconds, 3), "rows_per_s": round(rows / seconds), "own_mb": own, "mapped_mb": mapped}


def memory() -> tuple[int, int]:
    """Kilobytes that this process holds, and kilobytes of files that it has mapped."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return tuple(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) for name in ("RssAnon", "RssFile"))


def read(path: str) -> Iterator[int]:
    """`read_manifest` and its training split."""
    from raclap.data.manifest import read_manifest

    yield 0
    yield len(read_manifest(path).split("train"))


def rows_by_number(path: str) -> Iterator[int]:
    """Rows in the order of a sampler."""
    from raclap.data.manifest import read_manifest

    manifest = read_manifest(path).split("train")
    yield 0
    for row in random.Random(0).choices(range(len(manifest)), k=SAMPLE):
        _ = manifest[row]
    yield SAMPLE


def rows_in_turn(path: str) -> Iterator[int]:
    """Rows as a `Pair` each, one after the other."""
    from raclap.data.manifest import read_manifest

    manifest = read_manifest(path).split("train")
    yield 0
    yield sum(1 for _ in itertools.islice(manifest, IN_TURN))


def digest(path: str) -> Iterator[int]:
    """What a run records of its corpora, without the sizes of recordings."""
    from raclap.data.builds import corpus_builds
    from raclap.recipe import DataRecipe

    recipe = DataRecipe(corpora=({"name": "made up", "manifest": path},), audio_check="none")
    yield 0
    yield sum(build["made up"]["pairs"] for build in corpus_builds(recipe).values())


def stream(path: str, processes: int, buffer: int) -> Iterator[int]:
    """One pass of one process: its rows read, dealt and shuffled; what it skips for the others is not counted."""
    from raclap.data.streaming import RowStream, stream_split
    from raclap.recipe import CorpusRecipe

    corpus = stream_split(CorpusRecipe(name="made up", manifest=path, streaming=True), "train", 16_000, None)
    batches = len(corpus.manifest) // processes // BATCH
    source = RowStream(corpus, 0, processes, buffer, (0, 0), lambda inspections: inspections)
    yield 0
    yield sum(len(rows) for _ in range(batches) for _, rows in source.take(BATCH))


def make(path: Path, rows: int) -> Path:
    """Writes a made-up manifest; one row in a hundred is of the validation split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from raclap.data.manifest import SCHEMA
    from raclap.data.manifest_files import AUDIO_ROOT

    path.parent.mkdir()
    with pq.ParquetWriter(path, SCHEMA.with_metadata({AUDIO_ROOT: b"."}), compression="zstd") as writer:
        for first in range(0, rows, GROUP):
            numbers = range(first, min(first + GROUP, rows))
            columns = {name: pa.array(values) for name, values in made_up(numbers).items()}
            own = [columns.get(field.name, pa.nulls(len(numbers), field.type)).cast(field.type) for field in SCHEMA]
            writer.write_table(pa.table(own, schema=SCHEMA))
    return path


def made_up(numbers: range) -> dict[str, list]:
    """Columns of some rows."""
    return {
        "pair_id": [f"corpus/speaker_{n // 200:06d}/utterance_{n:09d}" for n in numbers],
        "audio": [f"corpus/speaker_{n // 200:06d}/utterance_{n:09d}.flac" for n in numbers],
        "captions": [
            [
                {"text": f"a {('low', 'normal', 'high')[n % 3]} voice speaks {('slowly', 'fast')[n % 2]} in take {k}",
                 "names": ["pitch", "speed"]}
                for k in (n % 1009, n % 7919)
            ]
            for n in numbers
        ],
        "corpus": ["made up"] * len(numbers),
        "split": ["validation" if n % 100 == 99 else "train" for n in numbers],
        "speaker": [f"speaker_{n // 200}" for n in numbers],
        "transcript": [f"the quick brown fox number {n} jumps over the lazy dog" for n in numbers],
        "licence": ["CC BY 4.0"] * len(numbers),
    }  # fmt: skip


if __name__ == "__main__":
    main()
