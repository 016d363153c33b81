"""Exact search: one pass over the codes of all vectors finds the few rows that can be nearest, and ranks these.

The codes bound every score from both sides (`raclap.archive.quantised`). Let L be the k-th greatest lower bound: k
rows have at least this score, so a row whose upper bound is less cannot be among the k nearest. All others are
candidates, and are ranked by their stored vectors in double precision. The order is that of the cosines of the stored
vectors, equal ones by position; what is approximate is only how many candidates there are.

A few queries go one by one over 8-bit integers, which is as fast as memory is read. Many go together through products
of matrices (`raclap.archive.sifting`).

Memory: N·(D + 8) bytes for the codes and 24·N for a query; vectors are read from the store as they are needed. Many
queries take 2 MB for products and up to 50 MB for candidates.

Shapes: N rows, D dimensions, Q queries, P pairs of a query and a candidate.
"""

import itertools

import numpy as np

from raclap.archive import kernels
from raclap.archive.facts import ArchiveError
from raclap.archive.quantised import HeldVectors, QuantisedVectors, StoredVectors
from raclap.archive.sifting import Pairs, sift
from raclap.archive.threads import in_threads, shares

_TOGETHER = 8  # queries from which on matrices are multiplied
_GROUP = 1024  # queries of one product
_FETCHED = 16_384  # vectors that are read at a time


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
        sieve = sift(self._codes, units, k, rows)
        fine = sieve.complete
        scores, places = np.empty((len(units), k), np.float32), np.empty((len(units), k), np.int64)
        pairs = sieve.pairs()
        renumbered = np.cumsum(fine) - 1
        scores[fine], places[fine] = rank(self._stored, units[fine], Pairs(renumbered[pairs.queries], pairs.rows), k)
        for query in np.flatnonzero(~fine):
            scores[query], places[query] = self._one_by_one(units[query : query + 1], k, rows)
        return scores, places


def rank(stored: StoredVectors, units: np.ndarray, pairs: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks candidates by the cosines of their stored vectors.

    Args:
        stored: where these are.
        units: (Q, D) float64, queries of unit length.
        pairs: at least k of each query, by query and position.
        k: rows wanted.

    Returns:
        Cosines (Q, k) float32 and positions (Q, k) int64.
    """
    cosines = (
        _cosines_of_held(stored, units, pairs) if isinstance(stored, HeldVectors) else _read(stored, units, pairs)
    )
    starts = np.searchsorted(pairs.queries, np.arange(len(units) + 1))
    chosen = np.empty((len(units), k), np.int64)

    def part(q: slice) -> None:
        kernels.nearest_first(starts[q.start : q.stop + 1], cosines, chosen[q])

    in_threads(part, len(units), shares(len(units)))
    return cosines[chosen].astype(np.float32), pairs.rows[chosen]


def _cosines_of_held(held: HeldVectors, units: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Of pairs: (P,) float64."""
    cosines = np.empty(len(pairs.rows), np.float64)
    bits = held.vectors.view(np.uint16)

    def part(p: slice) -> None:
        kernels.cosines(units, bits, pairs.queries[p], pairs.rows[p], cosines[p])

    in_threads(part, len(cosines))
    return cosines


def _read(stored: StoredVectors, units: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Cosines of pairs, (P,) float64; each vector is read once, however many queries it may answer."""
    cosines = np.empty(len(pairs.rows), np.float64)
    wanted, place = np.unique(pairs.rows, return_inverse=True)
    by_place = np.argsort(place, kind="stable")
    begins = np.searchsorted(place[by_place], np.arange(0, len(wanted) + _FETCHED, _FETCHED))
    for first, (begin, end) in zip(range(0, len(wanted), _FETCHED), itertools.pairwise(begins), strict=True):
        held = HeldVectors(stored.vectors_of(wanted[first : first + _FETCHED]))
        taken = by_place[begin:end]
        cosines[taken] = _cosines_of_held(held, units, Pairs(pairs.queries[taken], place[taken] - first))
    return cosines


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
