"""Validation within a run: retrieval on every corpus, zero-shot classification where asked, and the figure that
decides which epoch is the best.
"""

from statistics import mean
from typing import Any

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.recipe import EvaluationRecipe
from raclap.retrieval.classification import ClassificationScores, load_prompts, zero_shot
from raclap.retrieval.embed import embed_pairs, embed_text
from raclap.retrieval.metrics import rank_pairs, summarise
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance


class Validation:
    """Evaluates a model on the validation rows of every corpus.

    Args:
        recipe: what is measured, and what decides.
        corpora: inspected validation rows by corpus.
        processor: of the model.

    Raises:
        RecipeError: the file of prompts is not as it should be.
        ManifestError: a corpus lacks the labels that the prompts are about.
    """

    def __init__(self, recipe: EvaluationRecipe, corpora: dict[str, Inspection], processor: RaClapProcessor):
        self._select = recipe.select
        self._corpora = corpora
        self._processor = processor
        self._relevance = {name: StyleRelevance.from_manifest(corpus.manifest) for name, corpus in corpora.items()}
        self._prompts = None if recipe.zero_shot is None else load_prompts(recipe.zero_shot)
        if self._prompts is not None:
            self._labels = {name: c.manifest.labels(self._prompts.column) for name, c in corpora.items()}

    def run(self, model: RaClapModel) -> dict[str, Any]:
        """`{corpus: {direction: {metric: value}}}`, and `{corpus: {"zero_shot": {metric: interval}}}` where asked."""
        results: dict[str, Any] = {}
        for name, corpus in self._corpora.items():
            embeds = embed_pairs(model, self._processor, corpus, progress=False)
            results[name] = summarise(rank_pairs(embeds.audio, embeds.text, self._relevance[name]))
            if self._prompts is not None:
                classes = {
                    label: embed_text(model, self._processor, prompts)
                    for label, prompts in self._prompts.classes.items()
                }
                speakers = corpus.manifest.column("speaker")
                scores = zero_shot(embeds.audio, classes, self._labels[name], speakers)
                results[name]["zero_shot"] = _figures(scores)
        return results

    def score(self, results: dict[str, Any]) -> float:
        """The figure that decides, higher is better."""
        if self._select == "zero_shot_UAR":
            return mean(corpus["zero_shot"]["UAR"]["value"] for corpus in results.values())
        return mean(corpus[direction][self._select] for corpus in results.values() for direction in DIRECTIONS)


def _figures(scores: ClassificationScores) -> dict[str, Any]:
    named = {
        "accuracy": scores.accuracy,
        "UAR": scores.unweighted_average_recall,
        "macro_F1": scores.macro_f1,
    }
    return {name: {"value": figure.value, "low": figure.low, "high": figure.high} for name, figure in named.items()}
