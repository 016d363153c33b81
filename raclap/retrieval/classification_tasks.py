"""Tasks of zero-shot classification: a protocol on the rows of one manifest, checked before any model is loaded.

Shapes: N rows of a corpus, D joint size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.collection import read_split, select_rows
from raclap.data.inspection import Inspection
from raclap.errors import RecipeError
from raclap.retrieval.classification_reporting import ClassificationEvaluation
from raclap.retrieval.embed import embed_audio
from raclap.retrieval.labels import LabelledRows, find_labels, values_of
from raclap.retrieval.protocol import TEMPLATE, Protocol, load_protocol, protocol_of_values
from raclap.retrieval.zero_shot import classify_manifest


@dataclass(frozen=True)
class Task:
    """A protocol and the rows that it is tried on.

    Attributes:
        protocol: classes and prompts.
        manifest: the file.
        corpus: name of the corpus.
        split: of the rows.
        audio_root: where the audio lies, if not where the manifest says.
    """

    protocol: Protocol
    manifest: Path
    corpus: str
    split: str
    audio_root: Path | None = None

    @property
    def name(self) -> str:
        """By which its results are told apart."""
        return f"{self.protocol.name} on {self.corpus}"


def read_tasks(
    protocols: Sequence[tuple[str, str, Path]],
    columns: Sequence[tuple[str, str, Path]],
    templates: Sequence[str] | None = None,
    split: str | None = None,
    audio_root: Path | None = None,
) -> list[Task]:
    """Reads protocols and labels, so that a mistake in any task is told before work begins.

    Args:
        protocols: file of the protocol, name of the corpus (may be empty) and manifest, for each task.
        columns: an attribute, tag group or column in place of a protocol, and the same.
        templates: sentences for the values of columns.
        split: rows to use; None: those of the protocol, and `test` for columns.
        audio_root: where the audio lies, if not where the manifests say.

    Raises:
        RecipeError: a protocol is not as it should be, or two tasks have the same name.
        ManifestError: a manifest is not as it should be, has no rows of the split, or not the labels of the protocol.
    """
    tasks = []
    for given, corpus, path in protocols:
        protocol = load_protocol(given)
        rows = select_rows(path, split or protocol.split, audio_root)
        find_labels(rows, protocol)
        tasks.append(Task(protocol, path, corpus or rows[0].corpus, split or protocol.split, audio_root))
    for column, corpus, path in columns:
        rows = select_rows(path, split or "test", audio_root)
        protocol = protocol_of_values(column, values_of(rows, column), templates or (TEMPLATE,), split or "test")
        find_labels(rows, protocol)
        tasks.append(Task(protocol, path, corpus or rows[0].corpus, protocol.split, audio_root))
    names = [task.name for task in tasks]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"two tasks are called '{twice[0]}'; name their manifests, as in NAME=manifest.parquet")
    return tasks


def evaluate_tasks(
    model: RaClapModel,
    processor: RaClapProcessor,
    tasks: Sequence[Task],
    model_name: str,
    skip_bad: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> Iterator[ClassificationEvaluation]:
    """Classifies the clips of each task; bootstrap draws go by speaker.

    Tasks on the same rows are done together, so that each clip is read and embedded once.

    Raises:
        AudioError: a recording is bad and `skip_bad` is false.
    """
    together: dict[tuple[Path, str], list[Task]] = {}
    for task in tasks:
        together.setdefault((task.manifest, task.split), []).append(task)
    for (path, split), same_rows in together.items():
        corpus = read_split(path, split, processor.feature_extractor, same_rows[0].audio_root, skip_bad=skip_bad)
        labelled = [find_labels(corpus.manifest, task.protocol) for task in same_rows]
        embeds = _embed_labelled(model, processor, corpus, labelled)
        for task, labels in zip(same_rows, labelled, strict=True):
            clips = classify_manifest(model, processor, corpus, task.protocol, embeds, labels)
            yield ClassificationEvaluation(
                model_name, task.corpus, split, task.protocol, clips, corpus.skipped, resamples, seed
            )


def _embed_labelled(
    model: RaClapModel, processor: RaClapProcessor, corpus: Inspection, labelled: Sequence[LabelledRows]
) -> Tensor:
    """(N, D) clips that are of a class in any task; zeros for the others, which nobody reads."""
    rows = sorted(set().union(*(labels.rows for labels in labelled)))
    found = embed_audio(model, processor, corpus.rows(rows))
    embeds = found.new_zeros(len(corpus.manifest), found.shape[1])
    embeds[rows] = found
    return embeds
