"""What an archive holds, as a picture and as a table: hours by label."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from raclap.archive.tagging import SOFTMAX, TagSummary
from raclap.errors import RaClapError
from raclap.files import replacing
from raclap.retrieval.reporting import COLOURS, FAINT, FIGURE_STYLE, INK

_BAR, _PANEL = 0.28, 0.4  # inches: height of a bar; what a panel takes beside its bars
_OF_NONE = "#c8c8c8"


class TagFigureError(RaClapError):
    """The figure cannot be written."""


def tag_table(summary: TagSummary) -> Table:
    """Time and share of each label, the commonest of a group first."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("group", "label"):
        table.add_column(heading)
    for heading in ("time", "share"):
        table.add_column(heading, justify="right")
    for group, rows in _rows(summary).items():
        for number, (label, hours, share) in enumerate(rows):
            table.add_row("" if number else group, label, _time(hours), f"{share:.1f} %")
        table.add_section()
    return table


def save_tag_figure(summary: TagSummary, path: Path) -> None:
    """Draws a panel for each group with a bar for each label, as PNG.

    Args:
        summary: of an archive.
        path: the PNG to make, whole or not at all.

    Raises:
        TagFigureError: it cannot be written.
    """
    panels = _rows(summary)
    bars = [len(rows) for rows in panels.values()]
    try:
        with rc_context(FIGURE_STYLE), replacing(path) as beside:
            figure = Figure(figsize=(8, _BAR * sum(bars) + _PANEL * len(bars) + 0.4), layout="constrained")
            FigureCanvasAgg(figure)
            grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=bars, sharex=True)[:, 0]
            widest = max(share for rows in panels.values() for _, _, share in rows)
            for axes, (group, rows) in zip(grid, panels.items(), strict=True):
                _draw(axes, group, rows, has_none=None in summary.hours[group])
                axes.set_xlim(0, 1.22 * widest)  # room for what is written beside the longest bar
            figure.supxlabel(tag_note(summary), x=0.995, ha="right", fontsize=8, color=FAINT)
            figure.savefig(beside, dpi=160, format="png", facecolor="white")
    except OSError as error:
        raise TagFigureError(f"{path}: cannot be written ({error.strerror or error})") from error


Row = tuple[str, float, float]  # label, hours, percent


def _rows(summary: TagSummary) -> dict[str, list[Row]]:
    """Labels of each group by hours, commonest first; last what is below the threshold, where there is such."""
    total = summary.total_hours
    return {
        group: [
            (f"none reaches {summary.threshold:g}" if label is None else label, hours, 100 * hours / total)
            for label, hours in sorted(labels.items(), key=lambda item: (item[0] is None, -item[1]))
        ]
        for group, labels in summary.hours.items()
    }


def _draw(axes: Axes, group: str, rows: list[Row], has_none: bool) -> None:
    labels, _, shares = zip(*rows, strict=True)
    places = range(len(rows))
    colours = [COLOURS[0]] * len(rows)
    if has_none:
        colours[-1] = _OF_NONE
    axes.barh(places, shares, 0.72, color=colours)
    for place, (_, hours, share) in zip(places, rows, strict=True):
        axes.annotate(
            f"{_time(hours)} · {share:.0f} %", (share, place), (5, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yticks(places, labels, color=INK)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_title(group, loc="left", color=INK, fontweight="bold", fontsize=10)
    axes.tick_params(length=0, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _time(hours: float) -> str:
    """The time in the unit that suits it."""
    if not hours:
        return "0 s"
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"


def tag_note(summary: TagSummary) -> str:
    """What the figures are of, in one line."""
    best = "best label" if not summary.threshold else f"best label of at least {summary.threshold:g}"
    kind = "calibrated" if summary.probabilities != SOFTMAX else f"not calibrated: {SOFTMAX}"
    return f"{_time(summary.total_hours)}, {summary.rows:,} {summary.rows_are}; {best}; probabilities {kind}"
