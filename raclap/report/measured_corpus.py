"""A model on one split of every corpus of its run: each clip and caption is embedded once, and all figures follow.

Shapes: N rows of a corpus, D joint size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.collection import read_corpora
from raclap.data.inspection import Inspection
from raclap.data.manifest import Manifest, find_manifest
from raclap.errors import ManifestError, RecipeError
from raclap.recipe import CorpusRecipe, DataRecipe
from raclap.report.finished_run import FinishedRun, ReportError
from raclap.retrieval.classification_reporting import ClassificationEvaluation
from raclap.retrieval.embed import PairEmbeddings, embed_pairs
from raclap.retrieval.evaluation import Evaluation
from raclap.retrieval.labels import find_labels, values_of
from raclap.retrieval.metrics import rank_pairs
from raclap.retrieval.ordinality import OrderError, OrdinalityScores, order_labels, rank_order
from raclap.retrieval.protocol import Protocol, protocol_of_values
from raclap.retrieval.relevance import StyleRelevance
from raclap.retrieval.zero_shot import classify_manifest

_MOST_CLASSES = 12  # of an attribute; more make no matrix that can be read


@dataclass(frozen=True)
class Reading:
    """Which rows are read, and how figures are drawn.

    Attributes:
        split: of every corpus.
        audio_root: where the audio lies, if not where the manifests say.
        manifests: where manifests lie now, by corpus, if not where the recipe says.
        skip_bad: leave bad recordings out, and count them.
        seed: of the bootstrap and of everything else that is drawn.
        resamples: of the bootstrap.
    """

    split: str = "validation"
    audio_root: Path | None = None
    manifests: Mapping[str, Path] | None = None
    skip_bad: bool = False
    seed: int = 0
    resamples: int = 2000


@dataclass(frozen=True, eq=False)
class MeasuredCorpus:
    """What a model makes of one split of a corpus.

    Attributes:
        name: of the corpus.
        rows: inspected; their sound can be read.
        embeds: of clips and first captions.
        relevance: which captions hold for which clips.
        evaluation: retrieval in both directions.
        classified: zero-shot classifications of these rows.
    """

    name: str
    rows: Inspection
    embeds: PairEmbeddings
    relevance: StyleRelevance
    evaluation: Evaluation
    classified: tuple[ClassificationEvaluation, ...]

    def __len__(self) -> int:
        return len(self.rows.manifest)


def find_corpora(run: FinishedRun, reading: Reading) -> tuple[list[CorpusRecipe], list[str]]:
    """Finds the corpora of a run before any model is loaded.

    Returns:
        Those that have rows of the split, and the names of those that have none.

    Raises:
        ReportError: a corpus is not where it was, none has such rows, or a manifest is named for a corpus that the run
            has not.
        ManifestError: a manifest is damaged.
    """
    moved = dict(reading.manifests or {})
    known = [corpus.name for corpus in run.recipe.data.corpora]
    if unknown := sorted(set(moved) - set(known)):
        raise ReportError(f"--manifest {unknown[0]}: no corpus of the run; its corpora are {', '.join(known)}")
    found, without = [], []
    for corpus in run.recipe.data.corpora:
        path = Path(moved.get(corpus.name, corpus.manifest))
        root = reading.audio_root or corpus.audio_root
        if not path.exists():
            raise ReportError(
                f"{path}: the manifest of '{corpus.name}' is no longer there; --manifest {corpus.name}=FILE says "
                f"where it is now"
            )
        files = find_manifest(path, root)
        if not files.audio_root.is_dir():
            raise ReportError(
                f"{path}: its audio is no longer in {files.audio_root}; --audio-root FOLDER says where it is now"
            )
        if files.count(reading.split):
            own = {"manifest": str(path), "audio_root": None if root is None else str(root)}
            found.append(corpus.model_copy(update=own))
        else:
            without.append(corpus.name)
    if not found:
        raise ReportError(f"{run.path}: no corpus of the run has rows of the split '{reading.split}'")
    return found, without


def measure_corpora(
    run: FinishedRun,
    model: RaClapModel,
    processor: RaClapProcessor,
    corpora: Sequence[CorpusRecipe],
    protocols: Sequence[Protocol],
    only_protocols: bool,
    reading: Reading,
) -> Iterator[MeasuredCorpus]:
    """Embeds and measures one corpus after the other.

    Args:
        run: whose model it is.
        model: on the device to use.
        processor: the one it was trained with.
        corpora: what `find_corpora` found.
        protocols: of zero-shot classification, tried where a corpus has their labels.
        only_protocols: else the values of each attribute of a corpus are classes as well.
        reading: which rows.

    Raises:
        ManifestError: a caption names an attribute that its row does not have.
        AudioError: a recording is bad and bad ones are not left out.
    """
    for corpus in corpora:
        rows = _read(run.recipe.data, corpus, processor, reading)
        embeds = embed_pairs(model, processor, rows)
        rows = replace(rows, kept=None)  # clips that are heard again are few: they are read again
        relevance = StyleRelevance.from_manifest(rows.manifest)
        order = _order(embeds, rows.manifest, reading.seed)
        own = [*protocols, *(() if only_protocols else _attribute_protocols(rows.manifest, reading.split))]
        yield MeasuredCorpus(
            name=corpus.name,
            rows=rows,
            embeds=embeds,
            relevance=relevance,
            evaluation=Evaluation(
                run.recipe.name, corpus.name, rank_pairs(embeds.audio, embeds.text, relevance),
                rows.manifest.column("speaker"), reading.resamples, reading.seed, order,
            ),
            classified=tuple(_classify(run, model, processor, corpus.name, rows, embeds, own, reading)),
        )  # fmt: skip


def attribute_values(manifest: Manifest) -> dict[str, list[str | None]]:
    """`{attribute: a value or None for each row}` of all attributes that any row has, by name."""
    rows = [{item["name"]: item["value"] for item in items or ()} for items in manifest.column("attributes")]
    return {name: [row.get(name) for row in rows] for name in sorted({name for row in rows for name in row})}


def _read(recipe: DataRecipe, corpus: CorpusRecipe, processor: RaClapProcessor, reading: Reading) -> Inspection:
    """Rows whole, whatever training cut of them.

    A run that kept decoded clips kept 16-bit samples, and was validated on these: a rounded clip may change places
    with another that is as close. Training rows were never measured, and may be too many to keep.
    """
    rounded = recipe.keep_in_memory or recipe.cache is not None
    alone = recipe.model_copy(
        update={
            "corpora": (corpus,),
            "crop_seconds": None,
            "audio_check": "decode",
            "skip_bad": reading.skip_bad,
            "keep_in_memory": rounded and reading.split != "train",
            "cache": None,
        }
    )
    return read_corpora(alone, reading.split, processor.feature_extractor)[corpus.name]


def _order(embeds: PairEmbeddings, manifest: Manifest, seed: int) -> OrdinalityScores | None:
    """Order of valence and arousal, where the rows have them and they differ."""
    try:
        labels = order_labels(manifest)
    except OrderError:
        return None
    return rank_order(embeds.audio, embeds.text, labels, seed=seed) if labels else None


def _classify(
    run: FinishedRun,
    model: RaClapModel,
    processor: RaClapProcessor,
    corpus: str,
    rows: Inspection,
    embeds: PairEmbeddings,
    protocols: Sequence[Protocol],
    reading: Reading,
) -> Iterator[ClassificationEvaluation]:
    for protocol in protocols:
        try:
            labels = find_labels(rows.manifest, protocol)
        except ManifestError:
            continue  # a protocol is about some of the corpora
        clips = classify_manifest(model, processor, rows, protocol, embeds.audio, labels)
        yield ClassificationEvaluation(
            run.recipe.name, corpus, reading.split, protocol, clips, rows.skipped, reading.resamples, reading.seed
        )


def _attribute_protocols(manifest: Manifest, split: str) -> Iterator[Protocol]:
    for name in attribute_values(manifest):
        try:
            values = values_of(manifest, name)
            protocol = protocol_of_values(name, values, split=split)
        except (ManifestError, RecipeError):
            continue  # one value alone, or two that read the same: nothing to tell apart
        if len(values) <= _MOST_CLASSES:
            yield protocol
