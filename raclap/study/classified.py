"""What a model takes the test clips of a protocol for, clip by clip.

Shapes: N clips, S seeds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raclap.files import replacing
from raclap.retrieval.crossed_classification import SeededConfusions
from raclap.retrieval.zero_shot import ClassifiedClips
from raclap.study.values import MADE_FROM, ResultsError

_CLASSES = b"raclap.classes"
_LEFT_OUT = b"raclap.left_out"
_COLUMNS = ("pair_id", "speaker", "label", "prediction")


@dataclass(frozen=True, eq=False)
class ProtocolValues:
    """One model on one protocol.

    Attributes:
        pair_ids: (N,) rows of the manifest.
        speakers: (N,) of the clips; None where unknown.
        labels: (N,) true classes.
        predictions: (N,) classes.
        classes: all of the protocol, in its order.
        left_out: number of test rows that are not classified.
    """

    pair_ids: list[str]
    speakers: list[str | None]
    labels: list[str]
    predictions: list[str]
    classes: tuple[str, ...]
    left_out: int = 0

    @classmethod
    def of(cls, clips: ClassifiedClips, pair_ids: Sequence[str], classes: Sequence[str]) -> "ProtocolValues":
        """The outcome of a classification; `pair_ids` are those of all test rows."""
        return cls(
            [pair_ids[row] for row in clips.rows],
            list(clips.speakers),
            list(clips.labels),
            list(clips.predictions),
            tuple(classes),
            sum(clips.left_out.values()),
        )

    @property
    def units(self) -> list[tuple[str, str]]:
        """(N,) what each clip is drawn with: its speaker; itself where speakers are unknown, or there is one alone."""
        alone = len(set(self.speakers)) == 1
        return [
            ("clip", pair_id) if speaker is None or alone else ("speaker", speaker)
            for pair_id, speaker in zip(self.pair_ids, self.speakers, strict=True)
        ]

    def write(self, path: Path, made_from: str) -> None:
        """Writes a Parquet file, whole or not at all, that says what it was made from."""
        columns = (self.pair_ids, self.speakers, self.labels, self.predictions)
        table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(_COLUMNS, columns, strict=True)})
        metadata = {
            MADE_FROM: made_from, _CLASSES: json.dumps(self.classes), _LEFT_OUT: json.dumps(self.left_out)
        }  # fmt: skip
        with replacing(path) as beside:
            pq.write_table(table.replace_schema_metadata(metadata), beside)

    @classmethod
    def read(cls, path: Path) -> "ProtocolValues":
        """Reads what `write` wrote."""
        table = pq.read_table(path)
        about = table.schema.metadata
        columns = (table[name].to_pylist() for name in _COLUMNS)
        return cls(*columns, tuple(json.loads(about[_CLASSES])), json.loads(about[_LEFT_OUT]))


def confusions_of(models: Sequence[ProtocolValues]) -> SeededConfusions:
    """What several models said of the same clips.

    Args:
        models: one a seed.

    Raises:
        ResultsError: two of them classified other clips, or with other labels or classes.
    """
    first = models[0]
    for model in models:
        if (model.pair_ids, model.labels, model.classes) != (first.pair_ids, first.labels, first.classes):
            raise ResultsError("two models classified other clips; remove the folders test/ of the runs to test again")
    return SeededConfusions.of(first.labels, [model.predictions for model in models], first.classes, first.units)
