"""From a draw to an example: decode, trim, crop, choose a caption. And from examples to a batch.

Shapes: S samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from modeling_raclap.audio_raclap import resample
from raclap.data.augmentation import SpecAugment
from raclap.data.inspection import Inspection
from raclap.data.notes import NOTE, PairNotes
from raclap.data.sampling import Draw

_CROP, _CAPTION, _MASKS, _SPEED = range(4)  # independent streams of randomness of one draw


@dataclass(frozen=True)
class Example:
    """One pair, ready to be padded.

    Attributes:
        waveform: (S,) float32.
        caption: one of the row's captions.
        number: of the draw.
        notes: what a relation must know of the pair.
    """

    waveform: np.ndarray
    caption: str
    number: int
    notes: Mapping[str, torch.Tensor] = field(default_factory=dict)


class PairDataset(Dataset[Example]):
    """Pairs of several corpora, numbered through. An example is a function of its draw and the seed alone.

    Args:
        corpora: inspected manifests.
        crop_seconds: longest random crop; None keeps whole clips.
        seed: of crops, captions and speeds.
        speed: clips play up to this share faster or slower. Pitch and tempo move along, so keep it well below the
            width of a level that captions name.
        notes: what a relation must know of each pair; None where the pairing is all.
    """

    def __init__(
        self,
        corpora: Sequence[Inspection],
        crop_seconds: float | None,
        seed: int = 0,
        speed: float = 0.0,
        notes: PairNotes | None = None,
    ):
        self._notes = notes
        self._corpora = list(corpora)
        self._ends = np.cumsum([len(corpus.manifest) for corpus in corpora])
        self._longest = None if crop_seconds is None else round(crop_seconds * corpora[0].rate)
        self._rate = corpora[0].rate
        self._seed = seed
        self._speed = speed

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, draw: Draw) -> Example:
        index = int(np.searchsorted(self._ends, draw.row, side="right"))
        corpus = self._corpora[index]
        row = draw.row - (int(self._ends[index - 1]) if index else 0)
        captions = corpus.manifest[row].captions
        choice = int(np.random.default_rng([self._seed, draw.number, _CAPTION]).integers(len(captions)))
        return Example(
            self._crop(self._perturb(corpus.waveform(row), draw.number), draw.number),
            captions[choice].text,
            draw.number,
            {} if self._notes is None else self._notes(draw.row, choice),
        )

    def _perturb(self, waveform: np.ndarray, number: int) -> np.ndarray:
        """The clip as if recorded at another rate, in steps of one percent (rates must be whole numbers)."""
        if not self._speed:
            return waveform
        widest = round(100 * self._speed)
        percent = int(np.random.default_rng([self._seed, number, _SPEED]).integers(-widest, widest + 1))
        return resample(waveform, self._rate * (100 + percent) // 100, self._rate)

    def _crop(self, waveform: np.ndarray, number: int) -> np.ndarray:
        if self._longest is None or len(waveform) <= self._longest:
            return waveform
        generator = np.random.default_rng([self._seed, number, _CROP])
        start = int(generator.integers(len(waveform) - self._longest + 1))
        return waveform[start : start + self._longest]


class PairCollator:
    """Pads examples through the model's own processor and, where asked, masks log-mel frames.

    Args:
        processor: a `RaClapProcessor`.
        augment: SpecAugment, for towers that read log-mel frames.
        pooled_captions: what a frozen text tower makes of each caption, (H,); given in place of its tokens.
        seed: of the masks.
        keep_unmasked: also give the features before masking, as the note `input_features`.
    """

    def __init__(
        self,
        processor: Any,
        augment: SpecAugment | None = None,
        pooled_captions: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
        keep_unmasked: bool = False,
    ):
        self._keep_unmasked = keep_unmasked
        self._processor = processor
        self._pooled_captions = pooled_captions
        self._augment = augment
        self._seed = seed

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """Model inputs of a batch, see `RaClapProcessor.__call__`, and the notes of its pairs."""
        captions = [example.caption for example in examples]
        batch = self._processor(
            text=captions if self._pooled_captions is None else None,
            audio=[example.waveform for example in examples],
            prepared=True,
        )
        if self._pooled_captions is not None:
            batch["text_pooled"] = torch.stack([self._pooled_captions[caption] for caption in captions])
        for name in examples[0].notes:
            batch[NOTE + name] = torch.stack([example.notes[name] for example in examples])
        if self._augment is not None and "input_features" in batch:
            if self._keep_unmasked:
                batch[NOTE + "input_features"] = batch["input_features"].clone()
            lengths = batch["audio_attention_mask"].sum(dim=1).tolist()
            for features, frames, example in zip(batch["input_features"], lengths, examples, strict=True):
                self._augment(features, frames, np.random.default_rng([self._seed, example.number, _MASKS]))
        return dict(batch)
