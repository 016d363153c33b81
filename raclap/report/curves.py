"""Which curves a run has: loss and temperature by step, validation by corpus and direction, layer weights by epoch.

All charts share one axis, epochs; a step lies at the share of its epoch that is done.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from modeling_raclap import RaClapModel
from raclap.report.charts import LineChart, Point, Series, line_chart
from raclap.report.finished_run import FinishedRun
from raclap.report.step_log import Figures
from raclap.retrieval.classification import MEASURES
from raclap.retrieval.metrics import METRICS
from raclap.retrieval.ordinality import TAUS
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.reporting import ARROWS

Epoch = dict[str, Any]


@dataclass(frozen=True)
class LayerWeights:
    """α of one tower.

    Attributes:
        modality: `audio` or `text`.
        by_epoch: α of each epoch, from the first layer on.
        exported: α of the model that is reported on.
    """

    modality: str
    by_epoch: tuple[tuple[float, ...], ...]
    exported: tuple[float, ...]


def training_curves(run: FinishedRun, steps: Figures) -> list[LineChart]:
    """Loss and its figures, temperature, learning rate and speed."""
    single = _Steps(run, steps)
    epochs, figures = run.epochs, sorted({name for epoch in run.epochs for name in epoch.get("figures", {})})
    charts = [
        _chart(run, "loss", lambda epoch: epoch["loss"], single.of("train/loss")),
        *(
            _chart(run, name.replace("_", " "), lambda epoch, name=name: epoch.get("figures", {}).get(name),
                   single.of(f"train/{name}"))
            for name in figures
        ),
        _chart(run, "temperature", lambda epoch: 1 / epoch["logit_scale"],
               single.of("train/logit_scale", lambda scale: 1 / scale)),
        line_chart("learning rate", single.of("train/learning_rate", alone=True), _end(epochs), run.best),
        _chart(run, "pairs per second", lambda epoch: epoch["pairs_per_second"] or None, ()),
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]


def validation_curves(run: FinishedRun) -> list[LineChart]:
    """The figure that chose the epoch, and every validation figure by corpus and direction."""
    chosen = _chart(run, f"what chose the epoch: {run.recipe.evaluation.select}", lambda epoch: epoch["score"], ())
    corpora = [corpus.name for corpus in run.recipe.data.corpora]
    charts = [chosen]
    for metric in (*METRICS, *TAUS):
        series = [
            Series(f"{corpus}, {ARROWS[direction]}", _points(run.epochs, _retrieved(corpus, direction, metric)),
                   colour, dashed=direction == DIRECTIONS[1])
            for colour, corpus in enumerate(corpora)
            for direction in DIRECTIONS
        ]  # fmt: skip
        charts.append(line_chart(metric.replace("_", " "), series, _end(run.epochs), run.best))
    for measure in MEASURES:
        series = [
            Series(corpus, _points(run.epochs, _classified(corpus, measure)), colour)
            for colour, corpus in enumerate(corpora)
        ]
        charts.append(line_chart(f"zero-shot {measure.replace('_', '-')}", series, _end(run.epochs), run.best))
    return [chart for chart in charts if chart is not None]


def layer_weights(run: FinishedRun, model: RaClapModel) -> list[LayerWeights]:
    """α of the towers that weigh their layers; empty where none does."""
    return [
        LayerWeights(
            name,
            tuple(tuple(epoch["layer_weights"][name]) for epoch in run.epochs if name in epoch["layer_weights"]),
            tuple(alpha.tolist()),
        )
        for name, alpha in model.layer_weights.items()
    ]


class _Steps:
    """Figures of steps, on the axis of epochs."""

    def __init__(self, run: FinishedRun, figures: Figures):
        # An epoch that was broken off counts the steps after that alone.
        self._per_epoch = max(epoch["steps"] for epoch in run.epochs)
        self._last = _end(run.epochs)
        self._figures = figures

    def of(
        self, name: str, change: Callable[[float], float] = lambda value: value, alone: bool = False
    ) -> list[Series]:
        """One line, faint unless it stands alone, or none where nothing was logged."""
        if not self._per_epoch:
            return []
        places = (((step + 1) / self._per_epoch, change(value)) for step, value in self._figures.get(name, ()))
        done = tuple(point for point in places if point[0] <= self._last)
        return [Series("each step", done, faint=not alone, dots=False)]


def _chart(
    run: FinishedRun, title: str, value: Callable[[Epoch], float | None], beside: Iterable[Series]
) -> LineChart | None:
    return line_chart(title, [*beside, Series(title, _points(run.epochs, value))], _end(run.epochs), run.best)


def _points(epochs: list[Epoch], value: Callable[[Epoch], float | None]) -> tuple[Point, ...]:
    found = ((epoch["epoch"] + 1, value(epoch)) for epoch in epochs)
    return tuple((x, y) for x, y in found if y is not None)


def _retrieved(corpus: str, direction: str, metric: str) -> Callable[[Epoch], float | None]:
    return lambda epoch: epoch["validation"].get(corpus, {}).get(direction, {}).get(metric)


def _classified(corpus: str, measure: str) -> Callable[[Epoch], float | None]:
    return lambda epoch: epoch["validation"].get(corpus, {}).get("zero_shot", {}).get(measure, {}).get("value")


def _end(epochs: list[Epoch]) -> int:
    return epochs[-1]["epoch"] + 1
