"""What a model does on the test split of a corpus, query by query.

Shapes: N queries of a test set, S seeds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raclap.errors import RaClapError
from raclap.files import replacing
from raclap.retrieval.metrics import RetrievalScores
from raclap.retrieval.ordinality import TAUS, OrdinalityScores
from raclap.retrieval.relevance import DIRECTIONS, Direction
from raclap.retrieval.statistics import SeededValues
from raclap.study.plan import TAU

MADE_FROM = b"raclap.made_from"
GAPS = ("modality_gap", "mmd")

_MEASURES = b"raclap.measures"


class ResultsError(RaClapError):
    """Test values cannot be compared, or cannot be had."""


@dataclass(frozen=True, eq=False)
class TestValues:
    """One model on the test split of one corpus.

    Attributes:
        pair_ids: (N,) rows of the manifest.
        speakers: (N,) of the clips; None where unknown.
        columns: (N,) values by `DIRECTION METRIC`, percent, ranks as they are; τ in hundredths, NaN where a row was
            not measured.
        measures: of all rows together: `GAPS`, where the order of emotions was measured.
    """

    __test__ = False  # pytest takes it for a class of tests by its name

    pair_ids: list[str]
    speakers: list[str | None]
    columns: dict[str, np.ndarray]
    measures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        scores: RetrievalScores,
        pair_ids: Sequence[str],
        speakers: Sequence[str | None],
        order: OrdinalityScores | None = None,
    ) -> "TestValues":
        """The values of every metric that was measured."""
        columns = {
            f"{direction} {metric}": scores[direction].values(metric)
            for direction in DIRECTIONS
            for metric in scores.metrics
        }
        if order is None:
            return cls(list(pair_ids), list(speakers), columns)
        taus = {f"{d} {metric}": 100 * order[d].values(metric) for d in DIRECTIONS for metric in TAUS}
        return cls(list(pair_ids), list(speakers), columns | taus, {name: getattr(order, name) for name in GAPS})

    def values(self, metric: str, direction: Direction | None = None) -> np.ndarray:
        """(N,) values of a metric; without a direction the mean of both, which have the same speaker in each row."""
        directions = DIRECTIONS if direction is None else (direction,)
        metrics = TAUS if metric == TAU else (metric,)
        return np.mean([self.columns[f"{each} {name}"] for each in directions for name in metrics], axis=0)

    def has(self, metric: str) -> bool:
        """Whether the metric was measured."""
        return f"{DIRECTIONS[0]} {metric}" in self.columns

    def write(self, path: Path, made_from: str) -> None:
        """Writes a Parquet file, whole or not at all, that says what it was made from."""
        table = pa.table({"pair_id": self.pair_ids, "speaker": pa.array(self.speakers, pa.string()), **self.columns})
        metadata = {MADE_FROM: made_from, _MEASURES: json.dumps(self.measures)}
        with replacing(path) as beside:
            pq.write_table(table.replace_schema_metadata(metadata), beside)

    @classmethod
    def read(cls, path: Path) -> "TestValues":
        """Reads what `write` wrote."""
        table = pq.read_table(path)
        columns = table.to_pydict()
        pair_ids, speakers = columns.pop("pair_id"), columns.pop("speaker")
        measures = json.loads((table.schema.metadata or {}).get(_MEASURES, b"{}"))
        return cls(pair_ids, speakers, {name: np.array(values) for name, values in columns.items()}, measures)


def stack(models: Sequence[TestValues], metric: str, direction: Direction | None = None) -> SeededValues:
    """The values (S, N) of several models on the same test set, without the rows that the metric leaves out.

    Args:
        models: one a seed.
        metric: one of those that were measured.
        direction: None for the mean of both.

    Raises:
        ResultsError: two of them were tested on other rows.
    """
    if any(model.pair_ids != models[0].pair_ids for model in models):
        raise ResultsError("two models were tested on other rows; remove the folders test/ of the runs to test again")
    values = np.stack([model.values(metric, direction) for model in models])
    # What is left out depends on labels alone, so it is the same for every model.
    measured = np.flatnonzero(~np.isnan(values).all(axis=0))
    return SeededValues(values[:, measured], [models[0].speakers[row] for row in measured])
