"""Windows to vectors: pooled over many recordings, sorted by length, handed back recording by recording.

Shapes: W windows of a recording, D dimensions.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.archive.reading import CarriedOver, Read, ReadRecording, ReadWindow, Window
from raclap.archive.sources import Unreadable
from raclap.retrieval.embed import batches_by_length, embed_waveforms

# Windows that wait to be sorted by length.
POOL_BYTES = 192 * 2**20
# Read while the model is busy. Readers would take the cores that a model on the CPU computes on: its threads wait for
# one another at every step, so that a core less for one of them is a core less for all.
_AHEAD_ON_CPU = 8 * 2**20
_FIRST_POOL_SECONDS = 960.0


@dataclass(frozen=True, slots=True)
class EmbeddedRecording:
    """A recording, whole.

    Attributes:
        read: what is known of it.
        windows: in order.
        vectors: (W, D) float16.
    """

    read: ReadRecording
    windows: list[Window]
    vectors: np.ndarray


Embedded = EmbeddedRecording | CarriedOver | Unreadable


@dataclass(slots=True)
class _Unfinished:
    """A recording of which windows are still to be read or embedded."""

    windows: list[Window] = field(default_factory=list)
    vectors: list[np.ndarray | None] = field(default_factory=list)
    waiting: int = 0
    read: ReadRecording | None = None


class WindowEmbedder:
    """Embeds what readers give.

    Args:
        model: in eval mode, on the device to use.
        processor: its own.
        pool_seconds: wall time that one pool should take to embed: nothing of it is kept by the index before.
        on_batch: called after each batch with the windows in it.
    """

    def __init__(
        self,
        model: RaClapModel,
        processor: RaClapProcessor,
        pool_seconds: float,
        on_batch: Callable[[list[Window]], None],
    ):
        self._model = model
        self._processor = processor
        self._pool_seconds = pool_seconds
        self._on_batch = on_batch
        self._rate = processor.feature_extractor.sampling_rate
        self._unfinished: dict[str, _Unfinished] = {}

    def __call__(self, items: Iterable[Read]) -> Iterator[Embedded]:
        """Recordings as they are finished, in any order.

        Args:
            items: the windows of each recording in order, then the recording.
        """
        pool: list[tuple[_Unfinished, int, np.ndarray]] = []
        pooled, most = 0.0, _FIRST_POOL_SECONDS
        for item in items:
            if isinstance(item, ReadWindow):
                pool.append(self._enter(item))
                pooled += len(item.waveform) / self._rate
                if pooled >= most:
                    speed = self._embed(pool)
                    yield from self._finished()
                    pool, pooled, most = [], 0.0, self._next_pool(speed)
            elif isinstance(item, ReadRecording):
                self._unfinished[item.recording.name].read = item
            else:
                # What was read of a recording before it turned out to be damaged.
                self._unfinished.pop(_name(item), None)
                yield item
        self._embed(pool)
        yield from self._finished()

    def _enter(self, item: ReadWindow) -> tuple[_Unfinished, int, np.ndarray]:
        recording = self._unfinished.setdefault(item.window.name, _Unfinished())
        recording.windows.append(item.window)
        recording.vectors.append(None)
        recording.waiting += 1
        return recording, len(recording.windows) - 1, item.waveform

    def _embed(self, pool: list[tuple[_Unfinished, int, np.ndarray]]) -> float:
        """Embeds all of a pool; returns seconds of sound a second."""
        began = time.perf_counter()
        seconds = np.array([len(waveform) / self._rate for _, _, waveform in pool])
        window = self._processor.feature_extractor.longest_seconds
        for batch in batches_by_length(seconds if window is None else np.full_like(seconds, window)):
            chosen = [pool[row] for row in batch]
            vectors = embed_waveforms(self._model, self._processor, [waveform for _, _, waveform in chosen])
            for (recording, place, _), vector in zip(chosen, vectors.astype(np.float16), strict=True):
                recording.vectors[place] = vector
                recording.waiting -= 1
            self._on_batch([recording.windows[place] for recording, place, _ in chosen])
        return float(seconds.sum()) / (time.perf_counter() - began)

    def _next_pool(self, speed: float) -> float:
        """Seconds of sound: more share their lengths better, fewer are lost when the power goes."""
        most = POOL_BYTES / (4 * self._rate)
        return min(most, max(_FIRST_POOL_SECONDS, speed * self._pool_seconds))

    def _finished(self) -> Iterator[EmbeddedRecording]:
        done = [name for name, own in self._unfinished.items() if own.read is not None and not own.waiting]
        for name in done:
            own = self._unfinished.pop(name)
            yield EmbeddedRecording(own.read, own.windows, np.stack(own.vectors))


def bytes_ahead(device: torch.device) -> int:
    """How much is to be read while a model on this device embeds."""
    return _AHEAD_ON_CPU if device.type == "cpu" else POOL_BYTES


def _name(item: CarriedOver | Unreadable) -> str:
    return item.recording.name if isinstance(item, CarriedOver) else item.name


def size_of(item: Read) -> int:
    """Bytes of what is read ahead."""
    return item.waveform.nbytes if isinstance(item, ReadWindow) else 0
