"""Line charts as coordinates: what a template needs to draw them, and nothing of how they look.

A chart is `WIDTH` x `HEIGHT` units, whatever size it is shown at.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 30
_MOST_POINTS = 300  # of a line; more cannot be told apart at this size

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        label: what it is.
        points: (x, y), rising in x.
        colour: place in the palette.
        dashed: drawn broken, to tell it from another of the same colour.
        faint: drawn thin, behind the others.
        dots: every point can be pointed at.
    """

    label: str
    points: tuple[Point, ...]
    colour: int = 0
    dashed: bool = False
    faint: bool = False
    dots: bool = True


@dataclass(frozen=True)
class Dot:
    """A value that can be pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class DrawnSeries:
    """A line in the coordinates of its chart: `path` is that of an SVG path."""

    series: Series
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class LineChart:
    """A chart, ready to be drawn.

    Attributes:
        title: what is shown.
        summary: the same for those who do not see it: where each line begins and ends.
        lines: faint ones first.
        x_ticks, y_ticks: where grid lines are.
        mark: x of the epoch that was chosen; None where it is not to be marked.
    """

    title: str
    summary: str
    lines: tuple[DrawnSeries, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mark: float | None = None
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def line_chart(title: str, series: Sequence[Series], x_end: float, mark: float | None = None) -> LineChart | None:
    """Lays out a chart over x from 0 to `x_end`; None where no series has a finite point.

    Args:
        title: what is shown.
        series: lines; those without points are left out.
        x_end: the last x.
        mark: x to mark.
    """
    series = [replace(own, points=tuple(point for point in own.points if math.isfinite(point[1]))) for own in series]
    series = sorted((own for own in series if own.points), key=lambda own: not own.faint)
    if not series:
        return None
    values = [y for own in series for _, y in own.points]
    y_ticks = _ticks(min(values), max(values), 5)
    low, high = min(y_ticks[0], *values), max(y_ticks[-1], *values)

    def place(point: Point) -> Point:
        x = _LEFT + point[0] / x_end * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    return LineChart(
        title=title,
        summary="; ".join(_summary(own) for own in series),
        lines=tuple(_drawn(own, place) for own in series),
        x_ticks=tuple(Tick(place((x, low))[0], f"{x:g}") for x in _ticks(0, x_end, 6, whole=True) if x <= x_end),
        y_ticks=tuple(Tick(place((0, y))[1], f"{y:g}".replace("-", "−")) for y in y_ticks),
        mark=None if mark is None else place((mark, low))[0],
    )


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> tuple[Point, ...]:
    """At most so many points, each the mean of its neighbours."""
    if len(points) <= most:
        return tuple(points)
    return tuple(tuple(part.mean(0).tolist()) for part in np.array_split(np.array(points, dtype=float), most))


def _ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    return MaxNLocator(count, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high).tolist()


def _drawn(series: Series, place: Callable[[Point], Point]) -> DrawnSeries:
    shown = series.points if series.dots else thin(series.points)
    places = [place(point) for point in shown]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    dots = () if not series.dots else tuple(
        Dot(*place(point), f"{series.label}, epoch {point[0]:g}: {point[1]:.4g}") for point in series.points
    )  # fmt: skip
    return DrawnSeries(series, path, dots)


def _summary(series: Series) -> str:
    (_, first), (_, last) = series.points[0], series.points[-1]
    return f"{series.label}: {first:.4g}" + (f" to {last:.4g}" if len(series.points) > 1 else "")
