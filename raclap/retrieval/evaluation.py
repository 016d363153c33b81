"""Evaluating an exported model on inspected rows: retrieval, and the order of emotions where it is known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.retrieval.embed import PairEmbeddings, embed_pairs
from raclap.retrieval.metrics import CEILINGS, RetrievalScores, rank_pairs, statistic_of
from raclap.retrieval.ordinality import MAX_ROWS, TAUS, OrdinalityScores, order_labels, rank_order
from raclap.retrieval.relevance import DIRECTIONS, Direction, StyleRelevance
from raclap.retrieval.statistics import Interval, bootstrap_interval


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model on one corpus.

    Attributes:
        model: name, as it is to be read.
        corpus: name of the corpus.
        scores: what `rank_pairs` found.
        clusters: (N,) speaker of each pair, None where unknown; None for all draws queries alone.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        order: what `rank_order` found; None where valence and arousal are not known.
    """

    model: str
    corpus: str
    scores: RetrievalScores
    clusters: Sequence[Any] | None = None
    resamples: int = 2000
    seed: int = 0
    order: OrdinalityScores | None = None
    _known: dict[tuple[Direction, str], Interval] = field(default_factory=dict, init=False, repr=False)

    @property
    def clips(self) -> int:
        """N, the number of pairs."""
        return len(self.scores.audio_to_text.instance_rank)

    @property
    def intervals(self) -> dict[Direction, dict[str, Interval]]:
        """Every reported metric of both directions with its interval."""
        return {
            direction: {metric: self.interval(direction, metric) for metric in self.scores.metrics}
            for direction in DIRECTIONS
        }

    @property
    def order_intervals(self) -> dict[Direction, dict[str, Interval]]:
        """The τ of both directions with their intervals; without any where there is no order."""
        metrics = () if self.order is None else self.order.metrics
        return {
            direction: {metric: self.interval(direction, metric) for metric in metrics} for direction in DIRECTIONS
        }

    def interval(self, direction: Direction, metric: str) -> Interval:
        """One metric with its interval, drawn when first asked for.

        A ceiling belongs to the test set as it is, so it has no width.
        """
        if (direction, metric) not in self._known:
            self._known[direction, metric] = self._interval(direction, metric)
        return self._known[direction, metric]

    def _interval(self, direction: Direction, metric: str) -> Interval:
        values, clusters = self.queries(direction, metric)
        if metric.startswith("style_ceiling_"):
            return Interval(*[float(values.mean())] * 3)
        return bootstrap_interval(values, clusters, statistic_of(metric), self.resamples, self.seed)

    def queries(self, direction: Direction, metric: str) -> tuple[np.ndarray, Sequence[Any] | None]:
        """Values of the queries that have any, and their speakers: all but for τ, which not every row may have."""
        if metric not in TAUS or self.order is None:
            return self.scores[direction].values(metric), self.clusters
        rows = np.flatnonzero(self.order.measured(metric))
        clusters = None if self.clusters is None else [self.clusters[row] for row in rows]
        return self.order[direction].values(metric)[rows], clusters

    @property
    def has_ceiling(self) -> bool:
        """Whether the style ceiling is known."""
        return set(CEILINGS) <= set(self.scores.metrics)


def evaluate(
    model: RaClapModel,
    processor: RaClapProcessor,
    corpus: Inspection,
    model_name: str,
    corpus_name: str,
    resamples: int = 2000,
    seed: int = 0,
    order_rows: int = MAX_ROWS,
    embeds: PairEmbeddings | None = None,
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
        embeds: of these rows, where known.

    Raises:
        ManifestError: a caption names an attribute that its row does not have.
        OrderError: all valences are equal, or all arousals, or one is infinite; found before anything is embedded.
    """
    labels = order_labels(corpus.manifest) if order_rows > 0 else {}
    embeds = embed_pairs(model, processor, corpus) if embeds is None else embeds
    scores = rank_pairs(embeds.audio, embeds.text, StyleRelevance.from_manifest(corpus.manifest))
    order = rank_order(embeds.audio, embeds.text, labels, order_rows, seed) if labels else None
    return Evaluation(model_name, corpus_name, scores, corpus.manifest.column("speaker"), resamples, seed, order)


def as_dicts(intervals: dict[Direction, dict[str, Interval]]) -> dict[str, dict[str, dict[str, float]]]:
    """Intervals as JSON has them: `{direction: {metric: {"value", "low", "high"}}}`."""
    return {
        direction: {metric: asdict(interval) for metric, interval in metrics.items()}
        for direction, metrics in intervals.items()
    }
