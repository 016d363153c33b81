"""Waveforms of a batch end to end, as loader processes send them, and padded where the model reads them.

Padding in the loader would send three zeros for every sample where lengths are very unequal, as floats of twice the
size, and micro-batches would cut most of them off again. Flat, a batch of 16-bit clips is copied once, sent as it is,
and padded on the device to the longest clip of each micro-batch.

Shapes: B clips, S samples.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modeling_raclap.feature_extraction_raclap import standardise
from modeling_raclap.recording_raclap import as_float

SAMPLES = "waveform_samples"
LENGTHS = "waveform_lengths"
STANDARDISE = "waveform_standardise"

_FULL_SCALE = 2.0**15


def flatten(waveforms: Sequence[np.ndarray], shortest: int, normalize: str) -> dict[str, Tensor]:
    """Clips of a batch end to end.

    Args:
        waveforms: (S,) each, int16 or float32; 16-bit samples stay so if all clips have them.
        shortest: samples; shorter clips are filled up with zeros.
        normalize: of `RaClapFeatureExtractor`: `none` or `utterance`.

    Returns:
        `waveform_samples` (sum of S,), `waveform_lengths` (B,), and, where clips are to be standardised,
        `waveform_standardise` (B,), all true.
    """
    if any(waveform.dtype != np.int16 for waveform in waveforms):
        waveforms = [as_float(waveform) for waveform in waveforms]
    filled = [_fill_up(waveform, shortest) for waveform in waveforms]
    batch = {
        SAMPLES: torch.from_numpy(np.concatenate(filled)),
        LENGTHS: torch.tensor([len(waveform) for waveform in filled]),
    }
    if normalize == "utterance":
        batch[STANDARDISE] = torch.ones(len(filled), dtype=torch.bool)
    return batch


def is_flat(batch: Mapping[str, Tensor]) -> bool:
    """Whether the waveforms of a batch came end to end."""
    return SAMPLES in batch


def pad_clips(batch: Mapping[str, Tensor], parts: Sequence[Sequence[int]]) -> Iterator[dict[str, Tensor]]:
    """Model inputs of the clips of a flat batch, as `RaClapFeatureExtractor` makes them of the same clips.

    Args:
        batch: what `flatten` gives, on any device.
        parts: of each part the numbers of its clips.

    Yields:
        Of each part `input_values` (clips, S) float32, zero-padded to its longest, and `audio_attention_mask`
        (clips, S) int8, on the device of the batch.
    """
    clips = batch[SAMPLES].split(batch[LENGTHS].tolist())
    for part in parts:
        yield _pad([clips[number] for number in part], STANDARDISE in batch)


def padded(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch with its waveforms padded to the longest; as it is where they are not flat."""
    if not is_flat(batch):
        return dict(batch)
    others = {name: value for name, value in batch.items() if name not in (SAMPLES, LENGTHS, STANDARDISE)}
    return {**others, **next(pad_clips(batch, [range(len(batch[LENGTHS]))]))}


def _pad(clips: Sequence[Tensor], standardised: bool) -> dict[str, Tensor]:
    values = pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips]).to(values.device)
    if not values.is_floating_point():
        values = values.float().div_(_FULL_SCALE)
    if standardised:
        values = standardise(values, lengths, axis_has_std=True)
    # Eight times smaller than the int64 of the feature extractor, which would be twice the samples.
    mask = (torch.arange(values.shape[1], device=values.device) < lengths[:, None]).to(torch.int8)
    return {"input_values": values, "audio_attention_mask": mask}


def _fill_up(waveform: np.ndarray, shortest: int) -> np.ndarray:
    missing = shortest - len(waveform)
    return np.pad(waveform, (0, missing)) if missing > 0 else waveform
