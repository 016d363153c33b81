"""Zero-shot classification of a manifest by a protocol: clips and class prompts to predictions, clip by clip.

    clips = classify_manifest(model, processor, corpus, load_protocol("configuration/protocols/ravdess_8.yaml"))
    clips.rows, clips.labels, clips.predictions     # of the inspected corpus; rows that have no class are left out

Clips that are embedded already are not embedded again: `classify_manifest(..., audio_embeds=embeds.audio)`.

Shapes: N rows of a corpus, n of them classified, D joint size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.retrieval.classification import ClassificationScores, classify, score_classification
from raclap.retrieval.embed import embed_audio, embed_text
from raclap.retrieval.labels import LabelledRows, find_labels
from raclap.retrieval.protocol import Protocol


@dataclass(frozen=True)
class ClassifiedClips:
    """What a model took the clips of a corpus for.

    Attributes:
        rows: n places in the inspected corpus, rising.
        labels: n true classes.
        predictions: n classes.
        speakers: n speakers; None where unknown.
        left_out: number of rows that are not classified, by reason.
    """

    rows: tuple[int, ...]
    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    speakers: tuple[str | None, ...]
    left_out: dict[str, int]

    def scores(self, classes: Sequence[str], resamples: int = 2000, seed: int = 0) -> ClassificationScores:
        """Accuracy, recall and F1 with intervals over speakers; see `score_classification`."""
        return score_classification(self.labels, self.predictions, classes, self.speakers, resamples, seed)


def classify_manifest(
    model: RaClapModel,
    processor: RaClapProcessor,
    corpus: Inspection,
    protocol: Protocol,
    audio_embeds: Tensor | None = None,
    labelled: LabelledRows | None = None,
) -> ClassifiedClips:
    """Takes each clip for the class whose prompts are nearest.

    Under several processes each embeds its part and all return everything.

    Args:
        model: on the device to use; its mode is put back afterwards.
        processor: the one it was trained with.
        corpus: inspected rows of one split; the protocol's own split is for who reads them.
        protocol: classes and prompts.
        audio_embeds: (N, D) clips of all rows, where known.
        labelled: what `find_labels` found in these rows, where known.

    Raises:
        ManifestError: as `find_labels`.
    """
    labelled = find_labels(corpus.manifest, protocol) if labelled is None else labelled
    rows = list(labelled.rows)
    training = model.training
    model.eval()
    try:
        clips = embed_audio(model, processor, corpus.rows(rows)) if audio_embeds is None else audio_embeds[rows]
        predictions = classify(clips, embed_prompts(model, processor, protocol))
    finally:
        model.train(training)
    speakers = corpus.manifest.column("speaker")
    return ClassifiedClips(
        rows=labelled.rows,
        labels=labelled.labels,
        predictions=tuple(predictions),
        speakers=tuple(speakers[row] for row in rows),
        left_out=labelled.left_out,
    )


def embed_prompts(model: RaClapModel, processor: RaClapProcessor, protocol: Protocol) -> dict[str, Tensor]:
    """(P, D) float32 embeddings of the prompts of each class, in the order of the protocol; P may differ."""
    sizes = [len(sentences) for sentences in protocol.prompts.values()]
    embeds = embed_text(model, processor, [text for sentences in protocol.prompts.values() for text in sentences])
    return dict(zip(protocol.prompts, embeds.split(sizes), strict=True))
