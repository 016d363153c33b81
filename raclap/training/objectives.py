"""What a step minimises: a model and a batch in, a loss and its figures out."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from modeling_raclap.losses_raclap import info_nce
from raclap.training.distributed import gather_with_gradient

_AUDIO_INPUTS = ("input_values", "input_features", "audio_attention_mask")


class Objective(Protocol):
    """Computes a scalar loss of one global batch; see `InfoNceObjective`."""

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the global batch, equal on every process."""


@dataclass(frozen=True)
class InfoNceObjective:
    """ESS-CLAP: symmetric InfoNCE over the global batch.

    Attributes:
        symmetric: both directions (default) or audio → text only.
        length_micro_batches: parts that the speech tower runs in.

    Source: RA-CLAP Eq. (3).
    """

    symmetric: bool = True
    length_micro_batches: int = 1

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the global batch."""
        embeds = embed_pairs(model, batch, self.length_micro_batches)
        audio, text = gather_with_gradient(embeds.audio), gather_with_gradient(embeds.text)
        return info_nce(audio.float(), text.float(), embeds.logit_scale, self.symmetric)


@dataclass(frozen=True)
class PairEmbeds:
    """Embeddings of this process's pairs, (b, D) each, and the model's scale."""

    audio: Tensor
    text: Tensor
    logit_scale: Tensor


def embed_pairs(model: nn.Module, batch: dict[str, Tensor], length_micro_batches: int = 1) -> PairEmbeds:
    """Embeds a batch; with micro-batches the speech tower sees clips of like length together.

    The batch (and so the negatives) stays as it was drawn: only the padding shrinks. DDP allows several
    forward calls before one backward.
    """
    if length_micro_batches == 1:
        output = model(**batch)
        return PairEmbeds(output.audio_embeds, output.text_embeds, _scale(model))
    text = {name: value for name, value in batch.items() if name not in _AUDIO_INPUTS}
    lengths = batch["audio_attention_mask"].sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    parts = []
    for rows in order.chunk(length_micro_batches):
        longest = int(lengths[rows].max())
        audio = {name: batch[name][rows, :longest] for name in _AUDIO_INPUTS if name in batch}
        parts.append(model(**audio).audio_embeds)
    return PairEmbeds(torch.cat(parts)[torch.argsort(order)], model(**text).text_embeds, _scale(model))


def _scale(model: nn.Module) -> Tensor:
    return getattr(model, "module", model).logit_scale
