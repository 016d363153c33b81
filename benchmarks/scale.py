"""What an archive costs a million clips: the tables of docs/scale.md.

    python benchmarks/scale.py --model runs/demo/export --manifest CORPUS/manifest.parquet --windows 100000 1000000
    python benchmarks/scale.py --model runs/demo/export --manifest CORPUS/manifest.parquet      a quick look
    python benchmarks/scale.py ... --windows 100000 --approximate                               IVF-RQ too: minutes

Indexing is that of `raclap index` on the recordings of the manifest, the loading of the model left out. All else is
measured on made-up vectors, as many as --windows says: unit vectors of the model's size that vary in 48 directions
and a little in all others, so that cells and codes have something to find, as embeddings do. Each number of windows
runs in a process of its own, for the sake of its peak of memory. Queries of a search are vectors here; embedding a
text is measured apart.

Ends with one line of JSON.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from raclap.archive.facts import IndexFacts, ModelFacts
from raclap.archive.indexing import index_archive
from raclap.archive.nearest import Nearest, build_approximate
from raclap.archive.store import ArchiveIndex
from raclap.archive.tagging import tag_archive
from raclap.model_folder import load_model_folder
from raclap.retrieval.embed import embed_text
from raclap.retrieval.protocol import Protocol, prompts_of_names

_BLOCK, _VARYING, _SECONDS = 65_536, 48, 5.0
_LABELS = [f"style {number}" for number in range(20)]


def main() -> None:
    """Measures indexing, then every number of windows, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="exported model")
    parser.add_argument("--manifest", type=Path, required=True, help="recordings to index")
    parser.add_argument("--windows", type=int, nargs="+", default=[20_000], help="sizes of made-up indexes")
    parser.add_argument("--approximate", action="store_true", help="build IVF-RQ and measure it too")
    asked = parser.parse_args()

    print(f"{torch.get_num_threads()} threads")
    indexing = measure_indexing(asked.model, asked.manifest)
    print_table("indexing", [indexing])
    stores = []
    for windows in asked.windows:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            stores.append(pool.apply(measure_store, (asked.model, windows, asked.approximate)))
    print_table("store and search", stores)
    print(json.dumps({"indexing": indexing, "stores": stores}))


def measure_indexing(model: Path, manifest: Path) -> dict[str, float]:
    """Clips and hours of audio a second."""
    with tempfile.TemporaryDirectory() as folder:
        whole = timed(lambda: index_archive(manifest, Path(folder) / "index", model, progress=False))
        again = timed(lambda: index_archive(manifest, Path(folder) / "index", model, progress=False))
        index = ArchiveIndex.open(Path(folder) / "index")
        hours = sum(index.rows(np.arange(index.windows), ["duration"])["duration"].to_pylist()) / 3600
        # What a second run with nothing to do takes is the loading of the model and the look at the files.
        seconds = whole - again
        return {
            "clips": index.windows,
            "seconds_a_clip_lasts": round(3600 * hours / index.windows, 2),
            "clips_a_second": round(index.windows / seconds, 1),
            "audio_hours_an_hour": round(hours / (seconds / 3600), 1),
            "hours_a_million_clips": round(1e6 * seconds / index.windows / 3600, 1),
        }


def measure_store(folder: Path, windows: int, with_approximate: bool) -> dict[str, float]:
    """Disk, time and memory of an index of made-up vectors."""
    model, processor = load_model_folder(folder)
    D = model.config.projection_dim
    embedding = typical(lambda: embed_text(model, processor, ["an old man mumbling, tired"]))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "index"
        made_by = ModelFacts(str(folder), {}, D, processor.feature_extractor.sampling_rate, model.config.calibration)
        index = ArchiveIndex.create(path, IndexFacts(made_by, 2 * _SECONDS, _SECONDS))
        writing = sum(timed(lambda rows=rows: index.append(rows)) for rows in made_up_rows(windows, D))
        writing += timed(index.compact)
        stored = size_of(path)

        index = ArchiveIndex.open(path)
        queries = made_up_vectors(np.random.default_rng(1), 32, D).astype(np.float32)
        before = peak()
        nearest = Nearest(index, exact_up_to=windows)
        first = timed(lambda: nearest.search(queries[:1], 10))
        exact = typical(lambda: nearest.search(queries[1:2], 10))
        together = timed(lambda: nearest.search(np.repeat(queries, 32, 0), 10)) / 1024
        memory = peak() - before
        group = Protocol("style", "", prompts_of_names(_LABELS, ["A person speaking in a {} voice."], "labels"))
        tagging = timed(
            lambda: tag_archive(index, model, processor, [group], Path(place) / "t.parquet", progress=False)
        )

        return {
            "windows": windows,
            "write_rows_a_second": round(windows / writing),
            "bytes_a_window": round(stored / windows, 1),
            "gb_a_million": round(stored / windows / 1e3, 3),
            "text_embedding_ms": round(1e3 * embedding, 1),
            "first_search_s": round(first, 2),
            "exact_search_ms": round(1e3 * exact, 2),
            "exact_batch_ms_a_query": round(1e3 * together, 3),
            "search_memory_gb": round(memory / 1e9, 2),
            "classify_windows_a_second": round(windows / tagging),
            **(measure_approximate(index, queries) if with_approximate else {}),
        }


def measure_approximate(index: ArchiveIndex, queries: np.ndarray) -> dict[str, float]:
    """What LanceDB's IVF-RQ takes to build, misses and saves."""
    before = size_of(Path(index.path))
    building = timed(lambda: build_approximate(index))
    built = ArchiveIndex.open(index.path)
    nearest = Nearest(built, exact_up_to=0)
    probing = typical(lambda: nearest.search(queries[2:3], 10))
    return {
        "ivf_rq_build_s": round(building, 1),
        "ivf_rq_bytes_a_window": round((size_of(Path(index.path)) - before) / index.windows, 1),
        "ivf_rq_recall_at_10": round(built.facts.approximate.recall_at_10, 3),
        "ivf_rq_search_ms": round(1e3 * probing, 2),
    }


def made_up_rows(windows: int, D: int) -> Iterator[pa.Table]:
    """Blocks of rows of recordings of one window each, made as they are asked for."""
    random = np.random.default_rng(0)
    for first in range(0, windows, _BLOCK):
        n = min(_BLOCK, windows - first)
        vectors = made_up_vectors(random, n, D).astype(np.float16).reshape(-1)
        yield pa.table(
            {
                "recording": [f"speaker{row % 997:03d}/{row:09d}.flac" for row in range(first, first + n)],
                "root": ["/archive"] * n,
                "window": pa.array(np.zeros(n, np.int32)),
                "windows": pa.array(np.ones(n, np.int32)),
                "start": np.zeros(n),
                "end": np.full(n, _SECONDS),
                "duration": pa.array(np.full(n, _SECONDS, np.float32)),
                "size": random.integers(10_000, 100_000, n),
                "mtime_ns": random.integers(0, 2**60, n),
                "sha256": [random.bytes(32).hex() for _ in range(n)],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), D),
            }
        )


def made_up_vectors(random: np.random.Generator, n: int, D: int) -> np.ndarray:
    """(n, D) float32 unit vectors."""
    directions = np.random.default_rng(2).standard_normal((_VARYING, D), np.float32)
    weights = np.float32(1) / np.sqrt(np.arange(1, _VARYING + 1, dtype=np.float32))
    vectors = (random.standard_normal((n, _VARYING), np.float32) * weights) @ directions
    vectors += 0.2 * random.standard_normal((n, D), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def typical(work: Callable[[], object], times: int = 15) -> float:
    """Median of its seconds, after it ran once."""
    work()
    return statistics.median(timed(work) for _ in range(times))


def size_of(path: Path) -> int:
    """Bytes of all files below it."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def peak() -> int:
    """Greatest resident memory of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def print_table(title: str, columns: list[dict[str, float]]) -> None:
    """A row a figure, as Markdown."""
    print(f"\n| {title} |" + " |" * len(columns) + "\n| --- |" + " ---: |" * len(columns))
    for name in columns[0]:
        print(f"| {name.replace('_', ' ')} | " + " | ".join(f"{column[name]:,}" for column in columns) + " |")


if __name__ == "__main__":
    main()
