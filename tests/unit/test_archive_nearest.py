"""Which search an index is asked by, and what the approximate one is known to miss."""

import numpy as np
import pyarrow as pa
import pytest

from raclap.archive import nearest
from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts
from raclap.archive.nearest import Nearest, build_approximate
from raclap.archive.scan import Scanner
from raclap.archive.store import ArchiveIndex

D = 32


def stored(path, vectors):
    """An index of one window a recording."""
    index = ArchiveIndex.create(path, IndexFacts(ModelFacts("m", {}, D, 16_000), None, None))
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
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), D),
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
    assert (built.rows, built.partitions, built.probes, built.refine_factor, built.sampled) == (4000, 63, 3, 5, 200)
    asked = vectors[np.linspace(0, 3999, 200).astype(int)].astype(np.float32)
    exact = Scanner(vectors).search(asked, 10)[1]
    found = Nearest(approximate, exact_up_to=100).search(asked, 10)[1]
    counted = np.mean([len(set(some) & set(all_)) / 10 for some, all_ in zip(found, exact, strict=True)])
    assert built.recall_at_10 == pytest.approx(counted, abs=0.002) and 0.3 < counted < 1


def test_more_probes_miss_less(approximate, tmp_path, vectors):
    more = stored(tmp_path / "index", vectors)
    built = build_approximate(more, probes=63, refine_factor=50)
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
    build_approximate(made, probes=55)
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
