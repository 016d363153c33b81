"""All vectors of an index at one byte a component, with a bound on how far any score from them can be off.

A stored vector x has the direction y = x / ‖x‖, and y − m = s·c + e for a mean direction m, a scale s, a code c of
8-bit integers, and a remainder e whose length r is stored. A query of unit length t has the code t ≈ u·b with the
remainder d. Then

    |t·y − (t·m + u·s·(b·c))|  ≤  |t·e| + |d·(s·c)|  ≤  r + ‖d‖·max ‖s·c‖

by Cauchy and Schwarz, and b·c is a sum of integers, exact. To this comes the rounding of the few operations that are
no integers, which is covered generously. Taking the mean away makes r smaller where all vectors point one way.

Shapes: N rows, D dimensions, Q queries.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch

from raclap.archive import kernels

_SAMPLE = 4096  # rows that the mean direction is taken of
_ROUNDING = 1e-6  # of a score that is computed in double and kept in single precision; its magnitude is at most 4
_INT32 = 2**31 - 1
_CHUNK = 16_384  # rows that a thread takes at a time
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
        for first in range(0, len(self.vectors), _CHUNK):
            yield self.vectors[first : first + _CHUNK]

    def vectors_of(self, ids: np.ndarray) -> np.ndarray:
        """Those at these positions: (rows, D) float16."""
        return self.vectors[ids]


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

    def coarse(self, query: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores from the codes, and how far each can be off.

        Args:
            query: (D,) float64, of unit length.
            rows: positions; None: all.

        Returns:
            Both (rows,) float32.
        """
        levels = min(kernels.MAX_QUERY_CODE, _INT32 // (kernels.MAX_CODE * len(query)))
        step = float(np.abs(query).max()) / levels
        code = np.rint(query / step).astype(np.int16)
        slack = np.linalg.norm(query - step * code) * self.longest * (1 + 1e-6) + _ROUNDING
        offset = float(query @ self.mean)
        size = len(self.codes) if rows is None else len(rows)
        scores = np.empty(size, np.float32)

        def part(chunk: slice) -> None:
            taken = chunk if rows is None else rows[chunk]
            kernels.coarse_scores(self.codes[taken], self.scales[taken], code, step, offset, scores[chunk])

        in_threads(part, size)
        errors = self.errors if rows is None else self.errors[rows]
        return scores, errors + np.float32(slack)


def in_threads(work: Callable[[slice], object], size: int, chunk: int = _CHUNK) -> list:
    """Does `work` on all of range(size), chunk by chunk, by as many threads as torch uses.

    Torch takes that number from OMP_NUM_THREADS, or from `torch.set_num_threads`.
    """
    chunks = [slice(first, min(first + chunk, size)) for first in range(0, size, chunk)]
    threads = min(torch.get_num_threads(), len(chunks))
    if threads <= 1:
        return [work(chunk) for chunk in chunks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, chunks))


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
        return kernels.quantise(vectors[rows].astype(np.float32), mean, codes[rows], scales[rows], errors[rows])

    return max(in_threads(part, len(vectors), _IN_CACHE), default=0.0)
