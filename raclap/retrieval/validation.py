"""Validation within a run: retrieval on every corpus, zero-shot classification where asked, and the figure that
decides which epoch is the best.
"""

from dataclasses import asdict
from statistics import mean
from typing import Any

import numpy as np

from modeling_raclap import RaClapModel, RaClapProcessor
from modeling_raclap.calibration_raclap import Calibration
from raclap.data.inspection import Inspection
from raclap.errors import RecipeError
from raclap.recipe import EvaluationRecipe
from raclap.retrieval.calibration import CalibrationPairs, fit_calibration
from raclap.retrieval.classification import ClassificationScores
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.evaluation import Evaluation, as_dicts
from raclap.retrieval.labels import find_labels
from raclap.retrieval.metrics import rank_pairs, summarise
from raclap.retrieval.ordinality import DIMENSIONS, TAUS, order_labels, rank_order
from raclap.retrieval.protocol import load_protocol
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance
from raclap.retrieval.zero_shot import classify_manifest

_RESAMPLES, _SEED = 2000, 0  # as evaluate_retrieval.py has them by default: equal figures have equal intervals


class Validation:
    """Evaluates a model on the validation rows of every corpus.

    Args:
        recipe: what is measured, and what decides.
        corpora: inspected validation rows by corpus.
        processor: of the model.

    Raises:
        RecipeError: the protocol of zero-shot classification is not as it should be, or τ decides and no corpus has
            valence and arousal.
        ManifestError: a corpus lacks the labels that the protocol is about, or has others.
        OrderError: τ decides and all valences or arousals of a corpus are equal.
    """

    def __init__(self, recipe: EvaluationRecipe, corpora: dict[str, Inspection], processor: RaClapProcessor):
        self._select = recipe.select
        self._corpora = corpora
        self._processor = processor
        self._relevance = {name: StyleRelevance.from_manifest(corpus.manifest) for name, corpus in corpora.items()}
        self._pairs: dict[str, CalibrationPairs] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self._protocol = None if recipe.zero_shot is None else load_protocol(recipe.zero_shot)
        if self._protocol is not None:
            self._labels = {name: find_labels(c.manifest, self._protocol) for name, c in corpora.items()}

        self._order = _order(corpora) if recipe.select == "tau" else {}

    def run(self, model: RaClapModel) -> dict[str, Any]:
        """`{corpus: {direction: {metric: value}}}`, and `{corpus: {"zero_shot": {metric: interval}}}` where asked.

        Where τ decides it is among the metrics of the corpora that have valence and arousal.
        """
        results: dict[str, Any] = {}
        for name, corpus in self._corpora.items():
            embeds = embed_pairs(model, self._processor, corpus, progress=False)
            scores, order = rank_pairs(embeds.audio, embeds.text, self._relevance[name]), None
            results[name] = summarise(scores)
            if name in self._order:
                order = rank_order(embeds.audio, embeds.text, self._order[name])
                summary = order.summary()
                for direction in DIRECTIONS:
                    results[name][direction] |= summary[direction]
            speakers = corpus.manifest.column("speaker")
            self._evaluations[name] = Evaluation("", name, scores, speakers, _RESAMPLES, _SEED, order)
            self._pairs[name] = CalibrationPairs.of_manifest(embeds, corpus.manifest, self._relevance[name])
            if self._protocol is not None:
                clips = classify_manifest(
                    model, self._processor, corpus, self._protocol, embeds.audio, self._labels[name]
                )
                results[name]["zero_shot"] = _figures(clips.scores(self._protocol.classes))
        return results

    def intervals(self) -> dict[str, Any]:
        """The figures of the last `run` with 95 % bootstrap intervals by speaker; this is when they are drawn.

        Returns:
            `seed` and `resamples` of the bootstrap, and `results`: `{corpus: {direction: {metric: {"value", "low",
            "high"}}}}`.
        """
        results = {}
        for name, evaluation in self._evaluations.items():
            order = as_dicts(evaluation.order_intervals)
            results[name] = {key: own | order[key] for key, own in as_dicts(evaluation.intervals).items()}
        return {"seed": _SEED, "resamples": _RESAMPLES, "results": results}

    def calibrate(self) -> Calibration:
        """What the cosines of the last `run` mean.

        Raises:
            CalibrationError: the rows are too few, or the model does not tell captions that fit from others.
        """
        return fit_calibration(self._pairs)

    def score(self, results: dict[str, Any]) -> float:
        """The figure that decides, higher is better."""
        if self._select == "zero_shot_UAR":
            return mean(corpus["zero_shot"]["UAR"]["value"] for corpus in results.values())
        if self._select == "tau":
            ordered = [results[name] for name in self._order]
            return mean(corpus[direction][tau] for corpus in ordered for direction in DIRECTIONS for tau in TAUS)
        return mean(corpus[direction][self._select] for corpus in results.values() for direction in DIRECTIONS)


def _order(corpora: dict[str, Inspection]) -> dict[str, dict[str, np.ndarray]]:
    """Labels of the corpora that have both valence and arousal."""
    labels = {name: order_labels(corpus.manifest) for name, corpus in corpora.items()}
    found = {name: own for name, own in labels.items() if len(own) == len(DIMENSIONS)}
    if not found:
        raise RecipeError(
            "evaluation.select: tau needs validation rows with valence and arousal; no corpus has both: "
            + ", ".join(corpora)
        )
    return found


def _figures(scores: ClassificationScores) -> dict[str, Any]:
    return {name: asdict(interval) for name, interval in scores.measures.items()}
