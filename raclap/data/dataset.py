"""From a draw to an example: open, crop, change, choose a caption. And from examples to a batch.

A crop is drawn from the length of a clip and read from its file alone, so that long recordings cost no more than
short ones.

Shapes: S samples.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from modeling_raclap.recording_raclap import as_float
from raclap.data.augmentation import SpecAugment
from raclap.data.inspection import Inspection
from raclap.data.manifest import Pair
from raclap.data.notes import NOTE, PairNotes
from raclap.data.ragged import SAMPLES, flatten
from raclap.data.sampling import Draw
from raclap.data.sound import Sound, at_rate
from raclap.data.waveform_augmentation import WaveformAugmentation

_CROP, _CAPTION, _MASKS, _SPEED, _CHANGES = range(5)  # independent streams of randomness of one draw


@dataclass(frozen=True)
class Example:
    """One pair, ready to be padded.

    Attributes:
        waveform: (S,) float32, or int16 where it is as it was stored.
        caption: one of the row's captions.
        number: of the draw.
        notes: what a relation must know of the pair.
        clean: the waveform before it was changed, where it was.
    """

    waveform: np.ndarray
    caption: str
    number: int
    notes: Mapping[str, torch.Tensor] = field(default_factory=dict)
    clean: np.ndarray | None = None


class PairDataset(Dataset[Example]):
    """Pairs of several corpora, numbered through. An example is a function of its draw and the seed alone.

    Args:
        corpora: inspected manifests.
        crop_seconds: longest random crop; None keeps whole clips.
        seed: of crops, captions, speeds and changes.
        speed: clips play up to this share faster or slower. Pitch and tempo move along, so keep it well below the
            width of a level that captions name.
        notes: what a relation must know of each pair; None where the pairing is all.
        augment: changes the sound of crops.
        threads: that read the clips of a batch; libsndfile and soxr let others work meanwhile.
    """

    def __init__(
        self,
        corpora: Sequence[Inspection],
        crop_seconds: float | None,
        seed: int = 0,
        speed: float = 0.0,
        notes: PairNotes | None = None,
        augment: WaveformAugmentation | None = None,
        threads: int = 1,
    ):
        self._notes = notes
        self._corpora = list(corpora)
        self._ends = np.cumsum([len(corpus.manifest) for corpus in corpora])
        self._longest = None if crop_seconds is None else round(crop_seconds * corpora[0].rate)
        self._rate = corpora[0].rate
        self._seed = seed
        self._speed = speed
        self._augment = augment
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, draw: Draw) -> Example:
        return self._finish(draw, *self._read(draw))

    def __getitems__(self, draws: Sequence[Draw]) -> list[Example]:
        """Examples of a batch, read in parallel: what a loader asks for."""
        # Changes draw from the random state of the process, so they are made one after the other.
        return [self._finish(draw, *found) for draw, found in zip(draws, self._read_all(draws), strict=True)]

    def crop(self, length: int, number: int) -> tuple[int, int]:
        """Where the crop of a draw lies.

        Args:
            length: of the clip, samples.
            number: of the draw.
        """
        if self._longest is None or length <= self._longest:
            return 0, length
        start = int(self._generator(number, _CROP).integers(length - self._longest + 1))
        return start, start + self._longest

    def __getstate__(self) -> dict:
        """Threads stay in the process that started them."""
        return {**self.__dict__, "_pool": None}

    def _read_all(self, draws: Sequence[Draw]) -> Iterator[tuple[Pair, np.ndarray]]:
        if self._threads == 1:
            return map(self._read, draws)
        if self._pool is None or self._pool[0] != os.getpid():  # a fork does not bring the threads along
            self._pool = os.getpid(), ThreadPoolExecutor(self._threads)
        return self._pool[1].map(self._read, draws)

    def _read(self, draw: Draw) -> tuple[Pair, np.ndarray]:
        """The row of a draw, and its crop as it sounds."""
        index = int(np.searchsorted(self._ends, draw.row, side="right"))
        corpus = self._corpora[index]
        row = draw.row - (int(self._ends[index - 1]) if index else 0)
        pair = corpus.manifest[row]
        with corpus.open(row, pair) as clip:
            played = self._perturb(clip, draw.number)
            return pair, played.read(*self.crop(len(played), draw.number))

    def _finish(self, draw: Draw, pair: Pair, waveform: np.ndarray) -> Example:
        choice = int(self._generator(draw.number, _CAPTION).integers(len(pair.captions)))
        changed = None
        if self._augment is not None:
            clip = as_float(waveform)
            changed = self._augment(clip, self._generator(draw.number, _CHANGES))
            changed = None if changed is clip else changed
        return Example(
            waveform if changed is None else changed,
            pair.captions[choice].text,
            draw.number,
            {} if self._notes is None else self._notes(pair, draw.row, choice),
            None if changed is None else waveform,
        )

    def _perturb(self, clip: Sound, number: int) -> Sound:
        """The clip as if recorded at another rate, in steps of one percent (rates must be whole numbers)."""
        if not self._speed:
            return clip
        widest = round(100 * self._speed)
        percent = int(self._generator(number, _SPEED).integers(-widest, widest + 1))
        return at_rate(clip, self._rate * (100 + percent) // 100, self._rate)

    def _generator(self, number: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, number, stream])


class PairCollator:
    """Makes a batch of examples: log-mel frames through the model's own processor, and masked where asked, or flat
    waveforms, which are padded on the device.

    Args:
        processor: a `RaClapProcessor`.
        augment: SpecAugment, for towers that read log-mel frames.
        pooled_captions: what a frozen text tower makes of each caption, (H,); given in place of its tokens.
        seed: of the masks.
        keep_unmasked: also give what there was before masking and other changes, as a note of the same name.
        flat: give waveforms end to end, see `ragged.py`; for towers that read samples.
    """

    def __init__(
        self,
        processor: Any,
        augment: SpecAugment | None = None,
        pooled_captions: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
        keep_unmasked: bool = False,
        flat: bool = False,
    ):
        self._keep_unmasked = keep_unmasked
        self._processor = processor
        self._pooled_captions = pooled_captions
        self._augment = augment
        self._seed = seed
        self._flat = flat

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """Model inputs of a batch, see `RaClapProcessor.__call__` and `flatten`, and the notes of its pairs."""
        captions = [example.caption for example in examples]
        text = captions if self._pooled_captions is None else None
        batch = self._inputs(text, [example.waveform for example in examples])
        if self._pooled_captions is not None:
            batch["text_pooled"] = torch.stack([self._pooled_captions[caption] for caption in captions])
        for name in examples[0].notes:
            batch[NOTE + name] = torch.stack([example.notes[name] for example in examples])
        if self._keep_unmasked:
            batch.update(self._unmasked(batch, examples))
        if self._augment is not None and "input_features" in batch:
            lengths = batch["audio_attention_mask"].sum(dim=1).tolist()
            for features, frames, example in zip(batch["input_features"], lengths, examples, strict=True):
                self._augment(features, frames, np.random.default_rng([self._seed, example.number, _MASKS]))
        return batch

    def _inputs(self, text: list[str] | None, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        if not self._flat:
            return dict(self._processor(text=text, audio=[as_float(clip) for clip in waveforms], prepared=True))
        extractor = self._processor.feature_extractor
        audio = flatten(waveforms, extractor.shortest_samples, extractor.normalize)
        return audio if text is None else {**self._processor(text=text), **audio}

    def _unmasked(self, batch: Mapping[str, torch.Tensor], examples: list[Example]) -> dict[str, torch.Tensor]:
        """What a teacher sees where the student sees something else."""
        name = next(name for name in (SAMPLES, "input_features", "input_values") if name in batch)
        if any(example.clean is not None for example in examples):
            clean = [example.waveform if example.clean is None else example.clean for example in examples]
            return {NOTE + name: self._inputs(None, clean)[name]}
        return {} if self._augment is None else {NOTE + name: batch[name].clone()}
