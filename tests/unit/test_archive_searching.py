"""Searching: the right moments in the right order, as many as wanted, and what is refused.

The oracle: an index whose vectors have known cosines with the query.
"""

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from conftest import RATE, tone
from modeling_raclap.calibration_raclap import Calibration
from raclap.archive import ArchiveSearch, Query, SearchOptions, searching
from raclap.archive.extents import Extent
from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts
from raclap.archive.queries import QueryError
from raclap.archive.ranking import best_first
from raclap.archive.store import ArchiveIndex
from raclap.errors import AudioError
from raclap.model_folder import load_model_folder
from raclap.provenance import weights_digests
from raclap.retrieval.rerank import Reranker

D = 32
TEXT = "a low voice"
SHORT = np.linspace(0.75, 0.35, 9)


def rows_of(name, vectors, sha256, hop=5.0, root="/archive", **facts):
    count = len(vectors)
    start = hop * np.arange(count)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel(), pa.float16()), D)
    values = {
        "recording": [name] * count, "root": [root] * count, "window": pa.array(range(count), pa.int32()),
        "windows": pa.array([count] * count, pa.int32()), "start": start, "end": start + 10.0,
        "duration": np.full(count, 10.0, np.float32), "size": [1] * count, "mtime_ns": [1] * count,
        "sha256": [sha256] * count, "vector": column,
    }  # fmt: skip
    return pa.table({**values, **{key: [value] * count for key, value in facts.items()}})


@pytest.fixture(scope="module")
def index_path(tmp_path_factory, teacher_folder):
    """A long recording that fits between 50 and 80 s and again between 130 and 160 s, nine short ones, a copy."""
    model, processor = load_model_folder(teacher_folder)
    query = Reranker(model, processor).embed_texts([TEXT])[0].numpy()
    rng = np.random.default_rng(0)

    def with_cosine(cosine, other):
        other = other - (other @ query) * query
        return cosine * query + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)

    background, fits = rng.standard_normal((2, D))
    long = []
    for start in 5.0 * np.arange(40):
        share = sum(max(0.0, min(start + 10, end) - max(start, begin)) / 10 for begin, end in ((50, 80), (130, 160)))
        noisy = 0.02 * rng.standard_normal(D)
        mixed = share * with_cosine(0.85, fits) + (1 - share) * with_cosine(0.05, background) + noisy
        long.append(mixed / np.linalg.norm(mixed))
    facts = ModelFacts(str(teacher_folder), weights_digests(teacher_folder), D, RATE)
    path = tmp_path_factory.mktemp("searching") / "index"
    index = ArchiveIndex.create(path, IndexFacts(facts, 10.0, 5.0))
    index.append(rows_of("long.wav", np.array(long), "long"))
    short = [with_cosine(cosine, rng.standard_normal(D)) for cosine in SHORT]
    for place, vector in enumerate(short):
        sex = "female" if place % 2 else "male"
        index.append(rows_of(f"short{place}.wav", vector[None], f"short{place}", sex=sex))
    index.append(rows_of("copy.wav", short[0][None], "short0"))
    near = short[1] + 0.02 * rng.standard_normal(D)
    index.append(rows_of("near.wav", (near / np.linalg.norm(near))[None], "near"))
    return path


@pytest.fixture
def search(index_path):
    return ArchiveSearch.open(index_path)


def names(moments):
    return [moment.recording for moment in moments]


def test_windows_become_moments_in_order_of_their_best(search):
    found = search.search(TEXT, k=20)
    # near.wav lies within the noise of the one that it is like.
    rest = [name for name in names(found) if name != "near.wav"]
    assert rest[:2] == ["long.wav"] * 2
    assert rest[2] in {"short0.wav", "copy.wav"}
    assert rest[3:11] == [f"short{place}.wav" for place in range(1, 9)]
    for moment, (start, end) in zip(sorted(found[:2], key=lambda one: one.start), ((50, 80), (130, 160)), strict=True):
        assert moment.start == pytest.approx(start, abs=1.5)
        assert moment.end == pytest.approx(end, abs=1.5)
        assert moment.best_start >= start and moment.best_end <= end
        assert moment.score == pytest.approx(0.85, abs=0.1)
    scores = [moment.score for moment in found]
    assert scores == sorted(scores, reverse=True)


def test_a_border_that_sounds_like_what_is_sought_waits_its_turn(search, teacher_folder, tmp_path):
    """A mixture of two styles that score 0.6 and 0.5 scores 0.9 at their border, above a clip of 0.75."""
    query = search.vectors([Query(TEXT)])[0]
    rng = np.random.default_rng(5)
    first, second, third = np.linalg.qr(np.column_stack([query, rng.standard_normal((D, 3))]))[0].T[1:]

    def windows(cosine, other, count):
        vectors = cosine * query + np.sqrt(1 - cosine**2) * other + 0.005 * rng.standard_normal((count, D))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    border = windows(0.9, (first + second) / np.sqrt(2), 1)
    mixed = np.concatenate([windows(0.6, first, 20), border, windows(0.5, second, 20)])
    facts = ModelFacts(str(teacher_folder), weights_digests(teacher_folder), D, RATE)
    index = ArchiveIndex.create(tmp_path / "index", IndexFacts(facts, 10.0, 5.0))
    index.append(rows_of("mixed.wav", mixed, "mixed"))
    for cosine in (0.75, 0.55):
        index.append(rows_of(f"{cosine}.wav", windows(cosine, third, 1), f"{cosine}"))
    found = ArchiveSearch.open(index.path).search(TEXT, k=4)
    assert names(found) == ["0.75.wav", "mixed.wav", "0.55.wav", "mixed.wav"]
    assert found[1].end == pytest.approx(found[3].start, abs=5.0) == pytest.approx(105.0, abs=5.0)
    for moment, cosine in ((found[1], 0.6), (found[3], 0.5)):
        assert moment.score == pytest.approx(cosine, abs=0.05)
        assert moment.start <= moment.best_start < moment.best_end <= moment.end


def test_windows_of_an_earlier_moment_are_passed_over():
    class Finder:
        """Every window is of the moment that the first has led to, though it lies elsewhere."""

        def __init__(self):
            self.extents = [Extent(0.0, 10.0, (0, 1), 1, 0.0, 10.0, 0.7)]

        def extent(self, window):
            return self.extents.pop() if self.extents else None

    facts = {"recording": "a.wav", "root": "/archive", "source": "/archive", "windows": 9, "sha256": ""}
    hits = [
        (score, row, {**facts, "window": row, "start": 20.0 * row, "end": 20.0 * row + 10})
        for row, score in enumerate((0.8, 0.7, 0.6))
    ]
    ((row, moment),) = best_first(hits, Finder())
    assert row == 1
    assert (moment.start, moment.end, moment.score, moment.windows) == (0.0, 10.0, 0.7, 2)


def test_a_copy_is_folded_and_named(search):
    (kept,) = [moment for moment in search.search(TEXT, k=20) if moment.recording in {"short0.wav", "copy.wav"}]
    assert {kept.recording, *(name for name, _, _ in kept.duplicates)} == {"short0.wav", "copy.wav"}


@pytest.fixture
def twin_roots(search, teacher_folder, tmp_path):
    """Two roots with recordings of the same names: `other.wav` differs, `copy.wav` does not; one is named twice."""
    query = search.vectors([Query(TEXT)])[0]
    rng = np.random.default_rng(3)

    def windows(cosine, count):
        other = rng.standard_normal((count, D))
        other -= (other @ query)[:, None] * query
        return cosine * query + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other, axis=1, keepdims=True)

    facts = ModelFacts(str(teacher_folder), weights_digests(teacher_folder), D, RATE)
    index = ArchiveIndex.create(tmp_path / "twins", IndexFacts(facts, 10.0, 5.0))
    copy = windows(0.4, 1)
    for root, cosine in (("/one", 0.9), ("/two", 0.8)):
        index.append(rows_of("other.wav", windows(cosine, 3), f"other of {root}", root=root))
        index.append(rows_of("copy.wav", copy, "copy", root=root))
    index.append(rows_of("other.wav", windows(0.7, 2), "other of /two", root="/two", source="some.parquet"))
    return ArchiveSearch.open(index.path)


def test_recordings_of_one_name_in_two_roots_are_two(twin_roots):
    found = twin_roots.search(TEXT, k=20)
    assert [(moment.root, moment.recording) for moment in found[:2]] == [("/one", "other.wav"), ("/two", "other.wav")]
    assert [(moment.start, moment.end, moment.windows) for moment in found[:2]] == [(0.0, 20.0, 3)] * 2


def test_a_copy_of_one_name_in_two_roots_is_folded(twin_roots):
    (copy,) = [moment for moment in twin_roots.search(TEXT, k=20) if moment.recording == "copy.wav"]
    assert [name for name, _, _ in copy.duplicates] == ["copy.wav"]


def test_a_recording_that_two_sources_name_is_found_once(twin_roots):
    assert names(twin_roots.search(TEXT, k=20)).count("other.wav") == 2
    (found,) = twin_roots.search(TEXT, k=20, where="source = 'some.parquet'")
    assert (found.root, found.recording, found.windows) == ("/two", "other.wav", 2)


def test_near_duplicates_are_folded_on_request(search):
    assert "near.wav" in names(search.search(TEXT, k=20))
    found = search.search(TEXT, k=20, duplicates=0.95)
    (kept,) = [moment for moment in found if moment.recording in {"short1.wav", "near.wav"}]
    assert {kept.recording, kept.duplicates[0][0]} == {"short1.wav", "near.wav"}


def test_more_is_fetched_until_k_moments_are_left(search, monkeypatch):
    plenty = search.search(TEXT, k=6)
    monkeypatch.setattr(searching, "_FETCHED", 2)
    monkeypatch.setattr(searching, "_A_MOMENT", 1)
    monkeypatch.setattr(searching, "_MORE", 2)
    assert search.search(TEXT, k=6) == plenty
    assert len(plenty) == 6
    everything = search.search(TEXT, k=500)
    assert {f"short{place}.wav" for place in range(1, 9)} < set(names(everything))


def test_without_merging_every_window_is_a_moment(search):
    query = search.vectors([Query(TEXT)])[0]
    stored = search.index.vectors().astype(np.float32)
    scores = stored @ query / np.linalg.norm(stored, axis=1)
    found = search.search(TEXT, k=8, merge=False)
    assert [moment.score for moment in found] == pytest.approx(np.sort(scores)[::-1][:8].tolist(), abs=1e-5)
    assert all(moment.end - moment.start == 10.0 for moment in found)


def test_a_filter(search):
    found = search.search(TEXT, where="sex = 'female' and duration > 3", k=3)
    assert names(found) == ["short1.wav", "short3.wav", "short5.wav"]
    assert found[0].facts == {"sex": "female"}
    assert search.search(TEXT, where="duration > 100") == []
    with pytest.raises(ArchiveError, match="did you mean 'sex'"):
        search.search(TEXT, where="sexx = 'female'")
    with pytest.raises(ArchiveError, match="--where"):
        search.search(TEXT, where="1 = 1; DROP TABLE moments")


def test_probability_is_that_of_the_calibration(search):
    with pytest.raises(QueryError, match="the model is not calibrated"):
        search.search(TEXT, min_probability=0.5)
    search._reranker.calibration = Calibration(slope=10.0, intercept=-6.0, quantiles=(-1.0, 0.0, 1.0))
    found = search.search(TEXT, k=20, min_probability=0.5)
    assert all(moment.score >= 0.6 for moment in found)
    assert len(found) == sum(moment.score >= 0.6 for moment in search.search(TEXT, k=20))
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(6 - 10 * found[0].score)), abs=1e-6)
    assert found[0].percentile == pytest.approx(50 + 50 * found[0].score)
    assert search.search(TEXT, less=["a loud tone"])[0].probability is None
    with pytest.raises(QueryError, match="a probability is known of words alone"):
        search.search(TEXT, more=["loud"], min_probability=0.5)


def test_several_queries_find_what_each_finds_alone(search):
    queries = [Query(TEXT), Query("a loud tone"), Query(TEXT, less=("a loud tone",))]
    together = search.search_all(queries, SearchOptions(k=4))
    for query, found in zip(queries, together, strict=True):
        (alone,) = search.search_all([query], SearchOptions(k=4))
        assert names(found) == names(alone)
    assert search.search_all([]) == []


def test_a_clip_is_a_query(search, tmp_path):
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, tone(120.0, 0.5, 1.0, np.random.default_rng(0)), RATE)
    query = search.vectors([Query(like=clip)])[0]
    embeds, _ = search._reranker.embed_files([clip], progress=False)
    np.testing.assert_allclose(query, embeds[str(clip)].numpy(), atol=1e-6)
    assert search.search(like=clip, k=1)[0].score == pytest.approx(
        max(search.index.vectors().astype(np.float32) @ query), abs=1e-3
    )
    (tmp_path / "text.wav").write_text("no sound")
    for bad in ("text.wav", "none.wav"):
        with pytest.raises(AudioError, match=bad):
            search.search(like=tmp_path / bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k: 0"),
        ({"min_probability": 1.5}, "min_probability: 1.5"),
        ({"weight": -1.0}, "weight: -1.0"),
        ({"weight": float("nan")}, "weight: nan"),
        ({"duplicates": 2.0}, "duplicates: 2.0"),
    ],
)
def test_options_out_of_range(search, options, message):
    with pytest.raises(QueryError, match=message):
        search.search(TEXT, **options)


def test_what_cannot_be_opened(index_path, tmp_path, teacher_folder):
    with pytest.raises(ArchiveError, match="is no index"):
        ArchiveSearch.open(tmp_path / "none")
    facts = ModelFacts(str(teacher_folder), {"model.safetensors": "0" * 64}, D, RATE)
    ArchiveIndex.create(tmp_path / "other", IndexFacts(facts, 10.0, 5.0))
    with pytest.raises(ArchiveError, match="holds other weights"):
        ArchiveSearch.open(tmp_path / "other")
    facts = ModelFacts(str(tmp_path / "gone"), {}, D, RATE)
    ArchiveIndex.create(tmp_path / "homeless", IndexFacts(facts, 10.0, 5.0))
    with pytest.raises(ArchiveError, match="is not there; name its folder with --model"):
        ArchiveSearch.open(tmp_path / "homeless")


def test_an_index_without_windows(tmp_path, teacher_folder):
    facts = ModelFacts(str(teacher_folder), weights_digests(teacher_folder), D, RATE)
    ArchiveIndex.create(tmp_path / "index", IndexFacts(facts, 10.0, 5.0))
    assert ArchiveSearch.open(tmp_path / "index").search(TEXT) == []


def test_vectors_of_another_size(tmp_path, teacher_folder):
    index = ArchiveIndex.create(tmp_path / "index", IndexFacts(ModelFacts("big", {}, 64, RATE), 10.0, 5.0))
    with pytest.raises(ArchiveError, match="have 64 dimensions, those of the model 32"):
        ArchiveSearch(index, *load_model_folder(teacher_folder))
