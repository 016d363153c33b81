"""Evaluating an exported model on one split of a manifest."""

from pathlib import Path

from modeling_raclap import RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import read_manifest
from raclap.errors import ManifestError
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.relevance import StyleRelevance
from raclap.retrieval.reporting import Evaluation


def read_corpus(
    path: Path,
    split: str,
    features: RaClapFeatureExtractor,
    audio_root: Path | None = None,
    skip_bad: bool = False,
) -> Inspection:
    """Reads one split of a manifest and checks its recordings.

    Raises:
        ManifestError: the manifest is not as it should be, or has no rows of the split.
        AudioError: a recording is bad and `skip_bad` is false.
    """
    manifest = read_manifest(path, audio_root).split(split)
    if not len(manifest):
        raise ManifestError(f"{path}: no rows of the split '{split}'")
    return inspect_audio(manifest, features.sampling_rate, features.trim, skip_bad=skip_bad)


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
