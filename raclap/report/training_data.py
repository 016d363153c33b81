"""What a model learnt from: what its folder says, else what the run recorded, else what the manifests still say."""

from pathlib import Path

from raclap.data.collection import select_rows
from raclap.data.facts import CorpusFacts
from raclap.data.inspection import inspect_audio
from raclap.errors import ManifestError
from raclap.hub.lineage import TrainingData, read_training_data
from raclap.recipe import CorpusRecipe
from raclap.report.finished_run import FinishedRun

_ANY_RATE = 16_000  # nothing is decoded


def training_data(run: FinishedRun) -> TrainingData:
    """Corpora of the model of a run, those of its teachers and of what it started from included.

    Raises:
        ModelFolderError: what a model folder says cannot be read.
    """
    said = read_training_data(run.export)
    if said is not None:
        return said
    facts = {
        corpus.name: run.corpora[corpus.name] if corpus.name in run.corpora else _of_manifest(corpus)
        for corpus in run.recipe.data.corpora
    }
    return TrainingData.of_run(run.recipe, facts)


def _of_manifest(corpus: CorpusRecipe) -> CorpusFacts:
    """Facts without hours: no recording is opened."""
    try:
        rows = select_rows(Path(corpus.manifest), "train", corpus.audio_root, corpus.pairs, alone=True)
        return CorpusFacts.of_corpus(inspect_audio(rows, _ANY_RATE, check="none", progress=False))
    except ManifestError:
        return CorpusFacts.unknown()
