"""All vectors of an index at one byte a component, with a bound on how far any score from them can be off.

A stored vector x has the direction y = x / ‖x‖, and y − m = s·c + e for a mean direction m, a scale s, a code c of
8-bit integers, and a remainder e whose length r is stored. A query of unit length t has the code t ≈ u·b with the
remainder d. Then

    |t·y − (t·m + u·s·(b·c))|  ≤  |t·e| + |d·(s·c)|  ≤  r + ‖d‖·max ‖s·c‖

by Cauchy and Schwarz, and b·c is a sum of integers, exact. To this comes the rounding of the few operations that are
no integers, which is covered generously. Taking the mean away makes r smaller where all vectors point one way.

Shapes: N rows, D dimensions, Q queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np

from raclap.archive import kernels
from raclap.archive.threads import in_threads

_SAMPLE = 4096  # rows that the mean direction is taken of
_ROUNDING = 4e-6  # of a score in single precision: a few operations on magnitudes of at most 4
_INT32 = 2**31 - 1
_READ = 16_384  # rows of a block
_IN_CACHE = 512  # rows in single precision that the cache of a core holds


class StoredVectors(Protocol):
    """Where exact vectors are read from: `raclap.archive.store.ArchiveIndex`, or `HeldVectors`."""

    @property
    def windows(self) -> int:
        """N."""

    @property
    def dimensions(self) -> int:
        """D."""

    def vector_blocks(self) -> Iterator[np.ndarray]:
        """All in order, some rows at a time: (rows, D) float16."""

    def vectors_of(self, ids: np.ndarray) -> np.ndarray:
        """Those at these positions: (rows, D) float16."""


@dataclass(frozen=True)
class HeldVectors:
    """Vectors that are in memory.

    Attributes:
        vectors: (N, D) float16.
    """

    vectors: np.ndarray

    @property
    def windows(self) -> int:
        """N."""
        return len(self.vectors)

    @property
    def dimensions(self) -> int:
        """D."""
        return self.vectors.shape[1]

    def vector_blocks(self) -> Iterator[np.ndarray]:
        """All in order: (rows, D) float16."""
        for first in range(0, len(self.vectors), _READ):
            yield self.vectors[first : first + _READ]

    def vectors_of(self, ids: np.ndarray) -> np.ndarray:
        """Those at these positions: (rows, D) float16."""
        return self.vectors[ids]


class QueryCodes(NamedTuple):
    """Queries t as whole numbers, so that t·y ≈ u·s·(b·c) + t·m.

    Attributes:
        codes: (Q, D) int16, b.
        steps: (Q,) float64, u.
        offsets: (Q,) float64, t·m.
        slacks: (Q,) float64, at least ‖t − u·b‖·max ‖s·c‖ and what rounding adds.
    """

    codes: np.ndarray
    steps: np.ndarray
    offsets: np.ndarray
    slacks: np.ndarray


@dataclass(frozen=True)
class QuantisedVectors:
    """The codes of all rows: N·(D + 8) bytes.

    Attributes:
        codes: (N, D) int8, c.
        scales: (N,) float32, s.
        errors: (N,) float32, at least r.
        mean: (D,) float64, m.
        longest: the greatest ‖s·c‖.
    """

    codes: np.ndarray
    scales: np.ndarray
    errors: np.ndarray
    mean: np.ndarray
    longest: float

    @classmethod
    def of(cls, stored: StoredVectors) -> Self:
        """Reads all vectors once."""
        size, dimensions = stored.windows, stored.dimensions
        codes = np.empty((size, dimensions), np.int8)
        scales, errors = np.empty(size, np.float32), np.empty(size, np.float32)
        mean = _mean_direction(stored)
        longest, first = 0.0, 0
        for block in stored.vector_blocks():
            rows = slice(first, first + len(block))
            longest = max(longest, _quantise(block, mean, codes[rows], scales[rows], errors[rows]))
            first += len(block)
        return cls(codes, scales, errors, mean, longest)

    def of_queries(self, units: np.ndarray, greatest: int, sums_up_to: int = _INT32) -> QueryCodes:
        """Queries as codes.

        Args:
            units: (Q, D) float64, of unit length.
            greatest: code of a component.
            sums_up_to: what no product with the code of a row may exceed; codes of wide queries are smaller for it.
        """
        levels = min(greatest, sums_up_to // (kernels.MAX_CODE * units.shape[1]))
        steps = np.abs(units).max(axis=1) / levels
        codes = np.rint(units / steps[:, None])
        left_out = np.linalg.norm(units - steps[:, None] * codes, axis=1)
        slacks = left_out * self.longest * (1 + 1e-6) + _ROUNDING
        return QueryCodes(codes.astype(np.int16), steps, units @ self.mean, slacks)

    def coarse(self, query: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores from the codes, and how far each can be off.

        Args:
            query: (D,) float64, of unit length.
            rows: positions; None: all.

        Returns:
            Both (rows,) float32.
        """
        (code,), (step,), (offset,), (slack,) = self.of_queries(query[None], kernels.MAX_QUERY_CODE)
        size = len(self.codes) if rows is None else len(rows)
        scores = np.empty(size, np.float32)

        def part(chunk: slice) -> None:
            taken = chunk if rows is None else rows[chunk]
            kernels.coarse_scores(self.codes[taken], self.scales[taken], code, step, offset, scores[chunk])

        in_threads(part, size)
        errors = self.errors if rows is None else self.errors[rows]
        return scores, errors + np.float32(slack)


def _mean_direction(stored: StoredVectors) -> np.ndarray:
    """Of evenly spread rows: (D,) float64. Any would be right; this makes the errors small."""
    if not stored.windows:
        return np.zeros(stored.dimensions)
    spread = np.unique(np.linspace(0, stored.windows - 1, min(stored.windows, _SAMPLE)).astype(np.int64))
    sample = stored.vectors_of(spread).astype(np.float64)
    lengths = np.linalg.norm(sample, axis=1, keepdims=True)
    return np.divide(sample, lengths, out=np.zeros_like(sample), where=lengths > 0).mean(axis=0)


def _quantise(
    vectors: np.ndarray, mean: np.ndarray, codes: np.ndarray, scales: np.ndarray, errors: np.ndarray
) -> float:
    """`kernels.quantise` by several threads, so few rows at a time that they stay in the processor's cache."""

    def part(rows: slice) -> float:
        return kernels.quantise(vectors[rows].view(np.uint16), mean, codes[rows], scales[rows], errors[rows])

    return max(in_threads(part, len(vectors), _IN_CACHE), default=0.0)
