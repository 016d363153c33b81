"""What each model of the study does on each test set, query by query, kept so that it is computed once.

Shapes: N queries of a test set, S seeds.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modeling_raclap import RaClapProcessor
from raclap.data.collection import read_split
from raclap.data.inspection import Inspection
from raclap.errors import RaClapError
from raclap.files import replacing
from raclap.model_folder import load_model_folder
from raclap.processes import join_processes
from raclap.retrieval.evaluation import evaluate
from raclap.retrieval.relevance import DIRECTIONS, Direction
from raclap.retrieval.reporting import Evaluation
from raclap.retrieval.statistics import SeededValues
from raclap.study.plan import Job, Plan

_MADE_FROM = b"raclap.made_from"


class ResultsError(RaClapError):
    """Test values of two models are not of the same queries."""


@dataclass(frozen=True, eq=False)
class TestValues:
    """One model on the test split of one corpus.

    Attributes:
        pair_ids: (N,) rows of the manifest.
        speakers: (N,) of the clips; None where unknown.
        columns: (N,) values by `DIRECTION METRIC`, percent, ranks as they are.
    """

    __test__ = False  # pytest takes it for a class of tests by its name

    pair_ids: list[str]
    speakers: list[str | None]
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, evaluation: Evaluation, pair_ids: Sequence[str]) -> "TestValues":
        """The values of every metric that an evaluation has."""
        columns = {
            f"{direction} {metric}": evaluation.scores[direction].values(metric)
            for direction in DIRECTIONS
            for metric in evaluation.scores.metrics
        }
        return cls(list(pair_ids), list(evaluation.clusters), columns)

    def values(self, metric: str, direction: Direction | None = None) -> np.ndarray:
        """(N,) values of a metric; without a direction the mean of both, which have the same speaker in each row."""
        directions = DIRECTIONS if direction is None else (direction,)
        return np.mean([self.columns[f"{each} {metric}"] for each in directions], axis=0)

    def has(self, metric: str) -> bool:
        """Whether the metric was measured."""
        return f"{DIRECTIONS[0]} {metric}" in self.columns

    def write(self, path: Path, made_from: str) -> None:
        """Writes a Parquet file, whole or not at all, that says what it was made from."""
        table = pa.table({"pair_id": self.pair_ids, "speaker": pa.array(self.speakers, pa.string()), **self.columns})
        with replacing(path) as beside:
            pq.write_table(table.replace_schema_metadata({_MADE_FROM: made_from}), beside)

    @classmethod
    def read(cls, path: Path) -> "TestValues":
        """Reads what `write` wrote."""
        columns = pq.read_table(path).to_pydict()
        pair_ids, speakers = columns.pop("pair_id"), columns.pop("speaker")
        return cls(pair_ids, speakers, {name: np.array(values) for name, values in columns.items()})


def stack(models: Sequence[TestValues], metric: str, direction: Direction | None = None) -> SeededValues:
    """The values (S, N) of several models on the same test set.

    Args:
        models: one a seed.
        metric: one of those that were measured.
        direction: None for the mean of both.

    Raises:
        ResultsError: two of them were tested on other rows.
    """
    if any(model.pair_ids != models[0].pair_ids for model in models):
        raise ResultsError("two models were tested on other rows; remove the folders test/ of the runs to test again")
    return SeededValues(np.stack([model.values(metric, direction) for model in models]), models[0].speakers)


class TestSets:
    """The test sets of a study, and how its models do on them.

    Args:
        plan: of the study.
    """

    __test__ = False

    def __init__(self, plan: Plan):
        self._plan = plan
        self._audio: dict[tuple[str, str], Inspection] = {}
        self._manifests: dict[str, str] = {}

    def path(self, job: Job, corpus: str) -> Path:
        """Where the values of a job on a corpus are kept."""
        return self._plan.tests(job) / f"{corpus}.parquet"

    def renew(self, job: Job) -> bool:
        """Tests a finished job on every corpus where its values are missing or of another model or manifest.

        Where the model itself is gone, the values that are there stand.

        Returns:
            Whether anything had to be computed.
        """
        weights = sorted(self._plan.export(job).glob("*.safetensors"))
        if not weights:
            return False
        model_hash = _sha256(weights)
        wanted = {corpus: f"{model_hash} {self._manifest(corpus)}" for corpus in self._plan.corpora}
        old = [corpus for corpus, made_from in wanted.items() if _made_from(self.path(job, corpus)) != made_from]
        if not old:
            return False
        print(f"{job}: testing", flush=True)
        model, processor = load_model_folder(self._plan.export(job))
        model = model.to(join_processes().device)
        for corpus in old:
            audio = self._inspected(corpus, processor)
            evaluation = evaluate(model, processor, audio, str(job), corpus)
            found = TestValues.of(evaluation, audio.manifest.column("pair_id"))
            found.write(self.path(job, corpus), wanted[corpus])
        return True

    def read(self, job: Job) -> dict[str, TestValues] | None:
        """The values of a job by corpus; None unless they are there for every corpus."""
        paths = {corpus: self.path(job, corpus) for corpus in self._plan.corpora}
        if not all(path.is_file() for path in paths.values()):
            return None
        return {corpus: TestValues.read(path) for corpus, path in paths.items()}

    def _inspected(self, corpus: str, processor: RaClapProcessor) -> Inspection:
        """The decoded test split; models that hear alike share it."""
        features = processor.feature_extractor
        key = (corpus, json.dumps(features.to_dict(), sort_keys=True, default=str))
        if key not in self._audio:
            self._audio[key] = read_split(self._plan.corpora[corpus], "test", features, keep=True)
        return self._audio[key]

    def _manifest(self, corpus: str) -> str:
        if corpus not in self._manifests:
            self._manifests[corpus] = _sha256([Path(self._plan.corpora[corpus])])
        return self._manifests[corpus]


def _sha256(paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _made_from(path: Path) -> str | None:
    if not path.is_file():
        return None
    return (pq.read_schema(path).metadata or {}).get(_MADE_FROM, b"").decode()
