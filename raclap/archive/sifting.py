"""Candidates of many queries at once: products of matrices of whole numbers, and a sieve over what they bound.

Both queries and rows are codes of 8-bit integers (`raclap.archive.quantised`), whose products are exact: in integers
where the processor multiplies these (AVX-512 VNNI, four times as many a cycle as in single precision), elsewhere in
single precision, which holds whole numbers up to 2²⁴. That queries are rounded to 8 bits lets more rows pass than
must; a second look at these few, with queries 16 times finer, puts it right.

Shapes: N rows, D dimensions, Q queries, K wanted rows, P pairs of a query and a candidate.
"""

from typing import NamedTuple, Self

import numpy as np
import torch

from raclap.archive import kernels
from raclap.archive.quantised import QuantisedVectors
from raclap.archive.threads import in_threads, shares

_BLOCK = 512  # rows of one product, which stays in the cache of a core
_CANDIDATES = 4096  # of a query, and four for each wanted row; with more it goes alone
_FLOAT32_WHOLE = 2**24  # up to which single precision holds every whole number


class Pairs(NamedTuple):
    """Candidates of several queries.

    Attributes:
        queries: (P,) int64.
        rows: (P,) int64, positions.
    """

    queries: np.ndarray
    rows: np.ndarray


class Sieve(NamedTuple):
    """What is left of all rows, for several queries.

    Attributes:
        best: (Q, K) float32, heaps of the greatest lower bounds: the least of them first.
        counts: (Q,) int64, candidates; more than there is room for means that some are missing.
        found: (Q, room) int64, positions of candidates.
        upper: (Q, room) float32, their upper bounds.
    """

    best: np.ndarray
    counts: np.ndarray
    found: np.ndarray
    upper: np.ndarray

    @classmethod
    def empty(cls, queries: int, k: int) -> Self:
        """Before any row."""
        room = (queries, _CANDIDATES + 4 * k)
        best = np.full((queries, k), -np.inf, np.float32)
        return cls(best, np.zeros(queries, np.int64), np.empty(room, np.int64), np.empty(room, np.float32))

    def part(self, queries: slice) -> Self:
        """Of some queries; what is written there is written here."""
        return type(self)(*(values[queries] for values in self))

    @property
    def complete(self) -> np.ndarray:
        """Which queries have all their candidates here: (Q,) bool."""
        return self.counts <= self.found.shape[1]

    def pairs(self) -> Pairs:
        """Candidates of the queries that have all of them."""
        counts = np.where(self.complete, self.counts, 0)
        held = np.arange(counts.max(initial=0)) < counts[:, None]
        return Pairs(np.repeat(np.arange(len(counts)), counts), self.found[:, : held.shape[1]][held])


def sift(codes: QuantisedVectors, units: np.ndarray, k: int, rows: np.ndarray | None) -> Sieve:
    """The rows that can be among the nearest of each query.

    Args:
        codes: of all rows.
        units: (Q, D) float64, queries of unit length.
        k: rows wanted.
        rows: positions to choose from, ascending; None: all.
    """
    sieve = Sieve.empty(len(units), k)

    def part(q: slice) -> None:
        _sift_products(codes, units[q], rows, sieve.part(q))
        finer = codes.of_queries(units[q], kernels.MAX_QUERY_CODE)
        kernels.refine(codes.codes, codes.scales, codes.errors, *finer, *sieve.part(q))

    in_threads(part, len(units), shares(len(units)))
    return sieve


def _sift_products(codes: QuantisedVectors, units: np.ndarray, rows: np.ndarray | None, sieve: Sieve) -> None:
    """Goes through all rows, block by block."""
    of = codes.of_queries(units, kernels.MAX_CODE, sums_up_to=_FLOAT32_WHOLE)
    of_queries = [values.astype(np.float32) for values in of[1:]]
    size = len(codes.codes) if rows is None else len(rows)
    products = _Products(of.codes, min(_BLOCK, size))
    for first in range(0, size, _BLOCK):
        block = slice(first, min(first + _BLOCK, size))
        taken = block if rows is None else rows[block]
        positions = np.arange(block.start, block.stop) if rows is None else taken
        of_rows = (codes.scales[taken], codes.errors[taken], positions)
        kernels.sift(products.of(codes.codes[taken]), *of_rows, *of_queries, *sieve)


class _Products:
    """Products of the codes of queries with those of blocks of rows, in memory that is used again.

    Fresh memory for every block takes longer than the products themselves.
    """

    def __init__(self, queries: np.ndarray, rows: int) -> None:
        """Takes (Q, D) codes of 8 bits, and makes room for so many rows at a time."""
        self._integers = _multiplies_integers()
        self._queries = torch.from_numpy(queries).to(torch.int8 if self._integers else torch.float32)
        self._room = torch.empty(len(queries) * rows, dtype=torch.int32 if self._integers else torch.float32)

    def of(self, codes: np.ndarray) -> np.ndarray:
        """With (rows, D) int8: (Q, rows), valid until the next call."""
        out = self._room[: len(self._queries) * len(codes)].view(len(self._queries), len(codes))
        rows = torch.from_numpy(codes).to(self._queries.dtype).T
        multiply = torch._int_mm if self._integers else torch.mm
        return multiply(self._queries, rows, out=out).numpy()


def _multiplies_integers() -> bool:
    """Whether torch has products of 8-bit integers, and the processor instructions for them."""
    native = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return native and hasattr(torch, "_int_mm") and torch.backends.mkldnn.is_available()
