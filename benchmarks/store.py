"""Which store an index has: LanceDB beside faiss with a Parquet table. Writes docs/archive_store.md.

    python benchmarks/store.py                                  200,000 windows, some minutes, 1 GB of disk
    python benchmarks/store.py --rows 5000 --kills 1 --output /tmp/archive_store.md

Both hold the same windows. Either is killed while it adds windows, opened again, and asked whether its vectors and its
table agree. faiss comes from `pip install faiss-cpu`. Ends with one line of JSON.
"""

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from search import D, K, made_up, recall, table

from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts
from raclap.archive.quantised import HeldVectors
from raclap.archive.scan import Scanner
from raclap.archive.store import ArchiveIndex
from raclap.provenance import processor_name

PAGE = Path(__file__).parents[1] / "docs" / "archive_store.md"
FILTER = "sex = 'female' and duration > 3"
ADDED, COMMITS, ASKED = 1_000, 10, 20
TEMPLATE = """# The store of an index

<!-- Written by benchmarks/store.py; change it there. -->

`raclap index` keeps windows in a LanceDB table, and `raclap search` scans the vectors of it by itself. What this was
chosen by, on {rows:,} windows of {dimensions} dimensions:

{figures}

*Added*: {added:,} windows to an index that holds the others. *Killed*: SIGKILL at random moments of adding, then
opened; whole is where table and vectors agree and hold whole recordings only. Recall is counted against products in
double precision, of {asked} queries. faiss and Parquet are two files that are written as wholes: what is added costs
writing everything again, and a kill between the two would leave them apart. LanceDB adds what is new in one commit.
Its own flat search is exact, too, but reads all vectors for every query; the scan reads them once, when it is opened.

## How search is exact

Vectors are read once, into 8-bit integers: D + 8 bytes each. What is lost by that is known of every vector, so every
score from the integers lies within a bound of the true one. Whatever could be among the nearest by these bounds is
ranked by the stored vectors in double precision. The result is the order of the stored half-precision vectors, always;
what varies is only how many candidates there are (some dozens of a million). The proof is in
`raclap/archive/quantised.py`, and the tests hold it against vectors that are made to mislead it.
`benchmarks/search.py` measures a million windows and a batch beside faiss.

## Above a million windows

`raclap.archive.nearest.build_approximate` builds LanceDB's IVF-RQ; its recall at 10 is measured against the exact scan
and written to `index.json`. Search uses it above a million windows, unless `exact=True` or a filter is given: these
are always exact. Windows that are added later are found, too.

## Writing, and what can go wrong

A commit holds whole recordings. LanceDB makes a version of its table at every step; readers open the one that bears
the tag `whole`, which is moved when all steps of a commit are done. So a recording that has changed is renewed in one
commit, a killed writer leaves the last commit and at most files that no version refers to, which LanceDB deletes when
they are a week old, and a full disk, a limit on files and a read-only file system end in one sentence, with the index
as before. Compaction merges small files and deletes former versions: who had one open is told to open the index
again. Several processes can commit at once, one waits for the other; one indexer at a time holds `.lock`.

An index can lie in object storage: addresses such as `s3://bucket/index` go to LanceDB and to pyarrow as they are,
credentials come from the environment. There are no locks and no tag there: one indexer at a time is the user's to see
to, and a writer that is killed while it renews recordings leaves them out until the next run. The tests hold that
addresses arrive there, and write and read an index by a `file://` address; by hand, `raclap index`, `search` and
`classify`, and three processes that renew recordings at the same time, were tried on moto 5.2, which stands in for S3.
No real object storage was tested.

## How this page was made

`{command}`, {date}, {machine}, LanceDB {lancedb}, faiss {faiss}, {threads} thread(s).
"""


def main() -> None:
    """Measures both, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="windows, a multiple of 100")
    parser.add_argument("--kills", type=int, default=10, help="of each store")
    parser.add_argument("--threads", type=int, help="of torch, of the scan and of faiss; left out: torch's default")
    parser.add_argument("--output", type=Path, default=PAGE)
    parser.add_argument("--appending", choices=STORES, help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.appending:
        append_for_ever(STORES[asked.appending](asked.at))
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    faiss.omp_set_num_threads(torch.get_num_threads())
    figures = {name: measure(kind, asked.rows, asked.kills) for name, kind in STORES.items()}
    page = TEMPLATE.format(
        rows=asked.rows, dimensions=D, figures=markdown(figures), added=ADDED, asked=ASKED,
        command=" ".join(["python benchmarks/store.py", *sys.argv[1:]]), date=time.strftime("%Y-%m-%d"),
        machine=processor_name(), lancedb=lancedb.__version__, faiss=faiss.__version__,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    asked.output.write_text(page, encoding="utf-8")
    print(json.dumps(figures))


class LanceStore:
    """As `raclap` has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = IndexFacts(ModelFacts("random", {}, D, 16_000), 10.0, 5.0)
        self.index = ArchiveIndex.open(path) if path.exists() else ArchiveIndex.create(path, facts)

    def add(self, rows: pa.Table) -> None:
        """In one commit."""
        self.index.append(rows)

    def searches(self) -> dict[str, Callable[[np.ndarray, bool], np.ndarray]]:
        """By what vectors are searched: query and whether to filter, to positions."""
        scanner = Scanner(self.index)

        def scan(query: np.ndarray, filtered: bool) -> np.ndarray:
            return scanner.search(query, K, self.index.where(FILTER) if filtered else None)[1][0]

        def flat(query: np.ndarray, filtered: bool) -> np.ndarray:
            search = self.index._table.search(query[0], vector_column_name="vector").distance_type("cosine").limit(K)
            found = (search.where(FILTER) if filtered else search).select(["_distance"]).with_row_id(True).to_arrow()
            return self.index._positions(found["_rowid"].to_numpy())

        return {"scan": scan, "LanceDB's flat search": flat}

    def whole(self) -> bool:
        """Whether only whole recordings are there."""
        return sum(self.index.recordings()["windows"].to_pylist()) == len(self.index.vectors())


class FaissStore:
    """A flat faiss index in half precision, and a Parquet table beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.vectors, self.table = (
            faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT),
            None,
        )
        if path.exists():
            self.vectors = faiss.read_index(str(path / "vectors.faiss"))
            self.table = pq.read_table(path / "table.parquet")
        path.mkdir(exist_ok=True)

    def add(self, rows: pa.Table) -> None:
        """Both files are written beside and renamed, one after the other."""
        added = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, D)
        if not self.vectors.is_trained:
            self.vectors.train(added.astype(np.float32))
        self.vectors.add(added.astype(np.float32))
        rows = rows.drop(["vector"])
        self.table = rows if self.table is None else pa.concat_tables([self.table, rows])
        faiss.write_index(self.vectors, str(self.path / "beside.faiss"))
        (self.path / "beside.faiss").replace(self.path / "vectors.faiss")
        pq.write_table(self.table, self.path / "beside.parquet")
        (self.path / "beside.parquet").replace(self.path / "table.parquet")

    def searches(self) -> dict[str, Callable[[np.ndarray, bool], np.ndarray]]:
        """By what vectors are searched: query and whether to filter, to positions."""

        def flat(query: np.ndarray, filtered: bool) -> np.ndarray:
            if not filtered:
                return self.vectors.search(query, K)[1][0]
            holds = pc.and_(pc.equal(self.table["sex"], "female"), pc.greater(self.table["duration"], 3))
            among = np.flatnonzero(holds.to_numpy())
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(among))
            return self.vectors.search(query, K, params=chosen)[1][0]

        return {"faiss, flat": flat}

    def whole(self) -> bool:
        """Whether table and vectors agree."""
        return self.vectors.ntotal == len(self.table)


STORES = {"LanceDB": LanceStore, "faiss + Parquet": FaissStore}


def measure(kind: type, size: int, kills: int) -> dict[str, float | str]:
    """All figures of one store."""
    vectors, queries = made_up(np.random.default_rng(1), size), made_up(np.random.default_rng(3), ASKED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        made = kind(path)
        parts = [table(first, vectors[first : first + size // COMMITS]) for first in range(0, size, size // COMMITS)]
        written = seconds(lambda: [made.add(part) for part in parts])
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        figures = {"written in 10 commits, s": round(written, 2), "size, MB": round(used / 1e6)}
        found = {}
        opened = seconds(lambda: found.update(kind(path).searches()))
        figures["opened for search, s"] = round(opened, 2)
        stored = HeldVectors(vectors.astype(np.float16))
        for name, search in found.items():
            for filtered, what in ((False, "a query"), (True, "with a filter")):
                figures[f"{name}: {what}, ms"] = round(median_ms(search, queries, filtered), 1)
            rows = np.stack([search(query[None], False) for query in queries])
            figures[f"{name}: recall at 10"] = round(recall(stored, queries, rows), 4)
        figures["added, s"] = round(seconds(lambda: made.add(table(size, vectors[:ADDED]))), 2)
        figures["killed, opened and whole"] = f"{survived(kind, path, kills)} of {kills}"
    return figures


def survived(kind: type, path: Path, kills: int) -> int:
    """How often a store opens, and is whole, that was killed while it added; each time it is a copy of the first."""
    name, good, moments = next(name for name, known in STORES.items() if known is kind), 0, random.Random(0)
    for _ in range(kills):
        copy = path.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        command = [sys.executable, __file__, "--appending", name, "--at", str(copy)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            writer.stdout.readline()
            time.sleep(moments.uniform(0.0, 1.0))
            writer.send_signal(signal.SIGKILL)
        try:
            good += kind(copy).whole()
        except (ArchiveError, RuntimeError, OSError, pa.ArrowException):
            continue
    return good


def append_for_ever(store: LanceStore | FaissStore) -> None:
    """Adds until it is killed."""
    vectors = made_up(np.random.default_rng(4), ADDED)
    first = 10**7 + random.SystemRandom().randrange(10**6) * ADDED
    print("adding", flush=True)
    while True:
        store.add(table(first, vectors))
        first += ADDED


def median_ms(search: Callable[[np.ndarray, bool], np.ndarray], queries: np.ndarray, filtered: bool) -> float:
    """Of queries one by one; the first does not count."""
    times = [seconds(partial(search, query[None], filtered)) for query in queries]
    return 1e3 * statistics.median(times[1:])


def seconds(call: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def markdown(figures: dict[str, dict[str, float | str]]) -> str:
    """A row a figure, a column a store."""
    names = list(dict.fromkeys(name for of_store in figures.values() for name in of_store))
    lines = [["", *figures], ["---", *("---:" for _ in figures)]]
    lines += [[name, *(str(of_store.get(name, "")) for of_store in figures.values())] for name in names]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
