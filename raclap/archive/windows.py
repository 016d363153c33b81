"""Long recordings cut into overlapping windows, read block by block: none is ever held whole.

Shapes: S samples.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from modeling_raclap.recording_raclap import as_float
from raclap.data.sound import Sound

# A rest shorter than this share of the hop is no window of its own: it joins the last one.
_SHORT_REST = 0.25
# Read at once of a long recording: 19 MB at 16 kHz. Opus is decoded from a minute before each.
_BLOCK_SECONDS = 300.0
# Peaks below -66 dB of full scale (16 steps of 16 bits) are the noise of a converter, not a voice.
_SILENT_PEAK = 2.0**-11


class Span(NamedTuple):
    """A stretch of a sound: samples from `first` up to `last`."""

    first: int
    last: int


def cut(samples: int, window: int, hop: int, longest: int | None = None) -> list[Span]:
    """Cuts a recording into windows that overlap, cover all of it and end where it ends.

    Args:
        samples: S of the recording.
        window: samples of a window. What is not longer is one window, whole.
        hop: samples from the beginning of one to that of the next; at most `window`.
        longest: samples that the tower reads at most: a short rest joins the last window only where both fit.

    Example:
        >>> cut(90, 40, 20)
        [Span(first=0, last=40), Span(first=20, last=60), Span(first=40, last=80), Span(first=50, last=90)]
        >>> cut(84, 40, 20)[-1], cut(44, 40, 20), cut(44, 40, 20, longest=40)
        (Span(first=40, last=84), [Span(first=0, last=44)], [Span(first=0, last=40), Span(first=4, last=44)])
    """
    if samples <= window:
        return [Span(0, samples)]
    regular = [Span(first, first + window) for first in range(0, samples - window + 1, hop)]
    rest = samples - regular[-1].last
    if not rest:
        return regular
    if rest < _SHORT_REST * hop and (longest is None or window + rest <= longest):
        return [*regular[:-1], Span(regular[-1].first, samples)]
    return [*regular, Span(samples - window, samples)]


def read_spans(sound: Sound, spans: Sequence[Span], rate: int) -> Iterator[np.ndarray]:
    """Reads windows one after the other; what they share is decoded once, and a few minutes are held at most.

    Args:
        sound: the open recording.
        spans: in order of their beginnings.
        rate: Hz of the sound.

    Yields:
        (S,) float32 of each span.
    """
    block, held, base = round(_BLOCK_SECONDS * rate), np.zeros(0, np.float32), 0
    for first, last in spans:
        end = base + len(held)
        if last > end:
            begin = max(first, end)
            following = as_float(sound.read(begin, max(last, min(begin + block, spans[-1].last))))
            rest = held[first - base :] if first < end else held[:0]
            held, base = (np.concatenate([rest, following]) if len(rest) else following), first
        part = held[first - base : last - base]
        # A view would keep its whole block in memory for as long as the window waits for the model.
        yield part if len(part) == len(held) else part.copy()


def is_silent(waveform: np.ndarray) -> bool:
    """Whether nothing in a (S,) float32 window rises above -66 dB of full scale."""
    return max(float(waveform.max()), -float(waveform.min())) < _SILENT_PEAK
