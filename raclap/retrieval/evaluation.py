"""Evaluating an exported model on inspected rows."""

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.relevance import StyleRelevance
from raclap.retrieval.reporting import Evaluation


def evaluate(
    model: RaClapModel,
    processor: RaClapProcessor,
    corpus: Inspection,
    model_name: str,
    corpus_name: str,
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Embeds the rows of a corpus and ranks them in both directions; bootstrap draws go by speaker."""
    embeds = embed_pairs(model, processor, corpus)
    scores = rank_pairs(embeds.audio, embeds.text, StyleRelevance.from_manifest(corpus.manifest))
    return Evaluation(model_name, corpus_name, scores, corpus.manifest.column("speaker"), resamples, seed)
