"""From whatever a user holds (path, bytes, array, tensor) to one mono waveform at the rate a model wants.

Shapes: S samples, K channels.
"""

import io
import os
from math import gcd
from typing import Any

import numpy as np
import torch

from .recording_raclap import UnreadableAudioError, as_float, open_recording

try:  # resampling is only needed for other rates
    import soxr
except ImportError:
    soxr = None

_MOST_CHANNELS = 16


def load_audio(source: Any, target_rate: int, sampling_rate: int | None = None) -> np.ndarray:
    """Decodes, averages channels, resamples and checks one clip.

    Args:
        source: a file path, the bytes of an encoded file, an array or tensor of samples ((S,), (K, S) or (S, K)), or
            a dict with `array` (or `raw`) and `sampling_rate`. Integer samples are scaled to [-1, 1).
        target_rate: rate to return, Hz.
        sampling_rate: rate of an array, Hz. Files know their own.

    Returns:
        (S,) float32.

    Raises:
        ValueError: an array has no rate, or the clip is unreadable, empty, silent or not finite.
        FileNotFoundError: there is no such file.
    """
    name, samples, rate = _samples_and_rate(source, sampling_rate)
    waveform = resample(to_mono(samples, name), rate, target_rate)
    check_waveform(waveform, name)
    return waveform


def to_mono(samples: np.ndarray, name: str = "audio") -> np.ndarray:
    """Averages the channels of (S,), (K, S) or (S, K) samples, in float32.

    Raises:
        ValueError: more than two axes, or no axis short enough to be the channels.
    """
    if samples.dtype.kind in "iu":
        limits = np.iinfo(samples.dtype)
        offset = 0 if samples.dtype.kind == "i" else -(limits.max // 2 + 1)
        samples = (samples.astype(np.float32) + offset) / (limits.max // (1 if samples.dtype.kind == "i" else 2) + 1)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or min(samples.shape) > _MOST_CHANNELS:
        raise ValueError(
            f"{name}: samples of shape {samples.shape} are not one clip: pass (samples,), (channels, samples) or "
            f"(samples, channels), and several clips as a list"
        )
    channel_axis = 0 if samples.shape[0] <= samples.shape[1] else 1
    return samples.mean(axis=channel_axis)


def resample(waveform: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Band-limited resampling of a (S,) waveform.

    Raises:
        ImportError: the rates differ and soxr is not installed.
    """
    if rate == target_rate or waveform.size == 0:
        return waveform
    if soxr is None:
        raise ImportError(f"resampling from {rate} to {target_rate} Hz needs the soxr package")
    common = gcd(rate, target_rate)
    return soxr.resample(waveform, rate // common, target_rate // common, quality="HQ").astype(np.float32, copy=False)


def check_waveform(waveform: np.ndarray, name: str, may_be_silent: bool = False) -> None:
    """Refuses what has no sound in it.

    Args:
        waveform: (S,) samples.
        name: what errors call it.
        may_be_silent: as a part of a clip may.

    Raises:
        UnreadableAudioError: the clip is empty, silent or not finite; the message begins with `name`.
    """
    if waveform.size == 0:
        raise UnreadableAudioError(f"{name}: no samples")
    low, high = waveform.min(), waveform.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableAudioError(f"{name}: samples are not finite (NaN or infinity)")
    if low == high == 0 and not may_be_silent:
        raise UnreadableAudioError(f"{name}: every sample is zero (silence)")


def trim_silence(waveform: np.ndarray, rate: int, below_peak_db: float) -> np.ndarray:
    """Cuts both ends where the level stays more than `below_peak_db` under the loudest 20 ms.

    Args:
        waveform: (S,) samples.
        rate: Hz.
        below_peak_db: how far under the loudest frame counts as silence, dB.
    """
    frame = max(1, rate // 50)
    frames = len(waveform) // frame
    if frames < 2:
        return waveform
    power = np.square(waveform[: frames * frame].reshape(frames, frame)).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-below_peak_db / 10))
    if loud.size == 0:
        return waveform
    return waveform[loud[0] * frame : (loud[-1] + 1) * frame]


def _samples_and_rate(source: Any, sampling_rate: int | None) -> tuple[str, np.ndarray, int]:
    if isinstance(source, dict):
        samples = source.get("array", source.get("raw"))
        return _samples_and_rate(samples, source.get("sampling_rate", sampling_rate))
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if not os.path.isfile(name):  # noqa: PTH113 - os.PathLike, not only pathlib
            raise FileNotFoundError(f"{name}: no such audio file")
        return name, *_decode(name, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "audio bytes", *_decode(io.BytesIO(source), "audio bytes")
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        source = source.float().numpy() if source.is_floating_point() else source.numpy()
    if source is None or isinstance(source, (int, float)):
        raise ValueError(f"audio must be a path, bytes, an array or a tensor, not {type(source).__name__}")
    samples = np.asarray(source)
    if samples.dtype.kind not in "fiu":
        raise ValueError(f"audio samples must be numbers, not {samples.dtype}")
    if sampling_rate is None:
        raise ValueError("an array of samples has no rate of its own: pass sampling_rate (Hz)")
    return "audio array", samples, int(sampling_rate)


def _decode(file: Any, name: str) -> tuple[np.ndarray, int]:
    with open_recording(file, name) as recording:
        return as_float(recording.read(0, len(recording))), recording.rate
