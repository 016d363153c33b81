"""Waveforms to padded model inputs: raw samples or log-mel frames, with the mask of what is real.

A stock extractor would call its mask `attention_mask` and overwrite the text's; ours says `audio_attention_mask`.

Shapes: B clips, S samples, F frames, M mel bins.
"""

from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin
from transformers.audio_utils import mel_filter_bank

from .audio_raclap import load_audio, trim_silence

_SHORTEST_SECONDS = 0.1
_LOG_FLOOR = 1e-8


class RaClapFeatureExtractor(FeatureExtractionMixin):
    """Prepares speech for either kind of audio tower. Deterministic: the same clip gives the same numbers.

    Args:
        features: `waveform` (wav2vec 2.0 family) or `log_mel` (speaker encoders).
        sampling_rate: Hz that the tower was made for; other rates are resampled.
        num_mel_bins: M.
        window_seconds, hop_seconds: of the short-time Fourier transform.
        low_hz, high_hz: range of the mel filters; None means half the sampling rate.
        normalize: `none`, or `utterance`: zero mean and unit variance of the waveform (as some wav2vec 2.0 models
            were trained), zero mean a mel bin for log-mel. `utterance` removes loudness, which is a style.
        log_mel_mean, log_mel_std: fixed shift and scale of the natural log-mel energies, in nepers of power.
        trim_silence_db: cut the ends that stay this far (dB) under the loudest 20 ms; None keeps them.
    """

    model_input_names = ["input_values", "input_features", "audio_attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        features: str = "waveform",
        sampling_rate: int = 16_000,
        num_mel_bins: int = 80,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.010,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        normalize: str = "none",
        log_mel_mean: float = -6.0,
        log_mel_std: float = 4.0,
        trim_silence_db: float | None = None,
        **kwargs: Any,
    ):
        if features not in ("waveform", "log_mel"):
            raise ValueError(f"features '{features}' is not one of waveform, log_mel")
        if normalize not in ("none", "utterance"):
            raise ValueError(f"normalize '{normalize}' is not one of none, utterance")
        super().__init__(**kwargs)
        self.features = features
        self.sampling_rate = sampling_rate
        self.num_mel_bins = num_mel_bins
        self.window_seconds = window_seconds
        self.hop_seconds = hop_seconds
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.normalize = normalize
        self.log_mel_mean = log_mel_mean
        self.log_mel_std = log_mel_std
        self.trim_silence_db = trim_silence_db

    def __call__(
        self,
        audio: Any,
        sampling_rate: int | None = None,
        return_tensors: str | None = "pt",
        prepared: bool = False,
        **_: Any,
    ) -> BatchFeature:
        """Loads, trims, normalises and pads one clip or a list of clips.

        Args:
            audio: anything `load_audio` takes, or a list of them.
            sampling_rate: rate of arrays and tensors, Hz; must be given for them.
            return_tensors: `pt` or `np`.
            prepared: the clips are mono float32 arrays at the tower's rate, trimmed already (the training path
                trims before it crops).

        Returns:
            `input_values` (B, S) or `input_features` (B, F, M), float32, zero-padded to the longest; and
            `audio_attention_mask` (B, S) or (B, F), int64, 1 where real.

        Raises:
            ValueError: a clip has no rate or no sound in it.
            FileNotFoundError: a path does not exist.
        """
        clips = audio if isinstance(audio, (list, tuple)) and not _is_samples(audio) else [audio]
        if not clips:
            raise ValueError("no audio: the list is empty")
        waveforms = clips if prepared else [self.load(clip, sampling_rate) for clip in clips]
        inputs, lengths = self._pad([self._at_least_shortest(w) for w in waveforms])
        name = "input_values"
        if self.features == "log_mel":
            name = "input_features"
            inputs, lengths = self._log_mel(inputs, lengths)
        elif self.normalize == "utterance":
            inputs = _standardise(inputs, lengths, axis_has_std=True)
        mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).long()
        data = {name: inputs, "audio_attention_mask": mask}
        if return_tensors == "np":
            data = {key: value.numpy() for key, value in data.items()}
        return BatchFeature(data)

    def load(self, clip: Any, sampling_rate: int | None = None) -> np.ndarray:
        """One clip as a checked mono waveform at the tower's rate, ends trimmed if so configured: (S,) float32."""
        return self.trim(load_audio(clip, self.sampling_rate, sampling_rate))

    def trim(self, waveform: np.ndarray) -> np.ndarray:
        """Cuts silent ends as configured."""
        if self.trim_silence_db is None:
            return waveform
        return trim_silence(waveform, self.sampling_rate, self.trim_silence_db)

    def _at_least_shortest(self, waveform: np.ndarray) -> np.ndarray:
        """Zero-pads a blip, so that every tower gets at least one whole frame from it."""
        missing = int(_SHORTEST_SECONDS * self.sampling_rate) - len(waveform)
        return np.pad(waveform, (0, missing)) if missing > 0 else waveform

    def _pad(self, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(w) for w in waveforms])
        padded = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
        return padded, lengths

    def _log_mel(self, padded: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames lie wholly inside the clip (no reflection at its ends), so padding cannot change them."""
        window, hop = (
            round(self.window_seconds * self.sampling_rate),
            round(self.hop_seconds * self.sampling_rate),
        )
        spectrum = torch.stft(
            padded, n_fft=window, hop_length=hop, window=torch.hamming_window(window), center=False,
            return_complex=True,
        )  # fmt: skip
        power = spectrum.abs().square().transpose(1, 2)
        energies = torch.log(power @ self._mel_filters(window) + _LOG_FLOOR)
        lengths = (lengths - window).div(hop, rounding_mode="floor") + 1
        if self.normalize == "utterance":
            return _standardise(energies, lengths, axis_has_std=False), lengths
        real = torch.arange(energies.shape[1])[None, :, None] < lengths[:, None, None]
        return torch.where(real, (energies - self.log_mel_mean) / self.log_mel_std, 0.0), lengths

    def _mel_filters(self, window: int) -> torch.Tensor:
        filters = mel_filter_bank(
            num_frequency_bins=window // 2 + 1,
            num_mel_filters=self.num_mel_bins,
            min_frequency=self.low_hz,
            max_frequency=self.high_hz or self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        return torch.from_numpy(filters).float()


def _standardise(values: torch.Tensor, lengths: torch.Tensor, axis_has_std: bool) -> torch.Tensor:
    """Zero mean (and unit variance) over the real part of axis 1; padding stays zero."""
    shape = (len(lengths),) + (1,) * (values.dim() - 1)
    positions = torch.arange(values.shape[1]).view((1, -1) + (1,) * (values.dim() - 2))
    real = positions < lengths.view(shape)
    count = lengths.view(shape)
    mean = torch.where(real, values, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(real, values - mean, 0.0)
    if not axis_has_std:
        return centred
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + 1e-7)


def _is_samples(values: list | tuple) -> bool:
    """A plain list of numbers is one clip; a list of anything else is several."""
    return len(values) > 0 and isinstance(values[0], (int, float))
