"""Losses of the method as pure functions of embeddings: never a model, never a collective.

Shapes: B pairs in the global batch, D joint size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(audio_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor, symmetric: bool = True) -> Tensor:
    """Contrastive loss of paired clips and captions: each must find its partner among all of the batch.

    Args:
        audio_embeds: (B, D) unit vectors.
        text_embeds: (B, D) unit vectors; row i describes clip i.
        logit_scale: scalar, inverse temperature.
        symmetric: average both directions; False keeps audio → text only.

    Returns:
        Scalar. With equal embeddings everywhere it is log B.

    Example:
        >>> zeros = torch.zeros(4, 8)
        >>> round(info_nce(zeros, zeros, torch.tensor(1.0)).item(), 4)  # log 4
        1.3863

    Source: RA-CLAP Eq. (3).
    Deviation: the paper writes audio → text alone; both directions are the default, as CLIP trains.
    """
    logits_per_audio = logit_scale * audio_embeds @ text_embeds.T
    targets = torch.arange(len(logits_per_audio), device=logits_per_audio.device)
    audio_to_text = F.cross_entropy(logits_per_audio, targets)
    if not symmetric:
        return audio_to_text
    return (audio_to_text + F.cross_entropy(logits_per_audio.T, targets)) / 2
