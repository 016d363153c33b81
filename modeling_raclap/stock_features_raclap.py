"""The feature extractors of transformers that Whisper, wav2vec2-BERT and AST were trained with, behind one call.

They differ in what they return and in what they say of it; here each gives log-mel frames by clip, and how many of
them are real. None needs torchaudio: Whisper's runs on torch, wav2vec2-BERT's on NumPy, and AST's on NumPy too, but on
torchaudio's filter bank where that is installed, which may differ in the last digits.

Shapes: B clips, S samples, F frames, M mel bins.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ASTFeatureExtractor, BatchFeature, SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

_CLASSES = {
    extractor.__name__: extractor
    for extractor in (WhisperFeatureExtractor, SeamlessM4TFeatureExtractor, ASTFeatureExtractor)
}
_AT_ONCE = 8  # clips
_AST_WINDOW, _AST_HOP = 400, 160  # samples, as AST's extractor has them in its code


class StockFeatures:
    """One of the three.

    Args:
        settings: its class as `feature_extractor_type`, and what that class is made with; the rest is its defaults.

    Attributes:
        settings: all of them, in words and numbers.
        sampling_rate: Hz.
        longest: the most samples it reads; None: any number.

    Raises:
        ValueError: the class is not one of them.
    """

    def __init__(self, settings: dict[str, Any]):
        name = settings.get("feature_extractor_type")
        if name not in _CLASSES:
            raise ValueError(f"feature_extractor_type '{name}' is not one of {', '.join(_CLASSES)}")
        given = {key: value for key, value in settings.items() if key != "feature_extractor_type"}
        # Noise on the waveform would give the same clip other numbers each time.
        self._extractor = _CLASSES[name](**{**given, "dither": 0.0} if name == "WhisperFeatureExtractor" else given)
        self.settings = self._extractor.to_dict()
        self.sampling_rate = self._extractor.sampling_rate
        self.longest = self._longest()

    def __call__(self, waveforms: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Log-mel frames.

        Args:
            waveforms: mono float32 at `sampling_rate`.

        Returns:
            (B, F, M) float32, padded as the extractor does it, and the number of real frames of each, (B,).

        Raises:
            ValueError: a clip is longer than the extractor reads.
        """
        for index, waveform in enumerate(waveforms):
            if self.longest is not None and len(waveform) > self.longest:
                seconds, most = len(waveform) / self.sampling_rate, self.longest / self.sampling_rate
                raise ValueError(
                    f"clip {index} is {seconds:.2f} s long, but the speech tower reads at most {most:.2f} s "
                    f"({type(self._extractor).__name__}); cut it into pieces"
                )
        clips = [np.asarray(waveform, dtype=np.float32) for waveform in waveforms]
        if isinstance(self._extractor, ASTFeatureExtractor):
            samples = torch.tensor([len(clip) for clip in clips])
            frames = (samples - _AST_WINDOW).div(_AST_HOP, rounding_mode="floor") + 1
            return self._extract(clips)["input_values"], frames
        if isinstance(self._extractor, WhisperFeatureExtractor):
            # Each clip becomes 30 s of waveform and a spectrum of three times that: too much for a whole batch.
            parts = [self._extract(clips[first : first + _AT_ONCE]) for first in range(0, len(clips), _AT_ONCE)]
            features = torch.cat([part["input_features"] for part in parts]).transpose(1, 2).contiguous()
            return features, torch.cat([part["attention_mask"] for part in parts]).sum(dim=1)
        inputs = self._extract(clips)
        return inputs["input_features"], inputs["attention_mask"].sum(dim=1)

    def _extract(self, clips: list[np.ndarray]) -> BatchFeature:
        return self._extractor(
            clips, sampling_rate=self.sampling_rate, return_tensors="pt", return_attention_mask=True
        )

    def _longest(self) -> int | None:
        if isinstance(self._extractor, WhisperFeatureExtractor):
            return self._extractor.n_samples
        if isinstance(self._extractor, ASTFeatureExtractor):
            return _AST_WINDOW + self._extractor.max_length * _AST_HOP - 1
        return None
