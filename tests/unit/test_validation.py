"""The figure that decides which epoch is the best, where it is the order of valence and arousal."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean

import pytest

from raclap.data.collection import read_split
from raclap.data.inspection import Inspection
from raclap.data.manifest import Pair, read_manifest, write_manifest
from raclap.errors import RecipeError
from raclap.model_folder import load_model_folder
from raclap.recipe import EvaluationRecipe
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.evaluation import evaluate
from raclap.retrieval.ordinality import OrderError, rank_order
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.validation import Validation


@pytest.fixture(scope="module")
def model_and_processor(teacher_folder):
    return load_model_folder(teacher_folder)


@pytest.fixture
def labelled(corpora, tmp_path, model_and_processor) -> Callable[..., Inspection]:
    """Makes a copy of a corpus of which the valences and arousals are functions of the row, or None."""

    def make(name: str, valence: Sequence[float] | None, arousal: Sequence[float] | None) -> Inspection:
        rows = read_manifest(corpora[name])

        def with_labels(row: int, pair: Pair) -> Pair:
            values = [None if each is None else each[row % len(each)] for each in (valence, arousal)]
            return replace(pair, valence=values[0], arousal=values[1])

        path: Path = tmp_path / name / "manifest.parquet"
        path.parent.mkdir()
        write_manifest(path, [with_labels(row, pair) for row, pair in enumerate(rows)], rows.audio_root)
        return read_split(path, "validation", model_and_processor[1].feature_extractor)

    return make


def test_tau_decides_over_the_corpora_that_have_both(model_and_processor, labelled):
    model, processor = model_and_processor
    corpora = {
        "small": labelled("small", [1.0, 2.0, 4.0], [0.1, 0.7, 0.2, 0.9, 0.4]),
        "medium": labelled("medium", [1.0, 2.0], None),
    }
    validation = Validation(EvaluationRecipe(select="tau"), corpora, processor)
    results = validation.run(model)
    embeds = embed_pairs(model, processor, corpora["small"], progress=False)
    rows = corpora["small"].manifest
    labels = {name: rows.column(name) for name in ("valence", "arousal")}
    expected = rank_order(embeds.audio, embeds.text, labels).summary()
    for direction in DIRECTIONS:
        assert results["small"][direction].items() > expected[direction].items()
        assert not {"tau_valence", "tau_arousal"} & set(results["medium"][direction])
    figures = [expected[direction][tau] for direction in DIRECTIONS for tau in ("tau_valence", "tau_arousal")]
    assert validation.score(results) == pytest.approx(mean(figures))


def test_tau_is_measured_only_where_it_decides(model_and_processor, labelled):
    model, processor = model_and_processor
    flat = {"small": labelled("small", [3.0], [1.0, 2.0])}
    results = Validation(EvaluationRecipe(), flat, processor).run(model)
    assert "tau_arousal" not in results["small"]["audio_to_text"]
    with pytest.raises(OrderError, match="'valence': no order to measure"):
        Validation(EvaluationRecipe(select="tau"), flat, processor)


def test_tau_without_a_corpus_that_has_both_is_refused_before_training(model_and_processor, labelled):
    corpora = {"small": labelled("small", [1.0, 2.0], None), "medium": labelled("medium", None, [1.0, 2.0])}
    with pytest.raises(RecipeError, match=r"tau needs validation rows with valence and arousal.*: small, medium"):
        Validation(EvaluationRecipe(select="tau"), corpora, model_and_processor[1])


def test_intervals_are_those_that_an_evaluation_of_the_same_rows_finds(model_and_processor, labelled, monkeypatch):
    # So few that another seed, or other speakers, would be seen.
    monkeypatch.setattr("raclap.retrieval.validation._RESAMPLES", 7)
    model, processor = model_and_processor
    corpora = {"small": labelled("small", [1.0, 2.0, 4.0], [0.1, 0.7, 0.2, 0.9, 0.4])}
    validation = Validation(EvaluationRecipe(select="tau"), corpora, processor)
    results = validation.run(model)
    kept = validation.intervals()
    evaluation = evaluate(model, processor, corpora["small"], "m", "small", kept["resamples"], kept["seed"])
    for direction in DIRECTIONS:
        expected = evaluation.intervals[direction] | evaluation.order_intervals[direction]
        assert kept["results"]["small"][direction] == {metric: asdict(found) for metric, found in expected.items()}
        values = {metric: found["value"] for metric, found in kept["results"]["small"][direction].items()}
        assert values == pytest.approx(results["small"][direction])
    widths = [found.half_width for found in evaluation.intervals["audio_to_text"].values()]
    assert max(widths) > 0
