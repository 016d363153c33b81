"""Which approximate index of LanceDB searches an archive: IVF-PQ or IVF-RQ, side by side.

    python benchmarks/approximate.py                                 20,000 vectors, some minutes
    python benchmarks/approximate.py --rows 1000000 --only rq        as large as one is used for

Vectors are those of benchmarks/search.py, in half precision as an index stores them; codes have D / 8 bytes in both.
Recall is counted against the exact scan, of queries that are no stored vectors; the time of a query includes reading
its candidates from the table. Ends with one line of JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq, IvfRq
from search import D, K, made_up

from raclap.archive.scan import Scanner
from raclap.provenance import processor_name

_BLOCK = 50_000
_QUERIES = 100


def main() -> None:
    """Builds each and searches it with several numbers of candidates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="vectors (default 20,000)")
    parser.add_argument("--only", choices=("pq", "rq"), help="one of the two (default: both)")
    parser.add_argument("--probes", type=int, nargs="+", default=[16, 64], help="cells that a query reads")
    parser.add_argument("--refine", type=int, nargs="+", default=[5, 20, 100], help="candidates a wanted row")
    asked = parser.parse_args()

    rng, sizes = np.random.default_rng(1), [min(_BLOCK, asked.rows - first) for first in range(0, asked.rows, _BLOCK)]
    vectors = np.concatenate([made_up(rng, size).astype(np.float16) for size in sizes])
    queries = made_up(np.random.default_rng(9), _QUERIES)
    exact = Scanner(vectors).search(queries, K)[1]
    partitions = round(asked.rows**0.5)
    same: dict[str, Any] = {
        "distance_type": "cosine", "num_partitions": partitions, "max_iterations": 20, "sample_rate": 64,
    }  # fmt: skip
    kinds = {"pq": IvfPq(num_sub_vectors=D // 8, **same), "rq": IvfRq(**same)}
    found = {
        name: measured(vectors, queries, exact, settings, asked.probes, asked.refine)
        for name, settings in kinds.items()
        if asked.only in (None, name)
    }
    print(json.dumps({"rows": asked.rows, "partitions": partitions, **found, "machine": processor_name()}))


def measured(
    vectors: np.ndarray, queries: np.ndarray, exact: np.ndarray, settings: Any, probes: list[int], refine: list[int]
) -> dict[str, Any]:
    """What one kind takes to build, and what it finds how soon."""
    with tempfile.TemporaryDirectory() as folder:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), D)
        table = lancedb.connect(folder).create_table(
            "made_up", pa.table({"id": np.arange(len(vectors)), "vector": flat})
        )
        before = size_of(Path(folder))
        began = time.perf_counter()
        table.create_index("vector", config=settings)
        building = time.perf_counter() - began
        results = []
        for cells in probes:
            for candidates in refine:
                times, hits = [], 0
                for query, wanted in zip(queries, exact, strict=True):
                    began = time.perf_counter()
                    search = table.search(query).distance_type("cosine").nprobes(cells).refine_factor(candidates)
                    ids = search.limit(K).select(["id", "_distance"]).to_arrow()["id"].to_pylist()
                    times.append(time.perf_counter() - began)
                    hits += len(set(ids) & set(wanted.tolist()))
                recall, milliseconds = hits / exact.size, 1e3 * statistics.median(times)
                results.append(
                    {"probes": cells, "refine": candidates, "recall_at_10": recall, "ms": round(milliseconds, 1)}
                )
                print(type(settings).__name__, results[-1])
        bytes_a_row = (size_of(Path(folder)) - before) / len(vectors)
        return {"build_s": round(building, 1), "bytes_a_row": round(bytes_a_row, 1), "searches": results}


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
