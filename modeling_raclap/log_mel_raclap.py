"""Log-mel energies as three front ends compute them: ours, and those that published speaker encoders were trained on.

| front end | frames | window | FFT | mel filters | logarithm |
|---|---|---|---|---|---|
| raclap | wholly inside the clip | periodic Hamming | as long as the window | triangles over mel | ln(x + 1e-8) |
| kaldi | wholly inside; samples in 16-bit range, mean removed, pre-emphasis 0.97 in each frame | symmetric Hamming | \
next power of two | triangles over mel | ln max(x, 1.2e-7) |
| speechbrain | centred on multiples of the hop, zeros beyond the ends | periodic Hamming | as long as the window | \
triangles over Hz | dB of max(x, 1e-10), at most 80 dB under the clip's loudest |

`kaldi` is what WeSpeaker takes from Kaldi's fbank, without dither and energy. `speechbrain` is SpeechBrain's Fbank;
its triangles are as wide to the right as to the left, so that neighbours do not meet at their centres. In all three
the power of a frame is summed under each filter, and a clip in a padded batch has the frames it has alone.

Shapes: B clips, S samples, F frames, W samples of a window, M mel bins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, mel_to_hertz

_LOG_FLOOR = 1e-8
_KALDI_FLOOR = torch.finfo(torch.float32).eps
_DECIBEL_FLOOR = 1e-10
_DYNAMIC_RANGE = 80.0  # dB
_INT16_RANGE = 32_768.0


@dataclass(frozen=True)
class LogMel:
    """What a front end is set to.

    Attributes:
        num_mel_bins: M.
        sampling_rate: of the waveforms, Hz.
        window: W, samples.
        hop: samples.
        low_hz, high_hz: range of the mel filters.
    """

    num_mel_bins: int
    sampling_rate: int
    window: int
    hop: int
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class FrontEnd:
    """How one toolkit computes log-mel energies.

    Attributes:
        filters: settings and FFT length to (FFT length / 2 + 1, M) weights of the mel bins.
        compress: (B, F, M) energies and the (B, F, 1) mask of what is real to their logarithm.
        scale: factor on samples in [-1, 1].
        centred: frames are centred on multiples of the hop; otherwise they lie wholly inside the clip.
        periodic_window: of the Hamming window; otherwise it is symmetric.
        power_of_two: the FFT length is the next power of two; otherwise that of the window.
        removes_mean: each frame is shifted to a mean of zero.
        preemphasis: share of the sample before that is taken from each sample of a frame.
    """

    filters: Callable[[LogMel, int], Tensor]
    compress: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0
    centred: bool = False
    periodic_window: bool = True
    power_of_two: bool = False
    removes_mean: bool = False
    preemphasis: float = 0.0


def log_mel_energies(waveforms: Tensor, lengths: Tensor, name: str, settings: LogMel) -> tuple[Tensor, Tensor]:
    """Log-mel energies of padded clips.

    Args:
        waveforms: (B, S), zero beyond each clip's end.
        lengths: (B,) samples, each at least a window.
        name: of the front end, a key of `FRONT_ENDS`.
        settings: its sizes.

    Returns:
        (B, F, M) natural logarithms of the power (decibels for `speechbrain`), anything beyond a clip's end, and (B,)
        frames.
    """
    front_end = FRONT_ENDS[name]
    margin = settings.window // 2 if front_end.centred else 0
    # Zeros lie beyond the end of a padded clip as well: its last frames are those it has alone.
    frames = pad(waveforms, (margin, margin)).unfold(1, settings.window, settings.hop)
    counts = (lengths + 2 * margin - settings.window).div(settings.hop, rounding_mode="floor") + 1
    power, fft_length = _power(frames, front_end)
    real = torch.arange(frames.shape[1])[None, :, None] < counts[:, None, None]
    return front_end.compress(power @ front_end.filters(settings, fft_length), real), counts


def _power(frames: Tensor, front_end: FrontEnd) -> tuple[Tensor, int]:
    """(B, F, W) frames to (B, F, FFT length / 2 + 1) power, and the FFT length."""
    window = frames.shape[-1]
    fft_length = 2 ** (window - 1).bit_length() if front_end.power_of_two else window
    if front_end.scale != 1:
        frames = frames * front_end.scale
    if front_end.removes_mean:
        frames = frames - frames.mean(dim=-1, keepdim=True)
    if front_end.preemphasis:
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = frames - front_end.preemphasis * before
    frames = frames * torch.hamming_window(window, periodic=front_end.periodic_window)
    return torch.fft.rfft(frames, fft_length).abs().square(), fft_length


@lru_cache(maxsize=8)
def _mel_triangles(settings: LogMel, fft_length: int) -> Tensor:
    """Triangles over mel that meet at their neighbours' centres, as Kaldi's."""
    filters = mel_filter_bank(
        num_frequency_bins=fft_length // 2 + 1,
        num_mel_filters=settings.num_mel_bins,
        min_frequency=settings.low_hz,
        max_frequency=settings.high_hz,
        sampling_rate=settings.sampling_rate,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return torch.from_numpy(filters).float()


@lru_cache(maxsize=8)
def _symmetric_triangles(settings: LogMel, fft_length: int) -> Tensor:
    """Triangles over Hz, each as wide on both sides as its centre is away from the centre before it."""
    low, high = (hertz_to_mel(hz, mel_scale="htk") for hz in (settings.low_hz, settings.high_hz))
    points = mel_to_hertz(np.linspace(low, high, settings.num_mel_bins + 2), mel_scale="htk")
    frequencies = np.linspace(0, settings.sampling_rate // 2, fft_length // 2 + 1)[:, None]
    distance = np.abs(frequencies - points[1:-1]) / np.diff(points)[:-1]
    return torch.from_numpy(np.maximum(0, 1 - distance)).float()


def _log_of_sum(energies: Tensor, _: Tensor) -> Tensor:
    return torch.log(energies + _LOG_FLOOR)


def _log_of_maximum(energies: Tensor, _: Tensor) -> Tensor:
    return torch.log(energies.clamp(min=_KALDI_FLOOR))


def _decibels_in_range(energies: Tensor, real: Tensor) -> Tensor:
    decibels = 10 * torch.log10(energies.clamp(min=_DECIBEL_FLOOR))
    loudest = decibels.masked_fill(~real, -torch.inf).amax(dim=(1, 2), keepdim=True)
    return torch.maximum(decibels, loudest - _DYNAMIC_RANGE)


FRONT_ENDS = {
    "raclap": FrontEnd(_mel_triangles, _log_of_sum),
    "kaldi": FrontEnd(
        _mel_triangles,
        _log_of_maximum,
        scale=_INT16_RANGE,
        periodic_window=False,
        power_of_two=True,
        removes_mean=True,
        preemphasis=0.97,
    ),
    "speechbrain": FrontEnd(_symmetric_triangles, _decibels_in_range, centred=True),
}
