"""The inner loops of the exact search, compiled by numba and kept beside this file (or in the user's numba cache).

They run without Python's lock, so that threads of one process share the rows; how many is the caller's to say.

Shapes: N rows, D dimensions, Q queries, K wanted rows, P pairs of a query and a row.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_SUMS = {"reassoc", "contract"}  # what lets a sum be vectorised; nothing is assumed of infinities and NaN
MAX_CODE = 127  # of a stored component
MAX_QUERY_CODE = 2047  # of a query's: 16 times finer, at no cost


def _compiled(**options: Any) -> Callable[[Callable], Callable]:
    """`numba.njit`, with its cache where one can be written."""

    def compile_(function: Callable) -> Callable:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither this folder nor the user's cache can be written
            return numba.njit(nogil=True, **options)(function)

    return compile_


@_compiled(fastmath=_SUMS)
def quantise(vectors, mean, codes, scales, errors):
    """Writes unit vectors, less `mean`, as int8 with a scale each, and how far that is from them.

    A row x becomes z = x / ‖x‖ − mean ≈ scale · code. A row of zeros has the direction 0.

    Args:
        vectors: (N, D) float32.
        mean: (D,) float64.
        codes: (N, D) int8, written.
        scales: (N,) float32, written.
        errors: (N,) float32, written: at least ‖z − scale · code‖.

    Returns:
        The greatest ‖scale · code‖.
    """
    longest = 0.0
    centred = np.empty(vectors.shape[1], np.float64)
    for row in range(vectors.shape[0]):
        square = 0.0
        for d in range(vectors.shape[1]):
            square += np.float64(vectors[row, d]) * np.float64(vectors[row, d])
        inverse = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        greatest = 0.0
        for d in range(vectors.shape[1]):
            centred[d] = np.float64(vectors[row, d]) * inverse - mean[d]
            greatest = max(greatest, abs(centred[d]))
        scale = np.float64(np.float32(greatest / MAX_CODE))
        per_scale = 1.0 / scale if scale > 0.0 else 0.0
        error, length = 0.0, 0.0
        for d in range(vectors.shape[1]):
            code = min(max(np.rint(centred[d] * per_scale), -MAX_CODE), MAX_CODE)
            codes[row, d] = np.int8(code)
            error += (centred[d] - scale * code) ** 2
            length += (scale * code) ** 2
        scales[row] = scale
        errors[row] = np.sqrt(error) * (1.0 + 1e-6) + 1e-9
        longest = max(longest, np.sqrt(length))
    return longest


@_compiled()
def coarse_scores(codes, scales, query, step, offset, scores):
    """Scores of all rows for one query, from codes alone: step · scale · (code · query) + offset.

    Args:
        codes: (N, D) int8.
        scales: (N,) float32.
        query: (D,) int16.
        step, offset: of the query.
        scores: (N,) float32, written.
    """
    for row in range(codes.shape[0]):
        total = np.int32(0)
        for d in range(codes.shape[1]):
            total = np.int32(total + np.int32(np.int32(codes[row, d]) * np.int32(query[d])))
        scores[row] = np.float32(np.float64(total) * step * np.float64(scales[row]) + offset)


@_compiled()
def sift(products, scales, errors, offsets, slacks, rounding, first, best, counts, found, upper):
    """Goes through the products of a block of rows for the rows that may be among the K nearest of each query.

    A row's score is known to lie within its error. The K greatest lower bounds so far are kept in a heap, and a row is
    a candidate where its upper bound reaches the least of them.

    Args:
        products: (Q, N) float32, query · code.
        scales, errors: (N,) float32, see `quantise`.
        offsets, slacks: (Q,) float64, what is added to each score, and to each error.
        rounding: of a product, relative.
        first: position of the block's first row.
        best: (Q, K) float32, the heaps, minus infinity at first; updated.
        counts: (Q,) int64, candidates so far; updated. It goes on where `found` is full.
        found, upper: (Q, capacity), positions and upper bounds of candidates; updated.
    """
    for q in range(products.shape[0]):
        heap = best[q]
        for row in range(products.shape[1]):
            value = np.float64(products[q, row]) * scales[row]
            lower = np.float32(value + offsets[q] - errors[row] - slacks[q] - abs(value) * rounding)
            if lower > heap[0]:
                _replace_least(heap, lower)
        least = heap[0]
        for row in range(products.shape[1]):
            value = np.float64(products[q, row]) * scales[row]
            above = np.float32(value + offsets[q] + errors[row] + slacks[q] + abs(value) * rounding)
            if above >= least:
                if counts[q] < found.shape[1]:
                    found[q, counts[q]] = first + row
                    upper[q, counts[q]] = above
                counts[q] += 1


@_compiled()
def _replace_least(heap, value):
    """Puts `value` in the place of the least of a binary heap, (K,)."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= heap.shape[0]:
            break
        if child + 1 < heap.shape[0] and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


@_compiled(fastmath=_SUMS)
def cosines(queries, vectors, of_query, of_vector, scores):
    """Cosines of pairs in double precision; equal vectors have equal cosines, to the last bit.

    Args:
        queries: (Q, D) float64, of unit length.
        vectors: (N, D) float32.
        of_query, of_vector: (P,) int64, the pairs.
        scores: (P,) float64, written; 0 for a vector of zeros.
    """
    for pair in range(of_query.shape[0]):
        query, vector = of_query[pair], of_vector[pair]
        total, square = 0.0, 0.0
        for d in range(queries.shape[1]):
            value = np.float64(vectors[vector, d])
            total += queries[query, d] * value
            square += value * value
        scores[pair] = total / np.sqrt(square) if square > 0.0 else 0.0
