"""Evaluating an exported model on inspected rows: retrieval, and the order of emotions where it is known."""

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.ordinality import MAX_ROWS, order_labels, rank_order
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
    order_rows: int = MAX_ROWS,
) -> Evaluation:
    """Embeds the rows of a corpus and ranks them in both directions; bootstrap draws go by speaker.

    Args:
        model: on the device to use.
        processor: the one it was trained with.
        corpus: inspected rows.
        model_name: as it is to be read.
        corpus_name: as it is to be read.
        resamples: of the bootstrap.
        seed: of the bootstrap, and of the rows drawn for the order.
        order_rows: at most so many rows with valence or arousal are put in order; 0: none, `Evaluation.order` is None.

    Raises:
        ManifestError: a caption names an attribute that its row does not have.
        OrderError: all valences are equal, or all arousals, or one is infinite; found before anything is embedded.
    """
    labels = order_labels(corpus.manifest) if order_rows > 0 else {}
    embeds = embed_pairs(model, processor, corpus)
    scores = rank_pairs(embeds.audio, embeds.text, StyleRelevance.from_manifest(corpus.manifest))
    order = rank_order(embeds.audio, embeds.text, labels, order_rows, seed) if labels else None
    return Evaluation(model_name, corpus_name, scores, corpus.manifest.column("speaker"), resamples, seed, order)
