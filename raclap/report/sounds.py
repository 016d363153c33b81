"""Clips inside a page: each once, compressed, and no more of them than a page can carry."""

from raclap.data.excerpt import LONGEST_SECONDS, Excerpt, encode
from raclap.data.inspection import Inspection

MOST_BYTES = 6_000_000


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
        self.sounds: list[Excerpt] = []

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
