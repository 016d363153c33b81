"""What a step minimises: a model and a batch in, a loss and its figures out."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from modeling_raclap.losses_raclap import info_nce
from raclap.training.distributed import gather_with_gradient

_MASKS = {"audio": "audio_attention_mask", "text": "attention_mask"}


class Objective(Protocol):
    """Computes a scalar loss of one global batch; see `InfoNceObjective`."""

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the global batch, equal on every process."""


@dataclass(frozen=True)
class InfoNceObjective:
    """ESS-CLAP: symmetric InfoNCE over the global batch.

    Attributes:
        symmetric: both directions (default) or audio → text only.
        speech_micro_batches, text_micro_batches: parts that each tower runs in.

    Source: RA-CLAP Eq. (3).
    """

    symmetric: bool = True
    speech_micro_batches: int = 1
    text_micro_batches: int = 1

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the global batch."""
        embeds = embed_pairs(model, batch, self.speech_micro_batches, self.text_micro_batches)
        audio, text = gather_with_gradient(embeds.audio), gather_with_gradient(embeds.text)
        return info_nce(audio.float(), text.float(), embeds.logit_scale, self.symmetric)


@dataclass(frozen=True)
class PairEmbeds:
    """Embeddings of this process's pairs, (b, D) each, and the model's scale."""

    audio: Tensor
    text: Tensor
    logit_scale: Tensor


def embed_pairs(
    model: nn.Module, batch: dict[str, Tensor], speech_micro_batches: int = 1, text_micro_batches: int = 1
) -> PairEmbeds:
    """Embeds a batch; with micro-batches a tower sees items of like length together.

    The batch (and so the negatives) stays as it was drawn: only the padding shrinks. A tower with batch statistics
    (ECAPA-TDNN in training) normalises each part by itself. DDP allows several forward calls before one backward.
    """
    if speech_micro_batches == text_micro_batches == 1:
        output = model(**batch)
        return PairEmbeds(output.audio_embeds, output.text_embeds, _scale(model))
    audio = {
        name: value for name, value in batch.items() if name.startswith(("input_values", "input_features", "audio"))
    }
    text = {name: value for name, value in batch.items() if name not in audio}
    return PairEmbeds(
        _embed_by_length(model, audio, "audio", speech_micro_batches),
        _embed_by_length(model, text, "text", text_micro_batches),
        _scale(model),
    )


def _embed_by_length(model: nn.Module, inputs: dict[str, Tensor], modality: str, parts: int) -> Tensor:
    """Embeddings of one modality, in the order of the batch: (b, D)."""
    name = f"{modality}_embeds"
    mask = inputs.get(_MASKS[modality])
    if parts == 1 or mask is None:
        return model(**inputs)[name]
    lengths = mask.sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    embeds = [
        model(**{key: value[rows, : int(lengths[rows].max())] for key, value in inputs.items()})[name]
        for rows in order.chunk(parts)
    ]
    return torch.cat(embeds)[torch.argsort(order)]


def _scale(model: nn.Module) -> Tensor:
    return getattr(model, "module", model).logit_scale
