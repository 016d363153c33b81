"""Waveforms that are read only where they are needed: in memory, in an open file, a part of one, at another rate.

A part is the same samples, whatever else is read: resampling reads a margin around it and begins where the samples of
both rates coincide, so that its filter stands as it does over the whole.

Shapes: S samples.
"""

from math import gcd
from typing import Protocol

import numpy as np

from modeling_raclap.audio_raclap import resample
from modeling_raclap.recording_raclap import as_float

# Samples of the lower of two rates that the resampler's filter reaches, with room to spare: beyond 128 its
# coefficients change a result by less than 1e-6.
_FILTER_REACH = 256


class Sound(Protocol):
    """A waveform: its length, and any part of it."""

    def __len__(self) -> int:
        """S."""

    def read(self, first: int, last: int) -> np.ndarray:
        """Samples from `first` up to `last`: (last - first,), float32 or int16."""


class Samples:
    """A waveform in memory, or in a mapped file."""

    def __init__(self, samples: np.ndarray):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, first: int, last: int) -> np.ndarray:
        """A view of the part."""
        return self._samples[first:last]


class Part:
    """The stretch of a sound from `first` up to `last`."""

    def __init__(self, sound: Sound, first: int, last: int):
        self._sound = sound
        self._first = first
        self._last = last

    def __len__(self) -> int:
        return self._last - self._first

    def read(self, first: int, last: int) -> np.ndarray:
        """Samples of the part."""
        return self._sound.read(self._first + first, self._first + last)


class Resampled:
    """A sound at another rate, float32.

    Args:
        sound: at `rate`.
        rate, target_rate: Hz, whole numbers.
    """

    def __init__(self, sound: Sound, rate: int, target_rate: int):
        common = gcd(rate, target_rate)
        self._sound = sound
        self._step, self._target_step = rate // common, target_rate // common
        # In samples of the target rate.
        self._margin = -(-_FILTER_REACH * max(rate, target_rate) // rate)

    def __len__(self) -> int:
        return (2 * len(self._sound) * self._target_step + self._step) // (2 * self._step)

    def read(self, first: int, last: int) -> np.ndarray:
        """Samples of the part, equal to those of the whole resampled to 1e-5 of full scale."""
        blocks = max(0, first - self._margin) // self._target_step
        end = min(len(self._sound), -(-(last + self._margin) * self._step // self._target_step))
        around = as_float(self._sound.read(blocks * self._step, end))
        resampled = resample(around, self._step, self._target_step)
        skipped = blocks * self._target_step
        return resampled[first - skipped : last - skipped]


def at_rate(sound: Sound, rate: int, target_rate: int) -> Sound:
    """A sound of `rate` Hz at `target_rate`, as it is where they are equal."""
    return sound if rate == target_rate else Resampled(sound, rate, target_rate)
