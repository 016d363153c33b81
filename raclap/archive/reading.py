"""What one recording gives: its windows, one after the other, and at the end what was found out of it.

A recording whose file is equal to one that was embedded before is not decoded: its vectors are carried over.

Shapes: S samples.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modeling_raclap import RaClapFeatureExtractor
from raclap.archive.changes import HeldRecordings, Key
from raclap.archive.sources import Entry, Fact, SourceRecording, Stretch, Unreadable
from raclap.archive.windows import cut, is_silent, read_spans
from raclap.data.audio import LONGEST_SECONDS, AudioBytes, open_audio
from raclap.errors import AudioError
from raclap.provenance import sha256_of

_NOTHING_HEARD = "nothing can be heard in it, or no voice where voices are asked for"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording that is embedded.

    Attributes:
        name: of its recording.
        start, end: seconds in the recording.
        facts: of its row in a manifest or data set, values of the source's `columns`; None without one.
        size: bytes of the file that it stands for, of which progress is counted.
    """

    name: str
    start: float
    end: float
    facts: tuple[Fact, ...] | None
    size: float


@dataclass(frozen=True, slots=True)
class ReadWindow:
    """A window that waits for the model.

    Attributes:
        window: where it lies.
        waveform: (S,) float32 at the tower's rate, silent ends cut where the model was trained so.
    """

    window: Window
    waveform: np.ndarray


@dataclass(frozen=True, slots=True)
class ReadRecording:
    """A recording that was read to its end.

    Attributes:
        recording: where it lies.
        sha256: of its file.
        windows: those that were given; at least one.
        silent: windows that were left out.
        problems: manifest rows that cannot be used, and why.
    """

    recording: SourceRecording
    sha256: str
    windows: int
    silent: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """A recording whose windows the index has already.

    Attributes:
        recording: where it lies now.
        former: which recording of the index it is.
        is_copy: whether that one stays what it is.
    """

    recording: SourceRecording
    former: Key
    is_copy: bool = False


Read = ReadWindow | ReadRecording | CarriedOver | Unreadable


@dataclass(frozen=True)
class RecordingReader:
    """Reads recordings for one model; called from several threads at once.

    Attributes:
        features: the model's feature extractor: its rate, trimming and longest clip.
        window, hop: samples.
        held: what the index holds.
        moved_from, copied_from: see `Plan`.
        has_voice: tells whether there is a voice in a (S,) float32 window; None: every window is taken.
    """

    features: RaClapFeatureExtractor
    window: int
    hop: int
    held: HeldRecordings
    moved_from: dict[str, Key]
    copied_from: dict[str, Key]
    has_voice: Callable[[np.ndarray], bool] | None = None

    def __call__(self, entry: Entry) -> Iterator[Read]:
        """The windows of a recording, then the recording itself; or why it cannot be used, which may come late."""
        if isinstance(entry, Unreadable):
            yield entry
            return
        try:
            sha256 = _sha256_of(entry.path)
        except OSError as error:
            yield Unreadable(entry.name, f"cannot be read ({error.strerror})")
            return
        carried = self._carried(entry, sha256)
        if carried is not None:
            yield carried
            return
        windows, silent, problems = 0, 0, []
        for stretch in entry.stretches or (None,):
            try:
                for window in self._windows(entry, stretch):
                    if window is None:
                        silent += 1
                    else:
                        windows += 1
                        yield window
            except AudioError as error:
                problems.append(_reason(error, entry.path, stretch))
                if stretch is None:
                    windows = 0  # what is left of a damaged recording is not known
        if windows:
            yield ReadRecording(entry, sha256, windows, silent, tuple(problems))
        else:
            yield Unreadable(entry.name, problems[0] if problems else _NOTHING_HEARD)

    def _carried(self, recording: SourceRecording, sha256: str) -> CarriedOver | None:
        """What the index has of the same sound, if it is cut in the same way."""
        key = self.held.key(recording.name)
        former = key if self.held.sha256(key) == sha256 else self.moved_from.get(sha256)
        is_copy = former is None and sha256 in self.copied_from
        former = self.copied_from[sha256] if is_copy else former
        if former is None or not self.held.is_described_as(former, recording):
            return None
        return CarriedOver(recording, former, is_copy)

    def _windows(self, recording: SourceRecording, stretch: Stretch | None) -> Iterator[ReadWindow | None]:
        """The windows of a recording or of one row; None in the place of a silent one."""
        rate = self.features.sampling_rate
        begin, finish = (None, None) if stretch is None else (stretch.start, stretch.end)
        with open_audio(recording.path, rate, begin, finish) as sound:
            spans = self._spans(len(sound), stretch is not None)
            for (first, last), waveform in zip(spans, read_spans(sound, spans, rate), strict=True):
                heard = self._heard(waveform)
                start = (begin or 0.0) + first / rate
                end = finish if finish is not None and last == len(sound) else (begin or 0.0) + last / rate
                facts = recording.facts if stretch is None else stretch.facts
                size = recording.size / (len(spans) * max(1, len(recording.stretches)))
                window = Window(recording.name, start, end, facts, size)
                yield None if heard is None else ReadWindow(window, heard)

    def _spans(self, samples: int, is_row: bool) -> list:
        """A row of a manifest is one window as it is, unless it is too long for that."""
        rate, seconds = self.features.sampling_rate, self.features.longest_seconds
        longest = None if seconds is None else round(seconds * rate)
        whole = round(LONGEST_SECONDS * rate) if longest is None else longest
        if is_row and samples <= whole:
            return cut(samples, samples, samples)
        return cut(samples, self.window, self.hop, longest)

    def _heard(self, waveform: np.ndarray) -> np.ndarray | None:
        """What the model hears of a window; None where there is nothing."""
        if is_silent(waveform) or (self.has_voice is not None and not self.has_voice(waveform)):
            return None
        trimmed = self.features.trim(waveform)
        return trimmed if len(trimmed) >= self.features.shortest_samples else None


def _sha256_of(path: Path | AudioBytes) -> str:
    return hashlib.sha256(path.data).hexdigest() if isinstance(path, AudioBytes) else sha256_of(path)


def _reason(error: AudioError, path: Path | AudioBytes, stretch: Stretch | None) -> str:
    reason = str(error).removeprefix(f"{path}: ")
    return reason if stretch is None else f"row {stretch.facts[0]}: {reason}"
