"""Scoring a whole archive against a vocabulary of styles, from the stored vectors alone.

    groups = read_vocabulary(["configuration/demo/protocols/emotion.yaml"])
    summary = tag_archive(ArchiveIndex.open("archive"), model, processor, groups, Path("tags.parquet"))

A label is scored as in zero-shot classification: by the cosine of a window with the mean direction of the sentences
of the label, so the best label of a group is what `raclap.retrieval.classification.classify` takes the window for.
Cosines become probabilities by the calibration of the model, each label by itself: several may hold, or none. Of a
model without calibration they are a softmax over the labels of the group at the temperature that the model was trained
with, which says which label and never that none holds.

The index is read in blocks, so memory does not grow with it.

Shapes: n rows of a block, D joint size, L labels of all groups, W windows, R recordings.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from pyarrow import parquet
from torch import Tensor
from tqdm import tqdm

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.facts import ArchiveError
from raclap.archive.store import ArchiveIndex
from raclap.archive.tag_columns import LabelColumns, label_columns
from raclap.archive.tag_passages import OwnTime, Passages, of_recordings
from raclap.files import replacing
from raclap.retrieval.classification import class_embeds
from raclap.retrieval.protocol import Protocol
from raclap.retrieval.zero_shot import embed_prompts

_BLOCK = 16_384
CALIBRATED, SOFTMAX = "calibrated", "softmax over the labels of a group"


@dataclass(frozen=True)
class TagSummary:
    """What an archive holds.

    Attributes:
        hours: by group and label, hours of which this is the best label, in the order of the vocabulary; where there
            is a threshold, under None those of which no label reaches it. Time that windows share counts once.
        total_hours: of all that was scored.
        rows: number of windows or recordings that were scored.
        rows_are: "windows" or "recordings".
        probabilities: `CALIBRATED` or `SOFTMAX`.
        threshold: least probability of a best label.
    """

    hours: dict[str, dict[str | None, float]]
    total_hours: float
    rows: int
    rows_are: str
    probabilities: str
    threshold: float


def tag_archive(
    index: ArchiveIndex,
    model: RaClapModel,
    processor: RaClapProcessor,
    groups: Sequence[Protocol],
    output: Path | None = None,
    where: str | None = None,
    threshold: float = 0.0,
    by_recording: bool = False,
    progress: bool = True,
) -> TagSummary:
    """Scores every window, or recording, of an archive against every label.

    Args:
        index: the archive.
        model: the one that the index was made with, in eval mode.
        processor: of the model.
        groups: what `read_vocabulary` read.
        output: Parquet to write, whole or not at all: `source`, `root`, `recording`, `window`, `start`, `end` (of
            recordings `windows` and `seconds`), and for each group GROUP (the best label, null below the threshold),
            GROUP_margin (how far its probability is above that of the second) and GROUP:LABEL (probability of each
            label).
        where: rows of the index to score, as SQL; None: all.
        threshold: least probability of a best label, in [0, 1].
        by_recording: score recordings: the mean of the probabilities of their windows, each weighted by the time that
            no earlier window covers.
        progress: show a progress bar.

    Raises:
        ArchiveError: the index holds nothing that can be scored, the filter is wrong, two groups would have the same
            columns, or the output cannot be written.
    """
    columns = label_columns(groups)
    chosen = index.where(where)
    total = index.windows if chosen is None else len(chosen)
    if not total:
        reason = f'none of its windows fits --where "{where}"' if index.windows else "it is empty, without any window"
        raise ArchiveError(f"{index.path}: {reason}")
    scores = _scorer(model, processor, groups)
    passages = _passages(index, chosen, total, scores, progress)
    if by_recording:
        passages = of_recordings(passages)
    probabilities = SOFTMAX if model.calibration is None else CALIBRATED
    made_by = {"model": index.facts.model.name, "weights": dict(index.facts.model.weights)}
    facts = {"probabilities": probabilities, "threshold": threshold, "where": where, **made_by}
    tally = _Tally(columns)
    schema = columns.schema(by_recording, facts)
    with _writer(output, schema) as write:
        for block in passages:
            best, margins = columns.best(block.probabilities, threshold)
            tally.add(best, block.seconds)
            write(columns.table(block, best, margins, schema))
    return TagSummary(
        hours=tally.hours(unlabelled=threshold > 0),
        total_hours=tally.seconds / 3600,
        rows=tally.rows,
        rows_are="recordings" if by_recording else "windows",
        probabilities=probabilities,
        threshold=threshold,
    )


def _scorer(
    model: RaClapModel, processor: RaClapProcessor, groups: Sequence[Protocol]
) -> Callable[[np.ndarray], np.ndarray]:
    """What makes (n, L) probabilities of vectors (n, D)."""
    labels = [class_embeds(embed_prompts(model, processor, group)) for group in groups]
    directions, sizes = torch.cat(labels), [len(each) for each in labels]
    calibration, scale = model.calibration, model.logit_scale.item()

    def to_probabilities(cosines: Tensor) -> Tensor:
        if calibration is not None:
            return calibration.probability(cosines)
        return torch.cat([(scale * part).softmax(1) for part in cosines.split(sizes, 1)], 1)

    @torch.inference_mode()
    def score(vectors: np.ndarray) -> np.ndarray:
        cosines = F.normalize(torch.from_numpy(vectors.astype(np.float32)), dim=-1) @ directions.T
        return to_probabilities(cosines.double()).numpy()  # in single precision, high ones would tie at 1

    return score


def _passages(
    index: ArchiveIndex,
    chosen: np.ndarray | None,
    total: int,
    score: Callable[[np.ndarray], np.ndarray],
    progress: bool,
) -> Iterator[Passages]:
    """The windows of an index in its order, scored, block by block."""
    own = OwnTime()
    with tqdm(total=total, desc="scoring", unit="window", unit_scale=True, disable=not progress) as bar:
        for first in range(0, total, _BLOCK):
            places = np.arange(first, min(first + _BLOCK, total))
            ids = places if chosen is None else chosen[places]
            rows = index.rows(ids, ["source", "root", "recording", "window", "start", "end", "vector"])
            vectors = pa.concat_arrays(rows["vector"].chunks).flatten().to_numpy(zero_copy_only=False)
            where = [rows[name].to_numpy() for name in ("source", "root", "recording", "window", "start", "end")]
            sources, _, recordings, _, start, end = where
            yield Passages(
                *where,
                seconds=own.of(sources, recordings, start, end),
                probabilities=score(vectors.reshape(len(rows), -1)),
            )
            bar.update(len(ids))


@contextmanager
def _writer(output: Path | None, schema: pa.Schema) -> Iterator[Callable[[pa.Table], Any]]:
    """Gives what writes tables to the Parquet file, which is there, whole, when the block ends; None: nowhere."""
    if output is None:
        yield lambda table: None
        return
    try:
        with replacing(output) as beside, parquet.ParquetWriter(beside, schema, compression="zstd") as writer:
            yield writer.write_table
    except OSError as error:
        raise ArchiveError(f"{output}: cannot be written ({error.strerror or error})") from error


class _Tally:
    """Seconds by best label."""

    def __init__(self, columns: LabelColumns):
        self._columns = columns
        # The last place of a group counts what no label was found for, NONE among the best.
        self._seconds = {name: np.zeros(len(labels) + 1) for name, labels in columns.labels.items()}
        self.seconds, self.rows = 0.0, 0

    def add(self, best: dict[str, np.ndarray], seconds: np.ndarray) -> None:
        """Counts a block: places (n,) of the best labels by group, -1 for none, and seconds (n,)."""
        self.seconds, self.rows = self.seconds + float(seconds.sum()), self.rows + len(seconds)
        for name, places in best.items():
            np.add.at(self._seconds[name], places, seconds)

    def hours(self, unlabelled: bool) -> dict[str, dict[str | None, float]]:
        """As `TagSummary.hours`, with or without what no label was found for."""
        names = [None] if unlabelled else []
        return {
            name: dict(zip([*labels, *names], (self._seconds[name] / 3600).tolist(), strict=False))
            for name, labels in self._columns.labels.items()
        }
