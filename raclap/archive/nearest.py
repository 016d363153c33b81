"""Which search an index is asked by: exact up to a million windows, above that LanceDB's IVF-RQ where it was built.

IVF-RQ (an inverted file of cells, and in each of them codes of one bit a dimension) reads the cells nearest to a
query, a fraction of the index, and ranks what it finds there again by the stored vectors. What it misses is measured
when it is built: its recall stands in `index.json`. Who cannot miss anything asks for `exact=True`, which reads all
vectors once and keeps their codes. Product quantisation (IVF-PQ) of as many bytes finds less, and takes many times as
long to build (docs/scale.md).

Sources: Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", 2011 (the inverted file); Gao and
Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor
Search", 2024 (the codes).

Shapes: N rows, D dimensions, Q queries, K wanted rows.
"""

import math
from functools import cached_property

import numpy as np

from raclap.archive.facts import ApproximateFacts, ArchiveError
from raclap.archive.quantised import HeldVectors, StoredVectors
from raclap.archive.scan import Pairs, Scanner, rank, unit_queries
from raclap.archive.store import ArchiveIndex

EXACT_UP_TO = 1_000_000  # windows
_HELD_BYTES = 256 << 20  # of vectors that stay in memory beside their codes: candidates need not be read again
_READ = 65_536  # windows that a filter leaves, up to which they are read instead of all codes
_RECALL_OF, _RECALL_AT = 200, 10
_REFINE = 100  # candidates a wanted row: what one bit a dimension confuses, stored vectors tell apart
_PROBES = 64  # cells that a query reads, however many there are
_GROWTH = 0.1  # share of the windows by which an index may grow or shrink before its cells are made anew
_A_PARTITION = 256  # windows that LanceDB trains a cell on, at least


class Nearest:
    """Nearest windows of an index, as it was opened."""

    def __init__(self, index: ArchiveIndex, exact_up_to: int = EXACT_UP_TO) -> None:
        """Reads nothing yet.

        Args:
            index: open.
            exact_up_to: windows above which an approximate search is used, where the index has one.
        """
        self._index = index
        self.approximate = index.facts.approximate if index.windows > exact_up_to else None

    def search(
        self, queries: np.ndarray, k: int, among: np.ndarray | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The windows nearest to each query by cosine, best first.

        A search among some rows is always exact.

        Args:
            queries: (Q, D) float32, of any length but zero.
            k: rows wanted.
            among: positions of the rows to choose from (`ArchiveIndex.where`); None: all.
            exact: whether nothing may be missed.

        Returns:
            Cosines (Q, K) float32 and positions (Q, K) int64, K being k or the number of rows, where that is less.

        Raises:
            ArchiveError: a query is zero, not finite, or has other than D dimensions.
        """
        if self.approximate is None or exact:
            return self._scanner.search(queries, k, among)
        if among is None:
            return self._approximately(queries, k, self.approximate)
        if len(among) > _READ:
            return self._scanner.search(queries, k, among)
        units = unit_queries(queries, self._index.dimensions)
        pairs = Pairs(np.repeat(np.arange(len(units)), len(among)), np.tile(np.asarray(among, np.int64), len(units)))
        return rank(self._index, units, pairs, min(k, len(among)))

    @cached_property
    def _scanner(self) -> Scanner:
        """The codes of the whole index."""
        index = self._index
        few = 2 * index.windows * index.dimensions <= _HELD_BYTES
        stored: StoredVectors = HeldVectors(index.vectors()) if few else index
        return Scanner(stored)

    def _approximately(self, queries: np.ndarray, k: int, how: ApproximateFacts) -> tuple[np.ndarray, np.ndarray]:
        """What LanceDB finds, with the exact cosines of it."""
        index = self._index
        k = min(k, index.windows)
        units = unit_queries(queries, index.dimensions)
        scores, rows = np.empty((len(units), k), np.float32), np.empty((len(units), k), np.int64)
        for number, unit in enumerate(units):
            found = index.approximately_nearest(unit.astype(np.float32), k, how.probes, how.refine_factor)
            if len(found) < k:  # the cells that were read hold fewer
                scores[number], rows[number] = (part[0] for part in self._scanner.search(queries[number][None], k))
            else:
                pairs = Pairs(np.zeros(k, np.int64), np.sort(found))
                scores[number], rows[number] = (part[0] for part in rank(index, unit[None], pairs, k))
        return scores, rows


def approximate_is_due(index: ArchiveIndex) -> bool:
    """Whether an index is large enough for an approximate search, and has none or one that was made for another size.

    Windows that come later are put in the cells that there are.
    """
    if index.windows <= EXACT_UP_TO or not index.can_be_approximate:
        return False
    built = index.facts.approximate
    return built is None or abs(index.windows - built.rows) > _GROWTH * built.rows


def build_approximate(
    index: ArchiveIndex, probes: int | None = None, refine_factor: int = _REFINE
) -> ApproximateFacts:
    """Builds IVF-RQ over all vectors, measures what it misses, and writes both into the index.

    The queries are stored vectors, evenly spread; the recall of texts, which lie apart from all audio, can differ.

    Args:
        index: open, and held by `writing` where others could write.
        probes: cells that a query reads; None: 64, or all.
        refine_factor: candidates a wanted row that are ranked again by their stored vectors.

    Returns:
        What is now in `index.facts`.

    Raises:
        ArchiveError: there are too few windows, or the index cannot be written.
    """
    partitions = max(1, min(round(math.sqrt(index.windows)), index.windows // _A_PARTITION))
    probes = min(_PROBES, partitions) if probes is None else probes
    index.build_ivf_rq(partitions)
    spread = np.unique(np.linspace(0, index.windows - 1, min(index.windows, _RECALL_OF)).astype(np.int64))
    queries = index.vectors_of(spread).astype(np.float32)
    queries = queries[np.any(queries, axis=1)]
    if not len(queries):
        raise ArchiveError(f"{index.path}: all vectors are zero")
    built = ApproximateFacts(index.windows, partitions, probes, refine_factor, 1.0, len(queries))
    recall = _recall(index, queries, built)
    measured = ApproximateFacts(index.windows, partitions, probes, refine_factor, recall, len(queries))
    index.keep_facts(index.facts.with_approximate(measured))
    return measured


def _recall(index: ArchiveIndex, queries: np.ndarray, built: ApproximateFacts) -> float:
    """Share of the exact nearest that an approximate search finds; one of equal score is as good."""
    nearest = Nearest(index)
    found, _ = nearest._approximately(queries, _RECALL_AT, built)
    exact, _ = nearest._scanner.search(queries, _RECALL_AT)
    return float((found >= exact[:, -1:]).mean())
