"""Sound inside a page: the beginning of a clip, compressed, as text that a page can hold.

Shapes: S samples.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

LONGEST_SECONDS = 8.0

# MPEG audio: what every browser plays, at about 20 kbit/s for speech at 16 kHz. Seen from 0 (best) to 1 (smallest).
_COMPRESSION = 0.5


@dataclass(frozen=True)
class Excerpt:
    """A clip as a page holds it.

    Attributes:
        data: base64.
        is_cut: whether the clip is longer.
    """

    data: str
    is_cut: bool


def encode(waveform: np.ndarray, rate: int, longest: float = LONGEST_SECONDS) -> Excerpt:
    """Compresses the beginning of a clip.

    Args:
        waveform: (S,) float32.
        rate: Hz.
        longest: seconds to keep.
    """
    part = waveform[: round(longest * rate)]
    file = io.BytesIO()
    soundfile.write(
        file, np.clip(part, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III",
        compression_level=_COMPRESSION, bitrate_mode="VARIABLE",
    )  # fmt: skip
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return Excerpt(data, len(part) < len(waveform))
