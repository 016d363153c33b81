"""SpecAugment: stretches of frames and bands of mel bins are blanked, in training only.

Shapes: F frames, M mel bins.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class SpecAugment:
    """Blanks random stretches of log-mel frames with zero, the value of padding.

    Attributes:
        time_masks, mel_masks: how many of each.
        time_mask_frames, mel_mask_bins: the longest of each; lengths are uniform from zero.

    Source: Park et al., "SpecAugment", Interspeech 2019.
    """

    time_masks: int = 0
    time_mask_frames: int = 30
    mel_masks: int = 0
    mel_mask_bins: int = 10

    def __call__(self, features: Tensor, frames: int, generator: np.random.Generator) -> None:
        """Masks one clip in place.

        Args:
            features: (F, M).
            frames: how many of F are real. At most half of them are blanked by one mask.
            generator: source of the randomness.
        """
        for _ in range(self.time_masks):
            start, length = _stretch(frames, min(self.time_mask_frames, frames // 2), generator)
            features[start : start + length] = 0.0
        for _ in range(self.mel_masks):
            start, length = _stretch(features.shape[1], self.mel_mask_bins, generator)
            features[:, start : start + length] = 0.0


def _stretch(size: int, longest: int, generator: np.random.Generator) -> tuple[int, int]:
    length = int(generator.integers(0, min(longest, size) + 1))
    return int(generator.integers(0, size - length + 1)), length
