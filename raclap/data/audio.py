"""Decoding what a manifest names: only the part that is needed, mono, at the tower's rate, checked.

What is too short or too long to be a clip is refused here, for every caller alike.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from modeling_raclap.audio_raclap import check_waveform
from modeling_raclap.recording_raclap import Recording, UnreadableAudioError, as_float, open_recording
from raclap.data.sound import Part, Sound, at_rate
from raclap.errors import AudioError

# A tower needs some frames to say anything.
SHORTEST_SECONDS = 0.1
# Held whole at 48 kHz this is 115 MB; no tower reads more, and a reader process must not die of one row.
LONGEST_SECONDS = 600.0
_BLOCK_SECONDS = 60.0
# Tables give times in hundredths or thousandths of a second.
_ROUNDING_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class AudioBytes:
    """A recording that is no file of its own, as inside a row of a table.

    Attributes:
        name: what errors call it.
        data: what its file would hold.
    """

    name: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


@contextmanager
def open_audio(
    path: Path | AudioBytes, rate: int, start: float | None = None, end: float | None = None
) -> Iterator[Sound]:
    """Opens a recording, or a stretch of it, to be read in parts.

    Nothing outside the stretch is heard in it, and nothing that is not asked for is decoded.

    Args:
        path: of a file, or a recording in memory; any format libsndfile reads, or FFmpeg where PyAV is installed.
        rate: Hz to read it at.
        start, end: seconds; None means from its beginning, to its end.

    Raises:
        AudioError: the file is missing or unreadable, the stretch lies outside it or is too short to be a clip; also
            what goes wrong while it is read, is not finite, or silent from its beginning to its end.
    """
    with open_checked(path) as recording:
        yield _Checked(at_rate(_stretch(recording, path, start, end), recording.rate, rate), path)


@contextmanager
def open_checked(path: Path | AudioBytes) -> Iterator[Recording]:
    """Opens a recording at its own rate.

    Raises:
        AudioError: it is missing, empty or unreadable; also what goes wrong while it is read.
    """
    if isinstance(path, Path):
        _check_file(path)
    elif not path.data:
        raise AudioError(f"{path}: empty (0 bytes)")
    try:
        with open_recording(BytesIO(path.data) if isinstance(path, AudioBytes) else str(path), str(path)) as recording:
            yield recording
    except UnreadableAudioError as error:
        raise AudioError(str(error)) from error


def decode(path: Path | AudioBytes, rate: int, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Decodes a recording or a stretch of it.

    Args:
        path, rate, start, end: see `open_audio`.

    Returns:
        (S,) float32, mono.

    Raises:
        AudioError: as `open_audio`, or there is more of it than `LONGEST_SECONDS`.
    """
    with open_audio(path, rate, start, end) as sound:
        return read_whole(sound, rate, path)


def read_whole(sound: Sound, rate: int, path: Path | AudioBytes) -> np.ndarray:
    """All of an open sound: (S,) float32.

    Raises:
        AudioError: it is longer than `LONGEST_SECONDS`.
    """
    check_not_too_long(sound, rate, path)
    return as_float(sound.read(0, len(sound)))


def check_not_too_long(sound: Sound, rate: int, path: Path | AudioBytes) -> None:
    """Refuses what is not to be held whole.

    Raises:
        AudioError: it is longer than `LONGEST_SECONDS`.
    """
    seconds = len(sound) / rate
    if seconds > LONGEST_SECONDS:
        raise AudioError(
            f"{path}: {_duration(seconds)} long; at most {_duration(LONGEST_SECONDS)} are decoded at once. Give its "
            f"rows start and end, or train on crops (data.crop_seconds) that are not trimmed"
        )


def check_in_blocks(sound: Sound, rate: int, path: Path) -> None:
    """Decodes a sound of any length once, a minute at a time.

    Raises:
        UnreadableAudioError: it is silent or not finite.
    """
    block = round(_BLOCK_SECONDS * rate)
    extremes = []
    for first in range(0, len(sound), block):
        samples = sound.read(first, min(first + block, len(sound)))
        extremes += [samples.min(), samples.max()]
    check_waveform(np.array(extremes), str(path))


def read_header(path: Path, shortest: float = SHORTEST_SECONDS) -> float:
    """Duration in seconds, from the header alone where it can be trusted.

    Args:
        path: of the recording.
        shortest: seconds; less is refused.

    Raises:
        AudioError: the file is missing, unreadable, empty, too short, or holds less than its header promises.
    """
    with open_checked(path) as recording:
        return len(_stretch(recording, path, None, None, shortest)) / recording.rate


class _Checked:
    """A sound whose samples are looked at as they are read."""

    def __init__(self, sound: Sound, path: Path | AudioBytes):
        self._sound = sound
        self._path = path

    def __len__(self) -> int:
        return len(self._sound)

    def read(self, first: int, last: int) -> np.ndarray:
        samples = self._sound.read(first, last)
        # A part may well be silent.
        check_waveform(samples, str(self._path), may_be_silent=last - first < len(self))
        return samples


def _stretch(
    recording: Recording,
    path: Path | AudioBytes,
    start: float | None,
    end: float | None,
    shortest: float = SHORTEST_SECONDS,
) -> Sound:
    frames, rate = len(recording), recording.rate
    first = round((start or 0.0) * rate)
    last = frames if end is None else round(end * rate)
    if frames < last <= frames + _ROUNDING_SECONDS * rate:
        last = frames
    if not 0 <= first < last <= frames:
        until = "the end" if end is None else f"{end} s"
        raise AudioError(f"{path}: {start or 0.0} to {until} is not a stretch of its {frames / rate:.2f} s")
    if (last - first) / rate < shortest:
        raise AudioError(f"{path}: shorter than {shortest} s ({(last - first) / rate:.3f} s)")
    return recording if last - first == frames else Part(recording, first, last)


def _check_file(path: Path) -> None:
    """Finds out what a decoder would not say, or would wait for: a pipe has no end."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{path}: no such audio file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be looked at ({error.strerror})") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: a folder, not an audio file")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: not a regular file")
    if status.st_size == 0:
        raise AudioError(f"{path}: an empty file (0 bytes)")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path}: no permission to read it")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:g} min"
