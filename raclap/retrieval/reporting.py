"""Results of several models side by side: tables to read, a figure to show, JSON to keep.

A corpus is evaluated in two directions; the first model named for it is the baseline of paired comparisons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from raclap.files import replacing
from raclap.retrieval.evaluation import Evaluation, as_dicts
from raclap.retrieval.metrics import METRICS, statistic_of, summarise
from raclap.retrieval.ordinality import TAUS
from raclap.retrieval.relevance import DIRECTIONS, Direction
from raclap.retrieval.statistics import Interval, paired_difference

ARROWS: dict[Direction, str] = {"audio_to_text": "audio → text", "text_to_audio": "text → audio"}
DRAWN = ("R@1", "R@5", "R@10", "mAP@10", "nDCG@10")

# Okabe and Ito: told apart by readers of every colour vision, and in print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
FIGURE_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_CEILING = "style ceiling"
INK, FAINT = "#222222", "#888888"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired difference of one metric between a model and the baseline on the same queries.

    Attributes:
        model, baseline, corpus, direction, metric: what is compared.
        difference: model minus baseline.
        low, high: bounds of its interval.
        p: two-sided.
    """

    model: str
    baseline: str
    corpus: str
    direction: Direction
    metric: str
    difference: float
    low: float
    high: float
    p: float


def compare(evaluations: Sequence[Evaluation]) -> list[Comparison]:
    """Compares each model with the first one of the same corpus.

    Raises:
        ValueError: two models of a corpus did not see the same number of queries.
    """
    return [
        _comparison(model, baseline, direction, metric)
        for baseline, *others in _by_corpus(evaluations).values()
        for model in others
        for direction in DIRECTIONS
        for metric in (*METRICS, *_common_taus(model, baseline))
    ]


def results_json(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{model: {corpus: {direction: {metric: value}}}}`; with `ordinality` beside the directions where it is known."""
    results: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        found: dict[str, Any] = dict(summarise(evaluation.scores))
        if evaluation.order is not None:
            found["ordinality"] = evaluation.order.summary()
        results.setdefault(evaluation.model, {})[evaluation.corpus] = found
    return results


def intervals_json(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Results with their uncertainty.

    Returns:
        `results`: `{model: {corpus: {direction: {metric: {"value", "low", "high"}}}}}`, and the τ likewise in
        `ordinality` where they are known (distances between the modalities have no interval: those of resamples are
        larger than those of the sample); `comparisons`: a list of the fields of `Comparison`.
    """
    results: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        found: dict[str, Any] = as_dicts(evaluation.intervals)
        if evaluation.order is not None:
            found["ordinality"] = as_dicts(evaluation.order_intervals)
        results.setdefault(evaluation.model, {})[evaluation.corpus] = found
    return {"results": results, "comparisons": [asdict(each) for each in compare(evaluations)]}


def identity_json(
    evaluations: Sequence[Evaluation], split: str, weights: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """What results belong to, to stand beside them: a card takes figures of its own model alone.

    Args:
        evaluations: at least one, all drawn with the same seed and number of resamples.
        split: whose rows were used.
        weights: by model, the SHA-256 of each of its weights files.

    Returns:
        `models`: `{model: {"weights": {file: SHA-256}}}`; `protocol`: split, seed, resamples, and clips by corpus.
    """
    return {
        "models": {model: {"weights": dict(digests)} for model, digests in weights.items()},
        "protocol": {
            "split": split,
            "seed": evaluations[0].seed,
            "resamples": evaluations[0].resamples,
            "clips": {evaluation.corpus: evaluation.clips for evaluation in evaluations},
        },
    }


def results_table(evaluations: Sequence[Evaluation], metrics: Sequence[str] = METRICS) -> Table:
    """A table for the terminal: value ± half the interval, the best of a corpus and direction in bold."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption="± half a 95 % bootstrap interval", caption_justify="left")
    for heading in ("corpus", "direction", "model"):
        table.add_column(heading, no_wrap=True)
    for metric in metrics:
        table.add_column(metric.replace("_", "\n", 1), justify="right")
    for corpus, models in _by_corpus(evaluations).items():
        for direction in DIRECTIONS:
            _add_rows(table, corpus, direction, models, metrics)
            table.add_section()
    return table


def order_table(evaluations: Sequence[Evaluation]) -> Table | None:
    """τ of both directions and the gap between the modalities; None where no corpus has valence or arousal."""
    ordered = _by_corpus([evaluation for evaluation in evaluations if evaluation.order is not None])
    if not ordered:
        return None
    caption = "Kendall's τ-b of similarity with closeness, ± half a 95 % bootstrap interval; MMD² unbiased"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    for heading in ("corpus", "model"):
        table.add_column(heading, no_wrap=True)
    measures = [(direction, metric) for direction in DIRECTIONS for metric in TAUS]
    for direction, metric in measures:
        table.add_column(f"{ARROWS[direction]}\n{metric.replace('tau_', 'τ ')}", justify="right")
    for heading in ("modality\ngap", "MMD²"):
        table.add_column(heading, justify="right")
    for corpus, models in ordered.items():
        for number, model in enumerate(models):
            table.add_row(corpus if not number else "", model.model, *_order_cells(model, models, measures))
        table.add_section()
    return table


def save_figure(evaluations: Sequence[Evaluation], path: Path | str) -> None:
    """Draws bars with interval whiskers, a row a corpus and a column a direction, and writes them as PNG.

    Args:
        evaluations: at least one.
        path: the PNG to make, whole or not at all.
    """
    corpora = _by_corpus(evaluations)
    colours = dict(zip(dict.fromkeys(e.model for e in evaluations), cycle(COLOURS), strict=False))
    with rc_context(FIGURE_STYLE), replacing(Path(path)) as beside:
        figure = Figure(figsize=(11, 1.2 + 2.9 * len(corpora)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(hspace=0.08, wspace=0.04)
        grid = figure.subplots(len(corpora), len(DIRECTIONS), sharey=True, squeeze=False)
        for row, (corpus, models) in zip(grid, corpora.items(), strict=True):
            for axes, direction in zip(row, DIRECTIONS, strict=True):
                _draw(axes, models, direction, colours)
                axes.set_title(corpus, loc="left", color=INK, fontweight="bold", pad=9)
                axes.set_title(ARROWS[direction], loc="right", color=FAINT, fontsize=10, pad=9)
            row[0].set_ylabel("percent", color=FAINT)
        _add_legend(figure, grid)
        note = "whiskers: 95 % bootstrap intervals"
        figure.supxlabel(note, x=0.995, ha="right", fontsize=8, color=FAINT)
        figure.savefig(beside, dpi=160, format="png", facecolor="white")


def _by_corpus(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    corpora: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        corpora.setdefault(evaluation.corpus, []).append(evaluation)
    return corpora


def _common_taus(model: Evaluation, baseline: Evaluation) -> tuple[str, ...]:
    if model.order is None or baseline.order is None:
        return ()
    return tuple(metric for metric in baseline.order.metrics if metric in model.order.metrics)


def _comparison(model: Evaluation, baseline: Evaluation, direction: Direction, metric: str) -> Comparison:
    values, clusters = baseline.queries(direction, metric)
    found = paired_difference(
        model.queries(direction, metric)[0],
        values,
        clusters,
        statistic_of(metric),
        baseline.resamples,
        baseline.seed,
    )
    names = (model.model, baseline.model, baseline.corpus, direction, metric)
    return Comparison(*names, difference=found.value, low=found.low, high=found.high, p=found.p)


def _add_rows(
    table: Table, corpus: str, direction: Direction, models: Sequence[Evaluation], metrics: Sequence[str]
) -> None:
    best = {metric: _best([m.interval(direction, metric).value for m in models], metric) for metric in metrics}
    for number, model in enumerate(models):
        cells = [_cell(model.interval(direction, metric), best[metric]) for metric in metrics]
        table.add_row(corpus if not number else "", ARROWS[direction] if not number else "", model.model, *cells)
    if known := [model for model in models if model.has_ceiling]:
        ceilings = [
            f"{known[0].interval(direction, f'style_ceiling_{metric}').value:.1f}" if metric.startswith("R@") else ""
            for metric in metrics
        ]
        table.add_row("", "", _CEILING, *ceilings, style="dim")


def _best(values: Sequence[float], metric: str) -> float | None:
    """The value to set in bold; None where there is nothing to compare."""
    if len(values) == 1:
        return None
    return min(values) if metric == "median_rank" else max(values)


def _cell(interval: Interval, best: float | None, decimals: int = 1) -> Text:
    style = "bold" if interval.value == best else ""
    return Text.assemble((f"{interval.value:.{decimals}f}", style), (f" ±{interval.half_width:.{decimals}f}", "dim"))


def _order_cells(
    model: Evaluation, models: Sequence[Evaluation], measures: Sequence[tuple[Direction, str]]
) -> list[Text]:
    """One row of the table of order; a dimension that the corpus does not have is left empty."""
    cells = []
    for direction, metric in measures:
        if metric not in model.order.metrics:
            cells.append(Text(""))
            continue
        measured = [other for other in models if metric in other.order.metrics]
        best = _best([other.interval(direction, metric).value for other in measured], metric)
        cells.append(_cell(model.interval(direction, metric), best, decimals=3))
    return [*cells, Text(f"{model.order.modality_gap:.3f}"), Text(f"{model.order.mmd:.3f}")]


def _draw(axes: Axes, models: Sequence[Evaluation], direction: Direction, colours: dict[str, str]) -> None:
    width = 0.82 / len(models)
    for number, model in enumerate(models):
        places = np.arange(len(DRAWN)) + (number - (len(models) - 1) / 2) * width
        intervals = [model.interval(direction, metric) for metric in DRAWN]
        _draw_bars(axes, places, 0.92 * width, intervals, color=colours[model.model], label=model.model)
        if len(models) <= 4:
            _write_values(axes, places, intervals, decimals=1 if len(models) <= 2 else 0)
    _draw_ceiling(axes, models, direction)
    axes.set_xticks(range(len(DRAWN)), DRAWN)
    axes.set_ylim(0, 104)
    axes.margins(x=0.02)
    axes.yaxis.grid(True, color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")


def _draw_bars(
    axes: Axes, places: np.ndarray, width: float, intervals: Sequence[Interval], color: str, label: str
) -> None:
    values, lows, highs = np.array([(each.value, each.low, each.high) for each in intervals]).T
    whiskers = np.maximum([values - lows, highs - values], 0)
    axes.bar(places, values, width, color=color, label=label)
    axes.errorbar(places, values, whiskers, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.2, capthick=0.9)


def _write_values(axes: Axes, places: np.ndarray, intervals: Sequence[Interval], decimals: int) -> None:
    """Writes at the foot of the bars, clear of whiskers and ceilings, or above the bars that are too low."""
    for place, interval in zip(places, intervals, strict=True):
        low = interval.low < 8
        axes.annotate(
            f"{interval.value:.{decimals}f}",
            (place, interval.high if low else 0),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=INK if low else "white",
            fontweight="normal" if low else "bold",
        )


def _draw_ceiling(axes: Axes, models: Sequence[Evaluation], direction: Direction) -> None:
    known = [model for model in models if model.has_ceiling]
    if not known:
        return
    recalls = [place for place, metric in enumerate(DRAWN) if metric.startswith("R@")]
    axes.hlines(
        [known[0].interval(direction, f"style_ceiling_{DRAWN[place]}").value for place in recalls],
        [place - 0.44 for place in recalls],
        [place + 0.44 for place in recalls],
        colors=INK,
        linestyles=(0, (4, 2)),
        linewidth=1.2,
        label=_CEILING,
    )


def _add_legend(figure: Figure, grid: np.ndarray) -> None:
    """One legend for all panels, each name once."""
    named: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    # A line's handle comes before those of bars: the ceiling is to stand after the models.
    names = sorted(named, key=lambda name: name == _CEILING)
    handles = [named[name] for name in names]
    figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 5), frameon=False)
