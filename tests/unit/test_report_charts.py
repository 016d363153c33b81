"""Line charts: values lie where their axes say, and what cannot be drawn is not."""

import math

import pytest

from raclap.report.charts import Series, line_chart, thin


def test_values_lie_between_the_grid_lines_that_enclose_them():
    chart = line_chart("loss", [Series("loss", ((1, 3.0), (2, 1.5), (4, 0.5)))], x_end=4, mark=2)
    ticks = {float(tick.text): tick.place for tick in chart.y_ticks}
    low, high = min(ticks), max(ticks)
    dots = chart.lines[0].dots
    for dot, value in zip(dots, (3.0, 1.5, 0.5), strict=True):
        share = (value - low) / (high - low)
        assert dot.y == pytest.approx(ticks[low] + share * (ticks[high] - ticks[low]), abs=0.2)
    assert chart.top <= ticks[high] <= dots[0].y < dots[1].y < dots[2].y <= ticks[low] == chart.bottom
    places = {float(tick.text): tick.place for tick in chart.x_ticks}
    assert chart.mark == places[2] == dots[1].x
    assert places[4] == dots[2].x == chart.right


def test_a_value_that_never_changes_is_drawn():
    chart = line_chart("rate", [Series("rate", ((1, 0.0), (2, 0.0)))], x_end=2)
    assert all(math.isfinite(dot.y) for dot in chart.lines[0].dots)


def test_what_is_not_finite_is_left_out():
    chart = line_chart("loss", [Series("loss", ((1, math.nan), (2, 2.0))), Series("other", ((1, math.inf),))], x_end=2)
    assert [line.series.label for line in chart.lines] == ["loss"]
    assert len(chart.lines[0].dots) == 1


def test_no_points_no_chart():
    assert line_chart("loss", [Series("loss", ())], x_end=3) is None


def test_the_summary_says_where_a_line_begins_and_ends():
    assert line_chart("loss", [Series("loss", ((1, 3.25), (2, 0.5)))], x_end=2).summary == "loss: 3.25 to 0.5"


def test_thinning_keeps_the_mean():
    points = [(float(step), float(step % 7)) for step in range(700)]
    kept = thin(points, most=100)
    assert len(kept) == 100
    assert sum(y for _, y in kept) / 100 == pytest.approx(sum(y for _, y in points) / 700)
    assert thin(points[:50], most=100) == tuple(points[:50])
