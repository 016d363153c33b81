"""Exact search against exact arithmetic, on vectors that are made to mislead it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from raclap.archive import kernels, scan, sifting, threads
from raclap.archive.facts import ArchiveError
from raclap.archive.quantised import HeldVectors, QuantisedVectors
from raclap.archive.scan import Scanner
from raclap.archive.threads import in_threads

D = 48


def nearest(vectors, queries, k, among=None):
    """All cosines in double precision, ties by position."""
    rows = np.arange(len(vectors)) if among is None else among
    exact = vectors[rows].astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    exact = np.divide(exact, lengths[:, None], out=np.zeros_like(exact), where=lengths[:, None] > 0)
    units = queries.astype(np.float64) / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    cosines = np.array([[np.dot(vector, unit) for vector in exact] for unit in units])
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosines, order, axis=1), rows[order]


def random_vectors(rng, size=3000):
    return rng.standard_normal((size, D)).astype(np.float16)


def one_direction(rng, size=3000):
    """As embeddings of one domain are: a common direction, and a little that differs."""
    return (rng.standard_normal(D) + 0.05 * rng.standard_normal((size, D))).astype(np.float16)


def copies(rng, size=3000):
    """Five vectors, each hundreds of times."""
    return rng.standard_normal((5, D)).astype(np.float16)[rng.integers(0, 5, size)]


def all_equal(rng, size=3000):
    return np.repeat(rng.standard_normal((1, D)).astype(np.float16), size, axis=0)


def near_ties(rng, size=3000):
    """Vectors that differ by the last bit of one component."""
    vectors = all_equal(rng, size)
    bits = vectors.view(np.uint16)
    bits[np.arange(size), rng.integers(0, D, size)] ^= 1
    return vectors


def tiny_norms(rng, size=3000):
    """Down to the least numbers that half precision has, and zero."""
    vectors = (rng.standard_normal((size, D)) * 10.0 ** rng.uniform(-8, 4, (size, 1))).astype(np.float16)
    vectors[::97] = 0
    return vectors


def one_spike(rng, size=3000):
    """A component that is so great that the code has nothing left for the others."""
    vectors = rng.standard_normal((size, D)) * 0.01
    vectors[:, 3] = rng.choice((-1.0, 1.0), size)
    return vectors.astype(np.float16)


KINDS = (random_vectors, one_direction, copies, all_equal, near_ties, tiny_norms, one_spike)


@pytest.fixture(params=[True, False], ids=["integers", "float32"])
def product(request, monkeypatch):
    """Products of matrices in either type, whatever this processor prefers."""
    monkeypatch.setattr(sifting, "_multiplies_integers", lambda: request.param)


@pytest.mark.parametrize("make", KINDS, ids=[kind.__name__ for kind in KINDS])
@pytest.mark.parametrize("together", [1, 11])
def test_is_the_order_of_exact_cosines(make, together, product):
    rng = np.random.default_rng(7)
    vectors = make(rng)
    queries = rng.standard_normal((together, D)).astype(np.float32) * 10.0 ** rng.uniform(-6, 6, (together, 1))
    queries[0] = vectors[1].astype(np.float32)
    queries = queries.astype(np.float32)
    expected, order = nearest(vectors, queries, 10)
    scores, rows = Scanner(vectors).search(queries, 10)
    np.testing.assert_allclose(scores, expected, atol=1e-7)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    # cosines that differ by less than double precision resolves are nearly none, and equal vectors are equal
    for query in range(together):
        differ = rows[query] != order[query]
        assert np.all(np.abs(np.diff(expected[query]))[differ[:-1]] < 1e-14)
        for place in np.flatnonzero(differ):
            assert abs(cosine(vectors[rows[query, place]], queries[query]) - expected[query, place]) < 1e-14


def cosine(vector, query):
    """Of two vectors, in exact arithmetic but for the root."""
    x, q = [Fraction(float(v)) for v in vector], [Fraction(float(v)) for v in query]
    dot, square, length = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, q), (x, x), (q, q)))
    return float(dot) / (float(square) ** 0.5 * float(length) ** 0.5) if square else 0.0


@pytest.mark.parametrize("together", [1, 9])
def test_equal_vectors_come_by_position(together):
    rng = np.random.default_rng(3)
    vectors = copies(rng)
    queries = np.repeat(vectors[17:18].astype(np.float32), together, axis=0)
    _, rows = Scanner(vectors).search(queries, 40)
    same = np.flatnonzero((vectors == vectors[17]).all(axis=1))[:40]
    assert (rows == same).all()


@pytest.mark.parametrize("make", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_no_score_is_further_off_than_its_bound(make):
    rng = np.random.default_rng(11)
    vectors = make(rng, 200)
    codes = QuantisedVectors.of(HeldVectors(vectors))
    for query in rng.standard_normal((3, D)):
        unit = query / np.linalg.norm(query)
        scores, errors = codes.coarse(unit, None)
        exact = np.array([cosine(vector, unit) for vector in vectors])
        assert np.all(np.abs(scores.astype(np.float64) - exact) <= errors)
        assert np.all(errors < 0.3)  # a bound that always holds because it says nothing would be no bound


def exact_in_bytes(size=200):
    """Signs alone, each vector with its opposite: codes are exact, and what is off is off for another reason."""
    signs = np.random.default_rng(6).choice((-1.0, 1.0), (size // 2, 64))
    return np.concatenate([signs, -signs]).astype(np.float16)


def test_the_rounding_of_the_query_is_in_the_bound():
    vectors = exact_in_bytes()
    codes = QuantisedVectors.of(HeldVectors(vectors))
    assert codes.errors.max() < 1e-7
    unit = np.random.default_rng(8).standard_normal(64)
    unit /= np.linalg.norm(unit)
    scores, errors = codes.coarse(unit, None)
    off = np.abs(scores - np.array([cosine(vector, unit) for vector in vectors]))
    assert off.max() > 1e-6 and np.all(off <= errors)


@pytest.mark.parametrize("make", [exact_in_bytes, lambda: one_spike(np.random.default_rng(3), 200)])
@pytest.mark.parametrize("exact_query", [False, True], ids=["rounded", "exact in bytes"])
@pytest.mark.parametrize("refined", [False, True], ids=["sifted", "refined"])
def test_no_product_is_further_off_than_its_bound(make, exact_query, refined, product, monkeypatch):
    vectors = make()
    size, width = vectors.shape
    rng = np.random.default_rng(9)
    units = rng.choice((-1.0, 1.0), (9, width)) if exact_query else rng.standard_normal((9, width))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    if not refined:
        monkeypatch.setattr(kernels, "refine", lambda *_: None)
    sieve = sifting.sift(QuantisedVectors.of(HeldVectors(vectors)), units, size, None)
    assert (sieve.counts == size).all()  # all are wanted, so all are candidates
    for query, unit in enumerate(units):
        exact = np.array([cosine(vector, unit) for vector in vectors])
        assert np.all(sieve.upper[query, :size] >= exact[sieve.found[query, :size]])
        assert np.all(np.sort(sieve.best[query]) <= np.sort(exact))


def test_finer_queries_leave_fewer_candidates(monkeypatch, product):
    rng = np.random.default_rng(13)
    codes = QuantisedVectors.of(HeldVectors(random_vectors(rng, 20_000)))
    units = rng.standard_normal((40, D))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    fine = sifting.sift(codes, units, 10, None)
    monkeypatch.setattr(kernels, "refine", lambda *_: None)
    coarse = sifting.sift(codes, units, 10, None)
    assert (fine.counts >= 10).all() and fine.counts.sum() < coarse.counts.sum() / 2
    for query in range(len(units)):  # nothing that the coarse pass did not find, in order
        kept = fine.found[query, : fine.counts[query]]
        assert (np.diff(kept) > 0).all() and np.isin(kept, coarse.found[query, : coarse.counts[query]]).all()


@pytest.mark.parametrize("together", [1, 9])
def test_a_query_along_what_the_codes_left_out(together, product):
    """Its nearest vector is rated as low as it can be by the codes, and another as high."""
    rng = np.random.default_rng(12)
    for _ in range(20):
        vectors = one_spike(rng, 2)
        vectors[1, 3] = vectors[0, 3]
        codes = QuantisedVectors.of(HeldVectors(vectors))
        exact = vectors.astype(np.float64)
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
        left_out = exact - codes.mean - codes.scales[:, None].astype(np.float64) * codes.codes
        apart = exact[1] - exact[0]
        apart /= np.linalg.norm(apart)
        misleading = left_out[1] - left_out[0]
        misleading -= (misleading @ apart) * apart
        query = misleading / np.linalg.norm(misleading) + 1e-4 * apart
        queries = np.repeat(query[None].astype(np.float32), together, axis=0)
        assert (Scanner(vectors).search(queries, 1)[1] == 1).all()


def test_the_bound_follows_what_differs():
    rng = np.random.default_rng(5)
    apart = QuantisedVectors.of(HeldVectors(random_vectors(rng))).errors.mean()
    alike = QuantisedVectors.of(HeldVectors(one_direction(rng))).errors.mean()
    assert alike < apart / 10


@pytest.mark.parametrize("together", [1, 9])
def test_searches_among_some_rows(together):
    rng = np.random.default_rng(1)
    vectors, queries = random_vectors(rng), rng.standard_normal((together, D)).astype(np.float32)
    among = np.flatnonzero(rng.random(len(vectors)) < 0.05)
    _, expected = nearest(vectors, queries, 10, among)
    scanner = Scanner(vectors)
    assert (scanner.search(queries, 10, among)[1] == expected).all()
    assert (scanner.search(queries, 10, rng.permutation(np.repeat(among, 2)))[1] == expected).all()
    scores, rows = scanner.search(queries, 10, among[:4])
    assert rows.shape == scores.shape == (together, 4)
    assert scanner.search(queries, 10, among[:0])[1].shape == (together, 0)


def test_more_rows_than_a_block_and_more_queries_than_a_group(monkeypatch):
    monkeypatch.setattr(sifting, "_BLOCK", 250)
    monkeypatch.setattr(scan, "_GROUP", 16)
    monkeypatch.setattr(scan, "_FETCHED", 64)
    rng = np.random.default_rng(2)
    vectors, queries = random_vectors(rng, 1000), rng.standard_normal((37, D)).astype(np.float32)
    assert (Scanner(vectors).search(queries, 7)[1] == nearest(vectors, queries, 7)[1]).all()


def test_a_query_with_too_many_candidates_goes_alone(monkeypatch):
    monkeypatch.setattr(sifting, "_CANDIDATES", 0)
    rng = np.random.default_rng(2)
    vectors = np.concatenate([all_equal(rng, 200), random_vectors(rng, 800)])
    queries = rng.standard_normal((12, D)).astype(np.float32)
    queries[4] = vectors[0].astype(np.float32)
    alone = []
    single = Scanner._one_by_one
    scanner = Scanner(vectors)
    monkeypatch.setattr(
        Scanner, "_one_by_one", lambda self, units, *rest: alone.append(len(units)) or single(self, units, *rest)
    )
    assert (scanner.search(queries, 5)[1] == nearest(vectors, queries, 5)[1]).all()
    assert alone


def test_k_of_all_rows_and_an_empty_index():
    rng = np.random.default_rng(4)
    vectors, queries = random_vectors(rng, 30), rng.standard_normal((9, D)).astype(np.float32)
    assert (Scanner(vectors).search(queries, 100)[1] == nearest(vectors, queries, 30)[1]).all()
    scores, rows = Scanner(np.empty((0, D), np.float16)).search(queries, 10)
    assert scores.shape == rows.shape == (9, 0)


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (np.zeros((1, D), np.float32), "zero or not finite"),
        (np.full((1, D), np.nan, np.float32), "zero or not finite"),
        (np.ones((1, D + 1), np.float32), "48 dimensions"),
    ],
)
def test_queries_that_point_nowhere(queries, said):
    with pytest.raises(ArchiveError, match=said):
        Scanner(random_vectors(np.random.default_rng(0), 20)).search(queries, 3)


@pytest.mark.parametrize("together", [1, 9])
def test_the_greatest_width_does_not_overflow(together, product):
    """A sum of 8-bit codes in 32 bits, as great as it can be."""
    vectors = np.ones((4, 12_000), np.float16)
    vectors[1] = -1
    scores, rows = Scanner(vectors).search(np.ones((together, 12_000), np.float32), 4)
    assert rows.tolist() == [[0, 2, 3, 1]] * together and np.allclose(scores, [[1, 1, 1, -1]])


def test_threads_are_those_of_torch_which_uses_one_in_each(monkeypatch):
    asked = []
    original = threads.ThreadPoolExecutor
    monkeypatch.setattr(
        threads, "ThreadPoolExecutor", lambda count, **rest: asked.append(count) or original(count, **rest)
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        parts = in_threads(lambda part: (part.start, torch.get_num_threads()), 100, 10)
        assert parts == [(start, 1) for start in range(0, 100, 10)]
        assert asked == [3] and torch.get_num_threads() == 3
        with original(1) as new:
            assert new.submit(torch.get_num_threads).result() == 3
        torch.set_num_threads(1)
        in_threads(lambda part: part, 100, 10)
        assert asked == [3]
    finally:
        torch.set_num_threads(before)


def test_half_precision_is_widened_exactly():
    halves = np.arange(2**16, dtype=np.uint16)
    finite = np.isfinite(halves.view(np.float16))
    bits = np.empty(2**16, np.uint32)
    kernels._widen(halves, bits)
    widened = bits.view(np.float32).astype(np.float64) * 2.0**112
    assert (widened[finite] == halves.view(np.float16)[finite].astype(np.float64)).all()


def test_compiles_where_no_cache_can_be_written(monkeypatch):
    import numba

    njit = numba.njit

    def refusing(**options):
        def compile_(function):
            if options.get("cache"):
                raise RuntimeError("cannot cache function: no locator available")
            return njit(**options)(function)

        return compile_

    monkeypatch.setattr(numba, "njit", refusing)
    assert kernels._compiled()(lambda x: x + 1)(1) == 2
