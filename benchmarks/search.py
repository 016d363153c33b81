"""Exact search of a million vectors, and of many queries at once beside faiss. Ends with one line of JSON.

    python benchmarks/search.py                         a million windows, some minutes, 1.1 GB of disk
    python benchmarks/search.py --rows 50000 --batch-rows 20000 --queries 200 --rounds 1

Vectors are made up around directions that archives would have, and are stored as `raclap index` stores them. A text
query is embedded by a text tower of BERT's base size at random: how long that takes does not depend on what it has
learned. `exact_ms_1m` is the median of embedding and search together; recall is counted against products in double
precision. faiss (`pip install faiss-cpu`) and the scan take turns, with the same threads.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from modeling_raclap import RaClapConfig, RaClapModel
from raclap.archive.facts import IndexFacts, ModelFacts
from raclap.archive.nearest import Nearest
from raclap.archive.quantised import HeldVectors, StoredVectors
from raclap.archive.scan import Scanner
from raclap.archive.store import ArchiveIndex
from raclap.provenance import processor_name

D, K, TOKENS, WINDOWS = 512, 10, 16, 10
APPENDED = 50_000  # rows of a commit
SMALL_SPEECH = {"model_type": "raclap_ecapa_tdnn", "channels": 8, "mfa_channels": 8, "hidden_size": 8}
CHECKED = 20  # queries whose recall is counted


def main() -> None:
    """Writes an index, searches it, and puts the batch beside faiss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="windows of the index, a multiple of 10")
    parser.add_argument("--batch-rows", type=int, default=100_000, help="vectors that many queries are asked of")
    parser.add_argument("--queries", type=int, default=1_000, help="asked at once")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each batch; the best counts")
    parser.add_argument("--threads", type=int, help="of torch, of the scan and of faiss; left out: torch's default")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = {**write(Path(folder) / "index", asked.rows), **one_by_one(Path(folder) / "index")}
    figures |= together(asked.batch_rows, asked.queries, asked.rounds)
    machine = {"machine": processor_name(), "threads": torch.get_num_threads()}
    print(json.dumps({"rows": asked.rows, **figures, **machine}))


def made_up(rng: np.random.Generator, size: int) -> np.ndarray:
    """Vectors with a direction in common, and a hundred kinds: (size, D) float32 of unit length."""
    kinds = np.random.default_rng(0).standard_normal((101, D), dtype=np.float32)
    vectors = kinds[0] + kinds[rng.integers(1, 101, size)] + rng.standard_normal((size, D), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(path: Path, size: int) -> dict[str, float]:
    """Writes an index of made-up windows, ten a recording."""
    index = ArchiveIndex.create(path, IndexFacts(ModelFacts("random", {}, D, 16_000), 10.0, 5.0))
    rng, seconds = np.random.default_rng(1), 0.0
    for first in range(0, size, APPENDED):
        rows = table(first, made_up(rng, min(APPENDED, size - first)))
        began = time.perf_counter()
        index.append(rows)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    index.compact()
    seconds += time.perf_counter() - began
    used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {"written_rows_a_second": round(size / seconds), "index_gb": round(used / 1e9, 3)}


def table(first: int, vectors: np.ndarray) -> pa.Table:
    """Rows as `raclap index` writes them."""
    number = np.arange(first, first + len(vectors))
    recording, window = number // WINDOWS, (number % WINDOWS).astype(np.int32)
    return pa.table(
        {
            "recording": [f"part{one // 1000:04d}/{one:08d}.flac" for one in recording],
            "root": pa.array(["/archive"] * len(number)),
            "window": window,
            "windows": np.full(len(number), WINDOWS, np.int32),
            "start": window * 5.0,
            "end": window * 5.0 + 10,
            "duration": np.full(len(number), 10, np.float32),
            "size": recording + 320_044,
            "mtime_ns": recording + 10**18,
            "sha256": [f"{one:064x}" for one in recording],
            "sex": np.where(recording % 2, "female", "male"),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).reshape(-1)), D),
        }
    )


def one_by_one(path: Path) -> dict[str, float]:
    """Text queries, each embedded and searched alone."""
    torch.manual_seed(0)
    model = RaClapModel(RaClapConfig(audio_config=SMALL_SPEECH, text_config={"model_type": "bert"}, projection_dim=D))
    model.eval()
    forget_peak()
    began = time.perf_counter()
    index = ArchiveIndex.open(path)
    search = Nearest(index)
    search.search(np.ones((1, D), np.float32), K)
    opened = time.perf_counter() - began
    found, queries, embedding, searching = [], [], [], []
    for _ in range(CHECKED):
        began = time.perf_counter()
        queries.append(embedded(model))
        between = time.perf_counter()
        found.append(search.search(queries[-1], K)[1])
        searching.append(time.perf_counter() - between)
        embedding.append(between - began)
    both = [sum(pair) for pair in zip(embedding, searching, strict=True)]
    peak = peak_gb()
    return {
        "exact_ms_1m": round(1e3 * statistics.median(both), 1),
        "embedding_ms": round(1e3 * statistics.median(embedding), 1),
        "search_ms": round(1e3 * statistics.median(searching), 1),
        "recall_at_10": recall(index, np.concatenate(queries), np.concatenate(found)),
        "open_seconds": round(opened, 2),
        "peak_memory_gb": peak,
    }


def embedded(model: RaClapModel) -> np.ndarray:
    """A caption's vector: (1, D) float32."""
    tokens = torch.randint(1000, 30_000, (1, TOKENS))
    with torch.inference_mode():
        features = model.get_text_features(tokens, torch.ones_like(tokens))
    return getattr(features, "pooler_output", features).float().numpy()


def recall(stored: StoredVectors, queries: np.ndarray, rows: np.ndarray) -> float:
    """Share of the exact nearest that were found."""
    best = np.full((len(queries), K), -np.inf)
    places = np.zeros((len(queries), K), np.int64)
    first = 0
    for block in stored.vector_blocks():
        exact = block.astype(np.float64)
        cosines = queries.astype(np.float64) @ (exact / np.linalg.norm(exact, axis=1, keepdims=True)).T
        every = np.concatenate([best, cosines], axis=1)
        here = np.broadcast_to(np.arange(first, first + len(block)), cosines.shape)
        where = np.concatenate([places, here], axis=1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :K]
        best, places = np.take_along_axis(every, order, axis=1), np.take_along_axis(where, order, axis=1)
        first += len(block)
    hits = [len(set(found) & set(exact)) for found, exact in zip(rows.tolist(), places.tolist(), strict=True)]
    return sum(hits) / (K * len(queries))


def together(size: int, count: int, rounds: int) -> dict[str, float]:
    """Many queries at once, by the scan and by faiss in turns."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    rng = np.random.default_rng(2)
    vectors, queries = made_up(rng, size).astype(np.float16), made_up(rng, count)
    flat, scanner = faiss.IndexFlatIP(D), Scanner(vectors)
    flat.add(vectors.astype(np.float32))
    calls: dict[str, Callable] = {
        "faiss": lambda: flat.search(queries, K)[1],
        "scan": lambda: scanner.search(queries, K)[1],
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - began)
    best = {name: min(times) for name, times in seconds.items()}
    checked = queries[:CHECKED]
    return {
        "batch_speedup_vs_faiss_flat": round(best["faiss"] / best["scan"], 2),
        "batch_recall_at_10": recall(HeldVectors(vectors), checked, calls["scan"]()[: len(checked)]),
        "faiss_us_a_query": round(1e6 * best["faiss"] / count),
        "scan_us_a_query": round(1e6 * best["scan"] / count),
    }


def forget_peak() -> None:
    """Starts the process's peak memory anew, where Linux lets it."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def peak_gb() -> float | None:
    """Peak memory of the process, in 10⁹ bytes; None where the system does not tell."""
    file = Path("/proc/self/status")
    if not file.exists():
        return None
    line = next(line for line in file.read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) * 1024 / 1e9, 2)


if __name__ == "__main__":
    main()
