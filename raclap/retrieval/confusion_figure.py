"""Confusion matrices as a picture: a row a task, a column a model.

Shapes: C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raclap.files import replacing
from raclap.retrieval.classification_reporting import ClassificationEvaluation, by_task
from raclap.retrieval.reporting import FAINT, FIGURE_STYLE, INK

_CELL, _MARGIN = 0.5, 1.7  # inches: side of a cell; what names and headings take beside the cells
_DARK = 55  # percent of a row from which writing is white


def save_confusions(evaluations: Sequence[ClassificationEvaluation], path: Path | str) -> None:
    """Draws a matrix for each task and model: colour and the lower figure are shares of the row, the upper are clips.

    Args:
        evaluations: at least one.
        path: the PNG to make, whole or not at all.
    """
    tasks = list(by_task(evaluations).values())
    sides = [_CELL * len(models[0].protocol.classes) + _MARGIN for models in tasks]
    columns = max(map(len, tasks))
    with rc_context(FIGURE_STYLE), replacing(Path(path)) as beside:
        figure = Figure(figsize=(columns * max(sides) + 0.3, sum(sides) + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(tasks), columns, squeeze=False, height_ratios=sides)
        for row, models in zip(grid, tasks, strict=True):
            for axes in row[len(models) :]:
                axes.set_visible(False)
            for axes, model in zip(row, models, strict=False):
                _draw(axes, model)
        figure.suptitle(
            "clips, and percent of the clips of a class; the diagonal is the recall of a class",
            fontsize=8.5,
            color=FAINT,
        )
        figure.savefig(beside, dpi=150)


def _draw(axes: Axes, evaluation: ClassificationEvaluation) -> None:
    confusion, classes = evaluation.scores.confusion, evaluation.protocol.classes
    shares = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(confusion):
        _write(axes, row, column, confusion[row, column], shares[row, column])
    names = [f"{name} ({count})" for name, count in zip(classes, confusion.sum(1), strict=True)]
    axes.set_yticks(range(len(classes)), names)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_ylabel("label (clips)", color=INK)
    axes.set_xlabel("taken for", color=INK)
    recall = evaluation.measures["UAR"]
    axes.set_title(
        f"{evaluation.task}, {evaluation.model}\nUAR {recall.value:.1f} % [{recall.low:.1f}, {recall.high:.1f}]",
        fontsize=9.5,
        color=INK,
        loc="left",
    )
    axes.tick_params(length=0, colors=INK)
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _write(axes: Axes, row: int, column: int, clips: int, share: float) -> None:
    """Clips above, percent below, within one cell."""
    colour = "white" if share > _DARK else INK
    axes.text(
        column, row - 0.04, f"{clips}", ha="center", va="bottom", fontsize=8, color=colour,
        fontweight="bold" if row == column else "normal",
    )  # fmt: skip
    axes.text(column, row + 0.06, f"{share:.0f} %", ha="center", va="top", fontsize=6.5, color=colour)
