"""Exact search: one pass over the codes of all vectors finds the few rows that can be nearest, and ranks these.

The codes bound every score from both sides (`raclap.archive.quantised`). Let L be the k-th greatest lower bound: k
rows have at least this score, so a row whose upper bound is less cannot be among the k nearest. All others are
candidates, and are ranked by their stored vectors in double precision. The order is that of the cosines of the stored
vectors, equal ones by position; what is approximate is only how many candidates there are.

A few queries go one by one over 8-bit integers, which is as fast as memory is read. Many go together through products
of matrices, in bfloat16 where the processor multiplies it, with the rounding of these in the bounds.

Memory: N·(D + 8) bytes for the codes and 24·N for a query; vectors are read from the store as they are needed. Many
queries take 32 MB for products and up to 100 MB for candidates.

Shapes: N rows, D dimensions, Q queries, P pairs of a query and a candidate.
"""

from typing import NamedTuple

import numpy as np
import torch

from raclap.archive import kernels
from raclap.archive.facts import ArchiveError
from raclap.archive.quantised import HeldVectors, QuantisedVectors, StoredVectors, in_threads

_TOGETHER = 8  # queries from which on matrices are multiplied
_GROUP = 1024  # queries of one product
_BLOCK = 8192  # rows of one product
_CANDIDATES = 4096  # of a query in a group, and four for each wanted row; with more it goes alone
_FETCHED = 16_384  # vectors that are read at a time
_SLACK = 1e-6  # rounding of bounds that are kept in single precision
_BFLOAT16 = 2.0**-8  # of a product that is rounded to bfloat16, relative


class Pairs(NamedTuple):
    """Candidates of several queries.

    Attributes:
        queries: (P,) int64.
        rows: (P,) int64, positions.
    """

    queries: np.ndarray
    rows: np.ndarray


class Sifted(NamedTuple):
    """What a pass over codes leaves of all rows, for several queries.

    Attributes:
        best: (Q, K) float32, the greatest lower bounds, least first.
        counts: (Q,) int64, candidates; more than there is room for means that some are missing.
        rows: (Q, room) int64, their places among the rows that were gone through.
        upper: (Q, room) float32, their upper bounds.
    """

    best: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    upper: np.ndarray

    @classmethod
    def nothing(cls, queries: int, k: int) -> "Sifted":
        """Before any row."""
        room = (queries, _CANDIDATES + 4 * k)
        best = np.full((queries, k), -np.inf, np.float32)
        return cls(best, np.zeros(queries, np.int64), np.empty(room, np.int64), np.empty(room, np.float32))


class Scanner:
    """Exact nearest vectors by cosine, from codes in memory and the stored vectors of candidates."""

    def __init__(self, vectors: np.ndarray | StoredVectors) -> None:
        """Reads all vectors once, and compiles what numba has not yet compiled.

        Args:
            vectors: (N, D) float16, which stay in memory, or where they are read from.
        """
        self._stored = HeldVectors(vectors) if isinstance(vectors, np.ndarray) else vectors
        self._codes = QuantisedVectors.of(self._stored)
        if self._stored.windows:
            axis = np.eye(1, self._stored.dimensions, dtype=np.float32)
            first = np.zeros(1, np.int64)
            self.search(axis, 1, first)
            self.search(np.repeat(axis, _TOGETHER, 0), 1, first)

    def search(self, queries: np.ndarray, k: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The rows nearest to each query by cosine, best first, equal ones by position.

        Args:
            queries: (Q, D) float32, of any length but zero.
            k: rows wanted.
            among: positions of the rows to choose from; None: all.

        Returns:
            Cosines (Q, K) float32 and positions (Q, K) int64, K being k or the number of rows, where that is less.

        Raises:
            ArchiveError: a query is zero, not finite, or has other than D dimensions.
        """
        units = unit_queries(queries, self._stored.dimensions)
        rows = None if among is None else _ascending(among)
        size = self._stored.windows if rows is None else len(rows)
        k = min(k, size)
        if not k or not len(units):
            return np.empty((len(units), k), np.float32), np.empty((len(units), k), np.int64)
        found = [
            self._together(units[first : first + _GROUP], k, rows)
            if len(units) >= _TOGETHER
            else self._one_by_one(units[first : first + _GROUP], k, rows)
            for first in range(0, len(units), _GROUP)
        ]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _one_by_one(self, units: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Ranks the candidates of each query alone."""
        found = []
        for unit in units:
            candidates = self._candidates(unit, k, rows)
            found.append(rank(self._stored, unit[None], Pairs(np.zeros_like(candidates), candidates), k))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _candidates(self, unit: np.ndarray, k: int, rows: np.ndarray | None) -> np.ndarray:
        """Positions of the rows that can be among the nearest of one query, ascending: (P,) int64."""
        scores, errors = self._codes.coarse(unit, rows)
        least = _greatest(scores - errors, k)
        places = np.flatnonzero(scores + errors >= least)
        return places if rows is None else rows[places]

    def _together(self, units: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Ranks the candidates of all queries at once; one that has too many of them goes alone."""
        sifted = sift_products(self._codes, units, k, rows)
        fine = np.flatnonzero(sifted.counts <= sifted.rows.shape[1])
        held = np.arange(sifted.rows.shape[1]) < sifted.counts[fine, None]
        numbers, columns = np.nonzero(held & (sifted.upper[fine] >= sifted.best[fine, :1]))
        found = sifted.rows[fine[numbers], columns]
        scores, places = np.empty((len(units), k), np.float32), np.empty((len(units), k), np.int64)
        pairs = Pairs(numbers, found if rows is None else rows[found])
        scores[fine], places[fine] = rank(self._stored, units[fine], pairs, k)
        for query in np.setdiff1d(np.arange(len(units)), fine):
            scores[query], places[query] = self._one_by_one(units[query : query + 1], k, rows)
        return scores, places


def sift_products(codes: QuantisedVectors, units: np.ndarray, k: int, rows: np.ndarray | None) -> Sifted:
    """Candidates of many queries by products of matrices, whose rounding is part of the bounds.

    Components of codes are exact in bfloat16, those of queries are rounded before anything else. A sum of D products
    in single precision is off by at most D·2⁻²³ of the product of the lengths, in whatever order it is taken.

    Args:
        codes: of all rows.
        units: (Q, D) float64, queries of unit length.
        k: rows wanted.
        rows: positions to choose from; None: all.
    """
    rounded = torch.from_numpy(units).to(torch.bfloat16)
    exact = rounded.double().numpy()
    summing = (units.shape[1] + 2) * 2.0**-23 * np.linalg.norm(exact, axis=1)
    slacks = (np.linalg.norm(units - exact, axis=1) + summing) * codes.longest * (1 + 1e-6) + _SLACK
    offsets = units @ codes.mean
    kind = _product_type()
    weights, rounding = rounded.to(kind), _BFLOAT16 if kind is torch.bfloat16 else 0.0
    sifted = Sifted.nothing(len(units), k)
    size = len(codes.codes) if rows is None else len(rows)
    for first in range(0, size, _BLOCK):
        block = slice(first, min(first + _BLOCK, size))
        taken = block if rows is None else rows[block]
        products = (weights @ torch.from_numpy(codes.codes[taken]).to(kind).T).float().numpy()
        of_rows = (codes.scales[taken], codes.errors[taken])

        def part(q: slice, products=products, of_rows=of_rows, first=first) -> None:
            of_queries = (offsets[q], slacks[q], rounding)
            kernels.sift(products[q], *of_rows, *of_queries, first, *(written[q] for written in sifted))

        in_threads(part, len(units), chunk=-(-len(units) // torch.get_num_threads()))
    return sifted


def rank(stored: StoredVectors, units: np.ndarray, pairs: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks candidates by the cosines of their stored vectors.

    Args:
        stored: where these are.
        units: (Q, D) float64, queries of unit length.
        pairs: at least k of each query.
        k: rows wanted.

    Returns:
        Cosines (Q, k) float32 and positions (Q, k) int64.
    """
    wanted, place = np.unique(pairs.rows, return_inverse=True)
    order = np.argsort(place, kind="stable")
    queries, place = pairs.queries[order], place[order]
    cosines = np.empty(len(order), np.float64)
    for first in range(0, len(wanted), _FETCHED):
        vectors = stored.vectors_of(wanted[first : first + _FETCHED]).astype(np.float32)
        begin, end = np.searchsorted(place, (first, first + len(vectors)))

        def part(chunk: slice, begin=begin, end=end, first=first, vectors=vectors) -> None:
            of = slice(begin + chunk.start, begin + chunk.stop)
            kernels.cosines(units, vectors, queries[of], place[of] - first, cosines[of])

        in_threads(part, end - begin)
    best = np.lexsort((place, -cosines, queries))
    starts = np.searchsorted(queries[best], np.arange(len(units)))
    chosen = best[starts[:, None] + np.arange(k)]
    return cosines[chosen].astype(np.float32), wanted[place[chosen]]


def unit_queries(queries: np.ndarray, dimensions: int) -> np.ndarray:
    """Queries at unit length: (Q, D) float64.

    Raises:
        ArchiveError: one is zero, not finite, or has other than D dimensions.
    """
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise ArchiveError(f"queries have the shape {queries.shape}, and the index holds {dimensions} dimensions")
    exact = queries.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        number = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)).ravel())[0])
        raise ArchiveError(f"query {number} is zero or not finite, and points nowhere")
    return exact / lengths


def _ascending(positions: np.ndarray) -> np.ndarray:
    """Positions without repetition, in order: (rows,) int64."""
    positions = np.asarray(positions, np.int64)
    return positions if (np.diff(positions) > 0).all() else np.unique(positions)


def _greatest(values: np.ndarray, k: int) -> np.float32:
    """The k-th greatest."""
    return np.partition(values, len(values) - k)[len(values) - k]


def _product_type() -> torch.dtype:
    """What matrices are multiplied in: bfloat16 where the processor has instructions for it."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native and torch.backends.mkldnn.is_available() else torch.float32
