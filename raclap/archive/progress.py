"""The progress bar of indexing: clips a second, hours of audio, time left."""

import time
from typing import Self

from tqdm import tqdm

from raclap.archive.embedding import Embedded, EmbeddedRecording
from raclap.archive.reading import CarriedOver, Window


class IndexingBar:
    """Counts bytes of what is done, since their lengths are not known beforehand.

    Args:
        size: bytes of all recordings that are waiting.
        is_shown: whether there is a bar.
    """

    _FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"

    def __init__(self, size: int, is_shown: bool):
        self._bar = tqdm(desc="indexing", total=size, disable=not is_shown, bar_format=self._FORMAT)
        self._clips, self._seconds = 0, 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def embedded(self, windows: list[Window]) -> None:
        """Counts a batch."""
        self._clips += len(windows)
        self._seconds += sum(window.end - window.start for window in windows)
        speed = self._clips / max(time.monotonic() - self._began, 1e-3)
        self._bar.update(sum(window.size for window in windows))
        self._bar.set_description_str(f"indexing: {speed:,.1f} clips/s, {self._seconds / 3600:,.2f} h of audio")

    def finished(self, item: Embedded) -> None:
        """Counts what of a recording was not embedded."""
        if isinstance(item, EmbeddedRecording):
            self._bar.update(item.read.recording.size - sum(window.size for window in item.windows))
        elif isinstance(item, CarriedOver):
            self._bar.update(item.recording.size)
