"""Decoding what a manifest names: only the stretch that is needed, mono, at the tower's rate, checked."""

from pathlib import Path

import numpy as np
import soundfile

from modeling_raclap.audio_raclap import check_waveform, resample, to_mono
from raclap.errors import AudioError


def decode(path: Path, rate: int, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Decodes a recording or a stretch of it.

    Args:
        path: any format libsndfile reads.
        rate: Hz to return.
        start, end: seconds; None means from its beginning, to its end.

    Returns:
        (S,) float32, mono.

    Raises:
        AudioError: the file is missing or unreadable, the stretch lies outside it, or there is no sound in it.
    """
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file")
    try:
        with soundfile.SoundFile(path) as file:
            first = round((start or 0.0) * file.samplerate)
            last = file.frames if end is None else round(end * file.samplerate)
            if not 0 <= first < last <= file.frames and file.frames:
                seconds = file.frames / file.samplerate
                raise AudioError(f"{path}: {start} to {end} s is not a stretch of its {seconds:.2f} s")
            file.seek(first)
            samples = file.read(last - first, dtype="float32")
            native_rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not a readable audio file ({error.error_string})") from error
    try:
        waveform = resample(to_mono(samples, str(path)), native_rate, rate)
        check_waveform(waveform, str(path))
    except ValueError as error:
        raise AudioError(str(error)) from error
    return waveform


def read_header(path: Path) -> float:
    """Duration in seconds, from the header alone.

    Raises:
        AudioError: the file is missing, unreadable or empty.
    """
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file")
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not a readable audio file ({error.error_string})") from error
    if info.frames == 0:
        raise AudioError(f"{path}: no samples")
    return info.duration
