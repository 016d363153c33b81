"""Figures and tables as Markdown, the same on every page that is written by a program."""

from collections.abc import Sequence
from typing import Any


def arrow(direction: str) -> str:
    """A direction of retrieval, for headings."""
    return {"audio_to_text": "A→T", "text_to_audio": "T→A"}[direction]


def plus_minus(interval: dict[str, float]) -> str:
    """A mean and half the width of its interval, from its value, low and high."""
    return f"{interval['value']:.1f} ±{(interval['high'] - interval['low']) / 2:.1f}".replace("-", "−")


def mean_and_range(values: Sequence[float]) -> str:
    """Of one value a seed; a mean near zero keeps its digits."""
    found = (sum(values) / len(values), min(values), max(values))
    mean, low, high = (f"{value:.3f}".replace("-", "−") for value in found)
    return mean if low == high else f"{mean} ({low} to {high})"


def signed(interval: dict[str, float]) -> str:
    """A difference and the bounds of its interval, from its value, low and high."""
    return f"{points(interval['value'])} [{points(interval['low'])}, {points(interval['high'])}]"


def points(value: float) -> str:
    """With its sign, and no sign where it rounds to zero."""
    text = f"{value:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "−")


def p_value(value: float) -> str:
    """A p-value with its relation."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def table(headings: Sequence[Any], rows: Sequence[Sequence[Any]], sides: str) -> str:
    """Markdown; `sides` has an l or r for each column."""
    marks = {"l": "---", "r": "---:"}
    lines = [headings, [marks[side] for side in sides], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
