"""The pictures of a study: what the claims' differences are, and what every run reaches."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raclap.files import replacing
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.reporting import ARROWS, COLOURS, FAINT, FIGURE_STYLE, INK
from raclap.study.claims import NOT_RUN

_METRIC = "nDCG@10"
_OF_DIRECTION = {
    "audio_to_text": {"color": COLOURS[0], "marker": "o"},
    "text_to_audio": {"color": COLOURS[1], "marker": "s"},
}
_OF_PROTOCOL = {"color": COLOURS[3], "marker": "^"}
_OF_VERDICT = {"seen": COLOURS[2], "not seen": COLOURS[5], "undecided": FAINT}
_NOTE = "lines: 95 % intervals over seeds and speakers"
_WRAP, _CELL, _GAP = 44, 0.75, 0.45

Record = dict[str, Any]


def save_claims(record: Record, path: Path) -> None:
    """Draws the differences of all claims with their intervals, pooled and cell by cell, as PNG.

    Args:
        record: what `gather` found, with at least one claim that was judged.
        path: the PNG to make, whole or not at all.
    """
    claims = [claim for claim in record["claims"] if claim["verdict"] != NOT_RUN]
    height = sum(sum(_headline(claim)) + _CELL * len(claim["cells"]) + _GAP for claim in claims)
    with _drawing(path, (9.6, 1.1 + 0.3 * height), _NOTE) as figure:
        axes = figure.subplots()
        axes.axvspan(-record["margin"], record["margin"], color="#f1f1f1", linewidth=0)
        axes.axvline(0, color="#bbbbbb", linewidth=0.9)
        y, labels = 0.0, []
        for claim in claims:
            above, below = _headline(claim)
            y -= above
            labels.append((y, textwrap.fill(claim["title"], _WRAP), {"color": INK, "fontweight": "bold"}))
            _draw_verdict(axes, y, claim)
            y -= below
            for cell in claim["cells"]:
                y -= _CELL
                text, look = _cell(cell)
                labels.append((y, text, {"color": FAINT, "fontsize": 8}))
                _draw_interval(axes, y, cell["difference"], **look, markersize=4)
            y -= _GAP
        _style(axes)
        _label_rows(axes, labels)
        axes.set_ylim(y, 0)
        metrics = ", ".join(dict.fromkeys(claim["metric"].split(" ")[0] for claim in claims))
        axes.set_xlabel(f"points of {metrics}; grey: within ± {record['margin']:g}, practically equal", color=FAINT)
        _legend(axes)


def save_runs(record: Record, path: Path) -> None:
    """Draws what every run reaches on every corpus in both directions, with intervals, as PNG.

    Args:
        record: what `gather` found, with at least one result.
        path: the PNG to make, whole or not at all.
    """
    runs = list(record["results"])
    corpora = [corpus for corpus in record["corpora"] if any(corpus in record["results"][run] for run in runs)]
    with _drawing(path, (3.1 * len(corpora) + 2.4, 1.3 + 0.42 * len(runs)), f"{_METRIC}, percent; {_NOTE}") as figure:
        figure.get_layout_engine().set(wspace=0.03)
        panels = figure.subplots(1, len(corpora), sharey=True, squeeze=False)[0]
        for axes, corpus in zip(panels, corpora, strict=True):
            for place, run in enumerate(runs):
                if corpus not in record["results"][run]:
                    continue
                for offset, direction in zip((0.14, -0.14), DIRECTIONS, strict=True):
                    found = record["results"][run][corpus][direction][_METRIC]
                    _draw_interval(axes, -place + offset, found, **_OF_DIRECTION[direction], markersize=5)
            _style(axes)
            axes.set_ylim(0.5 - len(runs), 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_title(corpus, loc="left", color=INK, fontweight="bold", pad=8)
            axes.yaxis.grid(True, color="#eeeeee", linewidth=0.8)
        # The panels share the axis of the runs.
        _label_rows(
            panels[0], [(-place, record["runs"][run]["title"], {"color": INK}) for place, run in enumerate(runs)]
        )
        _legend(panels[0])


@contextmanager
def _drawing(path: Path, size: tuple[float, float], note: str) -> Iterator[Figure]:
    """A figure to draw on, written with a note at its foot when the block ends."""
    with rc_context(FIGURE_STYLE), replacing(path) as beside:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.supxlabel(note, x=0.995, ha="right", fontsize=8, color=FAINT)
        figure.savefig(beside, dpi=160, format="png", facecolor="white")


def _cell(cell: Record) -> tuple[str, Record]:
    """What a cell is called, and how it is drawn."""
    if "protocol" in cell:
        return f"protocol {cell['protocol']}", _OF_PROTOCOL
    return f"{cell['corpus']}  {ARROWS[cell['direction']]}", _OF_DIRECTION[cell["direction"]]


def _headline(claim: Record) -> tuple[float, float]:
    """Room above and below the middle of a claim's title, which may have several lines."""
    lines = len(textwrap.wrap(claim["title"], _WRAP))
    return 0.4 + 0.3 * lines, 0.3 * (lines - 1)


def _draw_verdict(axes: Axes, y: float, claim: Record) -> None:
    """The pooled difference as a diamond, and beside the axes the verdict and the figures."""
    colour = _OF_VERDICT[claim["verdict"]]
    _draw_interval(axes, y, claim["difference"], color=colour, marker="D", markersize=5.5, linewidth=2.4)
    beside = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    axes.annotate(claim["verdict"], (1, y), (8, 0), color=colour, fontweight="bold", **beside)
    value, low, high = (f"{claim['difference'][key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
    axes.annotate(f"{value} [{low}, {high}]", (1, y), (74, 0), color=INK, **beside)


def _draw_interval(axes: Axes, y: float, interval: Record, linewidth: float = 1.3, **look: Any) -> None:
    whiskers = [[max(0, interval["value"] - interval["low"])], [max(0, interval["high"] - interval["value"])]]
    axes.errorbar(interval["value"], y, xerr=whiskers, linewidth=linewidth, **look)


def _label_rows(axes: Axes, labels: Sequence[tuple[float, str, dict[str, Any]]]) -> None:
    """Writes texts at heights, each with its look, left of the axes."""
    axes.set_yticks([y for y, _, _ in labels], [text for _, text, _ in labels])
    for tick, (_, _, look) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set(**look)


def _style(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.tick_params(axis="x", colors=INK)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    axes.xaxis.grid(True, color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    """What the markers of the two directions mean."""
    handles = [
        axes.errorbar([], [], xerr=[], label=ARROWS[direction], linewidth=1.3, markersize=5, **look)
        for direction, look in _OF_DIRECTION.items()
    ]
    axes.figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
