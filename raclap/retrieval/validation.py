"""Validation within a run: retrieval on every corpus, and the one figure that decides which epoch is the best."""

from statistics import mean
from typing import Any

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.recipe import EvaluationRecipe
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.metrics import rank_pairs, summarise
from raclap.retrieval.relevance import StyleRelevance


class Validation:
    """Evaluates a model on the validation rows of every corpus.

    Args:
        recipe: what is measured, and what decides.
        corpora: inspected validation rows by corpus.
        processor: of the model.
    """

    def __init__(self, recipe: EvaluationRecipe, corpora: dict[str, Inspection], processor: RaClapProcessor):
        self._recipe = recipe
        self._corpora = corpora
        self._processor = processor
        self._relevance = {
            name: StyleRelevance.from_manifest(corpus.manifest) for name, corpus in corpora.items()
        }

    def run(self, model: RaClapModel) -> dict[str, Any]:
        """`{corpus: {direction: {metric: value}}}`, and `{corpus: {"zero_shot": {metric: value}}}` where asked."""
        results: dict[str, Any] = {}
        for name, corpus in self._corpora.items():
            embeds = embed_pairs(model, self._processor, corpus, progress=False)
            results[name] = summarise(rank_pairs(embeds.audio, embeds.text, self._relevance[name]))
        return results

    def score(self, results: dict[str, Any]) -> float:
        """The figure that decides, higher is better."""
        return mean(
            directions[direction][self._recipe.select]
            for directions in results.values()
            for direction in ("audio_to_text", "text_to_audio")
        )
