"""A small copy of each corpus in the exact shape of its release: one module a corpus, whose `make` builds it."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile


@dataclass(frozen=True)
class Release:
    """What `make` built.

    Attributes:
        root: what `raclap prepare CORPUS ROOT` is given.
        recording: of one pair, of which there are at least two.
        pairs, left_out: how many entries the reader yields of each kind.
        options: of the reader.
        table: the text table that lists the recordings, for a corpus that has one.
    """

    root: Path
    recording: Path
    pairs: int
    left_out: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    table: Path | None = None


def write_tone(path: Path, seconds: float = 0.3, rate: int = 16_000, pitch: float = 200.0) -> Path:
    """A short harmonic sound, whatever the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.1 * sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 4)), rate)
    return path


FIXTURES: dict[str, Callable[[Path], Release]] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").make for module in pkgutil.iter_modules(__path__)
}
