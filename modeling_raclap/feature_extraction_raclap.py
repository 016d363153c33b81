"""Waveforms to padded model inputs: raw samples or log-mel frames, with the mask of what is real.

An extractor of transformers would call its mask `attention_mask` and overwrite the text's; ours says
`audio_attention_mask`. Where an encoder was trained with one of them, it is asked, and its answer renamed.

Shapes: B clips, S samples, F frames, M mel bins.
"""

from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin

from .audio_raclap import load_audio, trim_silence
from .log_mel_raclap import FRONT_ENDS, LogMel, log_mel_energies
from .stock_features_raclap import StockFeatures

FEATURES = ("waveform", "log_mel", "stock")
_SHORTEST_SECONDS = 0.1


class RaClapFeatureExtractor(FeatureExtractionMixin):
    """Prepares speech for any kind of audio tower. Deterministic: the same clip gives the same numbers.

    Args:
        features: `waveform` (wav2vec 2.0 family), `log_mel` (speaker encoders) or `stock`: as an extractor of
            transformers makes them (Whisper, wav2vec2-BERT, AST). With `stock` that extractor's settings are read
            and the others from `front_end` to `log_mel_std` are not.
        sampling_rate: Hz that the tower was made for; other rates are resampled. With `stock` it is the extractor's.
        front_end: whose log-mel energies: `raclap`, or `speechbrain` or `kaldi`, which published speaker encoders
            were trained on (see `log_mel_raclap.py`).
        num_mel_bins: M.
        window_seconds, hop_seconds: of the short-time Fourier transform.
        low_hz, high_hz: range of the mel filters; None means half the sampling rate.
        normalize: `none`, or `utterance`: zero mean and unit variance of the waveform (as some wav2vec 2.0 models
            were trained), zero mean a mel bin for log-mel. `utterance` removes loudness, which is a style.
        log_mel_mean, log_mel_std: fixed shift and scale of the log-mel energies where `normalize` is `none`: in
            natural logarithms of power (decibels for `speechbrain`).
        trim_silence_db: cut the ends that stay this far (dB) under the loudest 20 ms; None keeps them.
        stock: class and settings of the extractor of transformers, see `StockFeatures`.

    Raises:
        ValueError: a setting is not known, or `stock` is given without `features: stock` or the other way round.
    """

    model_input_names = ["input_values", "input_features", "audio_attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        features: str = "waveform",
        sampling_rate: int = 16_000,
        front_end: str = "raclap",
        num_mel_bins: int = 80,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.010,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        normalize: str = "none",
        log_mel_mean: float = -6.0,
        log_mel_std: float = 4.0,
        trim_silence_db: float | None = None,
        stock: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        if features not in FEATURES:
            raise ValueError(f"features '{features}' is not one of {', '.join(FEATURES)}")
        if (features == "stock") != (stock is not None):
            raise ValueError("features 'stock' and the settings in 'stock' belong together")
        if normalize not in ("none", "utterance"):
            raise ValueError(f"normalize '{normalize}' is not one of none, utterance")
        if front_end not in FRONT_ENDS:
            raise ValueError(f"front_end '{front_end}' is not one of {', '.join(FRONT_ENDS)}")
        super().__init__(**kwargs)
        self.features = features
        self.sampling_rate = sampling_rate
        self.front_end = front_end
        self.num_mel_bins = num_mel_bins
        self.window_seconds = window_seconds
        self.hop_seconds = hop_seconds
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.normalize = normalize
        self.log_mel_mean = log_mel_mean
        self.log_mel_std = log_mel_std
        self.trim_silence_db = trim_silence_db
        self._stock = None if stock is None else StockFeatures(stock)
        self.stock = None if self._stock is None else self._stock.settings
        if self._stock is not None:
            self.sampling_rate = self._stock.sampling_rate

    @property
    def longest_seconds(self) -> float | None:
        """Length of the longest clip that the tower reads; None: any."""
        longest = None if self._stock is None else self._stock.longest
        return None if longest is None else longest / self.sampling_rate

    @property
    def shortest_samples(self) -> int:
        """Shorter clips are filled up with zeros."""
        return int(_SHORTEST_SECONDS * self.sampling_rate)

    def to_dict(self) -> dict[str, Any]:
        """Settings alone, for the file."""
        settings = super().to_dict()
        settings.pop("_stock", None)
        return settings

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
            `input_values` (B, S) or `input_features` (B, F, M), float32, zero-padded to the longest, or with `stock`
            padded as the extractor does it; and `audio_attention_mask` (B, S) or (B, F), int64, 1 where real.

        Raises:
            ValueError: a clip has no rate or no sound in it, or is longer than the tower reads.
            FileNotFoundError: a path does not exist.
        """
        clips = audio if isinstance(audio, (list, tuple)) and not _is_samples(audio) else [audio]
        if not clips:
            raise ValueError("no audio: the list is empty")
        waveforms = clips if prepared else [self.load(clip, sampling_rate) for clip in clips]
        waveforms = [self._at_least_shortest(waveform) for waveform in waveforms]
        inputs, lengths = self._pad(waveforms) if self._stock is None else self._stock(waveforms)
        name = "input_values" if self.features == "waveform" else "input_features"
        if self.features == "log_mel":
            inputs, lengths = self._log_mel(inputs, lengths)
        elif self.features == "waveform" and self.normalize == "utterance":
            inputs = standardise(inputs, lengths, axis_has_std=True)
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
        missing = self.shortest_samples - len(waveform)
        return np.pad(waveform, (0, missing)) if missing > 0 else waveform

    def _pad(self, waveforms: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(w) for w in waveforms])
        padded = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))
        return padded, lengths

    def _log_mel(self, padded: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        settings = LogMel(
            num_mel_bins=self.num_mel_bins,
            sampling_rate=self.sampling_rate,
            window=round(self.window_seconds * self.sampling_rate),
            hop=round(self.hop_seconds * self.sampling_rate),
            low_hz=self.low_hz,
            high_hz=self.high_hz or self.sampling_rate / 2,
        )
        energies, lengths = log_mel_energies(padded, lengths, self.front_end, settings)
        if self.normalize == "utterance":
            return standardise(energies, lengths, axis_has_std=False), lengths
        real = torch.arange(energies.shape[1])[None, :, None] < lengths[:, None, None]
        return torch.where(real, (energies - self.log_mel_mean) / self.log_mel_std, 0.0), lengths


def standardise(values: torch.Tensor, lengths: torch.Tensor, axis_has_std: bool) -> torch.Tensor:
    """Zero mean (and unit variance) over the real part of axis 1; padding stays zero.

    Args:
        values: (B, S) or (B, F, M), on any device.
        lengths: (B,), how much of axis 1 is real.
        axis_has_std: also divide by the standard deviation.
    """
    shape = (lengths.shape[0],) + (1,) * (values.dim() - 1)
    positions = torch.arange(values.shape[1], device=values.device).view((1, -1) + (1,) * (values.dim() - 2))
    count = lengths.view(shape)
    padding = positions >= count
    # In place on one copy: a batch of waveforms is large, and new memory is slow.
    centred = values.masked_fill(padding, 0.0)
    centred -= centred.sum(1, keepdim=True) / count
    centred.masked_fill_(padding, 0.0)
    if axis_has_std:
        variance = torch.linalg.vector_norm(centred, dim=1, keepdim=True).square() / count
        centred /= torch.sqrt(variance + 1e-7)
    return centred


def _is_samples(values: list | tuple) -> bool:
    """A plain list of numbers is one clip; a list of anything else is several."""
    return len(values) > 0 and isinstance(values[0], (int, float))
