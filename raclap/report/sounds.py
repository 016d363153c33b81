"""Clips inside a page: each once, compressed, and no more of them than a page can carry.

Shapes: S samples.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from raclap.data.inspection import Inspection

LONGEST_SECONDS = 8.0
MOST_BYTES = 6_000_000

# MPEG audio: what every browser plays, at about 20 kbit/s for speech at 16 kHz. Seen from 0 (best) to 1 (smallest).
_COMPRESSION = 0.5


@dataclass(frozen=True)
class Sound:
    """A clip as a page holds it.

    Attributes:
        data: base64.
        is_cut: whether the clip is longer.
    """

    data: str
    is_cut: bool


class SoundShelf:
    """Clips that a page plays, by number; the same clip is held once.

    Args:
        most_bytes: of all clips together, as base64; 0 holds none.
        longest: seconds of a clip.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, longest: float = LONGEST_SECONDS):
        self._most_bytes = most_bytes
        self.longest = longest
        self._places: dict[tuple[str, int], int] = {}
        self.sounds: list[Sound] = []

    @property
    def cut(self) -> int:
        """How many clips are longer than what is held of them."""
        return sum(sound.is_cut for sound in self.sounds)

    @property
    def size(self) -> int:
        """Bytes of all clips together, as base64."""
        return sum(len(sound.data) for sound in self.sounds)

    def number(self, corpus: str, row: int) -> int | None:
        """The number of a clip; None where it is not on the shelf."""
        return self._places.get((corpus, row))

    def add(self, corpus: str, rows: Inspection, row: int) -> int | None:
        """Puts a clip on the shelf as the tower hears it; its number, or None where there is no room.

        Raises:
            AudioError: it can no longer be read.
        """
        if (corpus, row) not in self._places:
            if self.size >= self._most_bytes:
                return None
            sound = encode(rows.waveform(row), rows.rate, self.longest)
            if self.size + len(sound.data) > self._most_bytes:
                return None
            self._places[corpus, row] = len(self.sounds)
            self.sounds.append(sound)
        return self._places[corpus, row]


def encode(waveform: np.ndarray, rate: int, longest: float = LONGEST_SECONDS) -> Sound:
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
    return Sound(data, len(part) < len(waveform))
