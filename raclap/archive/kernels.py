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
SIDE_BY_SIDE = 32  # rows that are compared at once


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
        vectors: (N, D) uint16, see `_widen`.
        mean: (D,) float64.
        codes: (N, D) int8, written.
        scales: (N,) float32, written.
        errors: (N,) float32, written: at least ‖z − scale · code‖.

    Returns:
        The greatest ‖scale · code‖.
    """
    longest = 0.0
    centred = np.empty(vectors.shape[1], np.float64)
    bits = np.empty(vectors.shape[1], np.uint32)
    values = bits.view(np.float32)
    for row in range(vectors.shape[0]):
        _widen(vectors[row], bits)
        square = 0.0
        for d in range(values.shape[0]):
            square += np.float64(values[d]) * np.float64(values[d])
        inverse = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        greatest = 0.0
        for d in range(vectors.shape[1]):
            centred[d] = np.float64(values[d]) * inverse - mean[d]
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
def sift(products, scales, errors, positions, steps, offsets, slacks, best, counts, found, upper):
    """Goes through the products of a block of rows for the rows that may be among the K nearest of each query.

    A row's score is known to lie within its error. The K greatest lower bounds so far are kept in a heap, and a row is
    a candidate where its upper bound reaches the least of them. Most rows are none: some at a time are compared
    without a branch, which the processor does side by side, and only where one passes are they looked at one by one.

    Args:
        products: (Q, N) int32 or whole numbers as float32, query code · row code.
        scales, errors: (N,) float32, see `quantise`.
        positions: (N,) int64, of the block's rows.
        steps, offsets, slacks: (Q,) float32, by what products are multiplied, and what scores and errors get added.
        best: (Q, K) float32, the heaps, minus infinity at first; updated.
        counts: (Q,) int64, candidates so far; updated. It goes on where `found` is full.
        found, upper: (Q, capacity), positions and upper bounds of candidates; updated.
    """
    for q in range(products.shape[0]):
        of_query, heap, step, offset, slack = products[q], best[q], steps[q], offsets[q], slacks[q]
        least = heap[0] - offset - slack
        for begin in range(0, len(of_query), SIDE_BY_SIDE):
            rows = slice(begin, begin + SIDE_BY_SIDE)
            if not _any_reaches(of_query[rows], scales[rows], errors[rows], step, least):
                continue
            for row in range(begin, min(begin + SIDE_BY_SIDE, len(of_query))):
                value = np.float32(of_query[row]) * (scales[row] * step)
                if value + errors[row] >= least:
                    if counts[q] < found.shape[1]:
                        found[q, counts[q]] = positions[row]
                        upper[q, counts[q]] = value + errors[row] + offset + slack
                    counts[q] += 1
                    lower = value - errors[row] + offset - slack
                    if lower > heap[0]:
                        _replace_least(heap, lower)
                        least = heap[0] - offset - slack


@_compiled()
def _any_reaches(products, scales, errors, step, least):
    """Whether an upper bound does, of (SIDE_BY_SIDE,) rows: that their number is fixed lets them go side by side."""
    if len(products) < SIDE_BY_SIDE:
        return True
    reached = np.int32(0)
    for row in range(SIDE_BY_SIDE):
        reached += np.int32(np.float32(products[row]) * (scales[row] * step) + errors[row] >= least)
    return reached > 0


@_compiled()
def refine(codes, scales, errors, queries, steps, offsets, slacks, best, counts, found, upper):
    """Bounds the candidates of `sift` once more, by finer codes of the queries, and keeps those that still are.

    Args:
        codes: (N, D) int8, of all rows.
        scales, errors: (N,) float32, see `quantise`.
        queries: (Q, D) int16.
        steps, offsets, slacks: (Q,) float64, see `coarse_scores`, and what is added to errors.
        best, counts, found, upper: see `sift`; updated. A query of which candidates are missing is left as it is.
    """
    for q in range(queries.shape[0]):
        if counts[q] > found.shape[1]:
            continue
        heap, coarse_least, kept = best[q], best[q, 0], 0
        heap[:] = -np.inf
        for place in range(counts[q]):
            if upper[q, place] < coarse_least:
                continue
            row = found[q, place]
            total = np.int32(0)
            for d in range(codes.shape[1]):
                total = np.int32(total + np.int32(np.int32(codes[row, d]) * np.int32(queries[q, d])))
            value = np.float64(total) * steps[q] * np.float64(scales[row]) + offsets[q]
            error = np.float64(errors[row]) + slacks[q]
            found[q, kept], upper[q, kept] = row, value + error
            kept += 1
            lower = np.float32(value - error)
            if lower > heap[0]:
                _replace_least(heap, lower)
        counts[q] = 0
        for place in range(kept):
            if upper[q, place] >= heap[0]:
                found[q, counts[q]], upper[q, counts[q]] = found[q, place], upper[q, place]
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
        vectors: (N, D) uint16, see `_widen`.
        of_query, of_vector: (P,) int64, the pairs.
        scores: (P,) float64, written; 0 for a vector of zeros.
    """
    bits = np.empty(vectors.shape[1], np.uint32)
    values = bits.view(np.float32)
    for pair in range(of_query.shape[0]):
        query = queries[of_query[pair]]
        _widen(vectors[of_vector[pair]], bits)
        total, square = 0.0, 0.0
        for d in range(values.shape[0]):
            value = np.float64(values[d])
            total += query[d] * value
            square += value * value
        scores[pair] = total / np.sqrt(square) if square > 0.0 else 0.0


@_compiled()
def _widen(halves, bits):
    """Numbers of half precision, given as their bits, times 2⁻¹¹², as the bits of single precision; exact.

    The exponent keeps its bits and so loses the difference of what is added to it, which no direction depends on.
    """
    for d in range(halves.shape[0]):
        half = np.uint32(halves[d])
        bits[d] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))


@_compiled()
def nearest_first(starts, scores, chosen):
    """The K candidates of each query that have the greatest scores, best first, equal ones as they come.

    Args:
        starts: (Q + 1,) int64, where the candidates of a query begin; it has at least K.
        scores: (P,) float64.
        chosen: (Q, K) int64, written: places among the candidates.
    """
    for q in range(chosen.shape[0]):
        order = np.argsort(-scores[starts[q] : starts[q + 1]], kind="mergesort")
        for place in range(chosen.shape[1]):
            chosen[q, place] = starts[q] + order[place]
