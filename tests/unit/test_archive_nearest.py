"""Which search an index is asked by, and what the approximate one is known to miss."""

import numpy as np
import pyarrow as pa
import pytest

from raclap.archive import nearest
from raclap.archive.facts import ApproximateFacts, ArchiveError, IndexFacts, ModelFacts
from raclap.archive.nearest import Nearest, approximate_is_due, build_approximate
from raclap.archive.scan import Scanner
from raclap.archive.store import ArchiveIndex

D = 32


def stored(path, vectors):
    """An index of one window a recording."""
    index = ArchiveIndex.create(path, IndexFacts(ModelFacts("m", {}, vectors.shape[1], 16_000), None, None))
    size = len(vectors)
    index.append(
        pa.table(
            {
                "recording": [f"{number}.wav" for number in range(size)],
                "root": ["/"] * size,
                "window": np.zeros(size, np.int32),
                "windows": np.ones(size, np.int32),
                "start": np.zeros(size),
                "end": np.ones(size),
                "duration": np.ones(size, np.float32),
                "size": np.arange(size),
                "mtime_ns": np.arange(size),
                "sha256": [""] * size,
                "sex": np.where(np.arange(size) % 2, "female", "male"),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
            }
        )
    )
    return ArchiveIndex.open(path)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, D))
    return (centres[rng.integers(0, 20, 4000)] + 0.7 * rng.standard_normal((4000, D))).astype(np.float16)


@pytest.fixture(scope="module")
def queries():
    return np.random.default_rng(1).standard_normal((12, D)).astype(np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory, vectors):
    return stored(tmp_path_factory.mktemp("exact") / "index", vectors)


@pytest.fixture(scope="module")
def approximate(tmp_path_factory, vectors):
    made = stored(tmp_path_factory.mktemp("approximate") / "index", vectors)
    build_approximate(made, probes=3, refine_factor=5)
    return ArchiveIndex.open(made.path)


def same(found, expected):
    return np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


@pytest.mark.parametrize("held", [0, 1 << 30], ids=["read from the store", "held in memory"])
def test_a_small_index_is_searched_exactly(index, vectors, queries, held, monkeypatch):
    monkeypatch.setattr(nearest, "_HELD_BYTES", held)
    among = index.where("sex = 'female'")
    search = Nearest(index)
    assert search.approximate is None
    for few in (queries, queries[:1]):
        assert same(search.search(few, 10), Scanner(vectors).search(few, 10))
        assert same(search.search(few, 10, among), Scanner(vectors).search(few, 10, among))
    assert (search.search(queries, 10, among)[1] % 2 == 1).all()


def test_recall_is_what_a_count_gives(approximate, vectors):
    built = approximate.facts.approximate
    assert (built.rows, built.partitions, built.probes, built.refine_factor, built.sampled) == (4000, 15, 3, 5, 200)
    asked = vectors[np.linspace(0, 3999, 200).astype(int)].astype(np.float32)
    exact = Scanner(vectors).search(asked, 10)[1]
    found = Nearest(approximate, exact_up_to=100).search(asked, 10)[1]
    counted = np.mean([len(set(some) & set(all_)) / 10 for some, all_ in zip(found, exact, strict=True)])
    assert built.recall_at_10 == pytest.approx(counted, abs=0.002) and 0.3 < counted < 1


def test_more_probes_miss_less(approximate, tmp_path, vectors):
    more = stored(tmp_path / "index", vectors)
    built = build_approximate(more, probes=15, refine_factor=50)
    assert built.recall_at_10 > 0.99 and built.recall_at_10 > approximate.facts.approximate.recall_at_10


def test_a_great_index_is_searched_approximately(approximate, vectors, queries):
    exact = Scanner(vectors).search(queries, 10)
    search = Nearest(approximate, exact_up_to=100)
    scores, rows = search.search(queries, 10)
    assert "_scanner" not in search.__dict__ and (rows != exact[1]).any()
    every_score, every_row = Scanner(vectors).search(queries, 4000)
    for query in range(len(queries)):  # what is found has its exact score, and is in order
        lookup = dict(zip(every_row[query].tolist(), every_score[query].tolist(), strict=True))
        assert [lookup[row] for row in rows[query].tolist()] == scores[query].tolist()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert same(search.search(queries, 10, exact=True), exact)
    assert same(Nearest(approximate).search(queries, 10), exact)  # a million is far


def test_what_one_query_needs_does_not_change_the_next(approximate, queries, monkeypatch):
    fresh = Nearest(approximate, exact_up_to=100).search(queries, 10)
    among = approximate.where("sex = 'female'")
    monkeypatch.setattr(nearest, "_READ", 10)
    for odd in (
        lambda search: search.search(queries[:1], 4000),  # more than the cells hold
        lambda search: search.search(queries, 10, exact=True),
        lambda search: search.search(queries, 10, among),
    ):
        search = Nearest(approximate, exact_up_to=100)
        odd(search)
        assert "_scanner" in search.__dict__ and same(search.search(queries, 10), fresh)


def test_filtered_and_large_searches_are_exact(approximate, vectors, queries, monkeypatch):
    among = approximate.where("sex = 'female'")
    expected = Scanner(vectors).search(queries, 10, among)
    search = Nearest(approximate, exact_up_to=100)
    assert same(search.search(queries, 10, among), expected) and "_scanner" not in search.__dict__
    monkeypatch.setattr(nearest, "_READ", 10)
    assert same(search.search(queries, 10, among), expected) and "_scanner" in search.__dict__
    everything = Nearest(approximate, exact_up_to=100).search(queries[:1], 4000)
    assert sorted(everything[1][0].tolist()) == list(range(4000))


def test_rows_that_came_later_are_found(tmp_path, vectors, queries):
    made = stored(tmp_path / "index", vectors[:3000])
    build_approximate(made, probes=11)
    table = made.rows(range(2), None).append_column(
        "vector",
        pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(queries[:2], 1, 0).astype(np.float16).reshape(-1)), D),
    )
    made.append(table.set_column(0, "recording", pa.array(["new 0.wav", "new 1.wav"])))
    made.compact()
    opened = ArchiveIndex.open(made.path)
    rows = Nearest(opened, exact_up_to=100).search(queries[:2], 1)[1][:, 0]
    assert opened.rows(rows, ["recording"])["recording"].to_pylist() == ["new 0.wav", "new 1.wav"]


def test_too_few_windows_for_an_approximate_search(tmp_path, vectors):
    with pytest.raises(ArchiveError, match="from 256 windows on"):
        build_approximate(stored(tmp_path / "index", vectors[:100]))


def test_only_vectors_of_whole_bytes_can_be_approximate(tmp_path, vectors):
    odd = stored(tmp_path / "index", np.ascontiguousarray(vectors[:600, : D - 3]))
    assert not odd.can_be_approximate and not approximate_is_due(odd)
    with pytest.raises(ArchiveError, match=f"a multiple of 8 dimensions, not {D - 3}; it stays exact"):
        build_approximate(odd)


@pytest.mark.parametrize(
    ("exact_up_to", "built_on", "due"),
    [(4000, None, False), (3999, None, True), (3999, 4000, False), (3999, 3700, False), (3999, 3600, True)],
    ids=["small", "not built", "built", "grown a little", "grown"],
)
def test_when_cells_are_made_anew(index, monkeypatch, exact_up_to, built_on, due):
    monkeypatch.setattr(nearest, "EXACT_UP_TO", exact_up_to)
    built = None if built_on is None else ApproximateFacts(built_on, 60, 60, 100, 1.0, 200)
    monkeypatch.setattr(index, "facts", index.facts.with_approximate(built))
    assert approximate_is_due(index) == due
