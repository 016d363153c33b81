"""The contrastive loss of a global batch, with hard targets, soft ones of a relation, or both.

It has two forms with equal values and gradients. The plain form builds whole B x B matrices and is the quicker one for
small batches; the tiled form (`raclap.training.tiled_loss`) never holds more than one row of tiles.

Shapes: b pairs on this process, B pairs on all processes, D joint size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raclap.training.distributed import gather_with_gradient, process_count
from raclap.training.relations import Relation
from raclap.training.tiled_loss import Weights, tiled_loss

Form = Literal["auto", "plain", "tiled"]

# Global batch from which the tiled form takes no more time where every matrix is fresh memory, on two CPU cores
# (benchmarks/loss.py). Where freed memory is kept, plain stays up to 30 % quicker, but its matrices soon outgrow
# everything else: with a teacher they are 36 · B² bytes.
CROSSING = 1500


@dataclass(frozen=True)
class ContrastiveLoss:
    """What a batch costs.

    Attributes:
        loss: scalar, of the global batch, equal on every process.
        target_entropy: scalar in nats without gradient, mean over the relation's targets of both directions; None
            without a relation. 0 means one-hot targets, log B that they say nothing.
    """

    loss: Tensor
    target_entropy: Tensor | None


def contrastive_loss(
    audio_embeds: Tensor,
    text_embeds: Tensor,
    audio_logit_scale: Tensor,
    text_logit_scale: Tensor,
    relation: Relation | None = None,
    relation_weight: float = 1.0,
    identity_weight: float = 1.0,
    symmetric: bool = True,
    form: Form = "auto",
) -> ContrastiveLoss:
    """relation_weight · KL to the relation's targets + identity_weight · InfoNCE.

    With cosines C (B, B) and the relation's logits R (B, B), the first term is

        ½ [ KL(softmax_row(R) ‖ softmax_row(audio_logit_scale · C))     audio → text, mean over rows
          + KL(softmax_col(R) ‖ softmax_col(text_logit_scale · C)) ]    text → audio, mean over columns

    and InfoNCE the same with the identity for targets. It is computed in float32, or in float64 where embeddings
    are, under autocast too. Gradients follow `gather_with_gradient`: after DDP's average they are those of one
    process that holds the whole batch.

    Args:
        audio_embeds: (b, D) unit rows of this process; b must be equal on all processes.
        text_embeds: (b, D) unit rows; row i describes clip i.
        audio_logit_scale: scalar, inverse temperature of audio → text.
        text_logit_scale: scalar, inverse temperature of text → audio; may be the same tensor.
        relation: of all B pairs, in order of process; None leaves InfoNCE alone.
        relation_weight: of the term with soft targets, which always has both directions.
        identity_weight: of InfoNCE.
        symmetric: both directions of InfoNCE; False keeps its audio → text, in full weight.
        form: `plain`, `tiled`, or `auto`: tiled from `CROSSING` pairs.

    Returns:
        The loss and the entropy of the targets. A teacher equal to the student, at equal scales, costs 0.

    Raises:
        ValueError: embeddings differ in shape, the relation is not of B pairs, the weights leave no term, or there is
            no such form.

    Example:
        >>> zeros, one = torch.zeros(4, 8), torch.tensor(1.0)
        >>> round(contrastive_loss(zeros, zeros, one, one).loss.item(), 4)  # log 4
        1.3863
        >>> from raclap.training.relations import SameGroup
        >>> pairs = SameGroup(torch.tensor([0, 0, 1, 1]))  # targets ½, ½: KL to uniform is log 4 - log 2
        >>> soft = contrastive_loss(zeros, zeros, one, one, pairs, identity_weight=0.0)
        >>> round(soft.loss.item(), 4), round(soft.target_entropy.item(), 4)
        (0.6931, 0.6931)

    Source: RA-CLAP Eqs. (3) and (4)-(7).
    Deviation: Eqs. (4)-(7) take the logarithm of a log-probability and one M for both directions; read so they cannot
    be trained. Here targets are probabilities, and the text → audio targets come from the columns of the teacher.
    """
    weights = Weights(0.0 if relation is None else relation_weight, identity_weight, symmetric)
    _check(audio_embeds, text_embeds, relation, weights, form)
    dtype = torch.promote_types(torch.promote_types(audio_embeds.dtype, text_embeds.dtype), torch.float32)
    if form == "auto":
        form = "tiled" if len(audio_embeds) * process_count() >= CROSSING else "plain"
    compute = tiled_loss if form == "tiled" else _plain_loss
    with torch.autocast(audio_embeds.device.type, enabled=False):
        audio_scale = audio_logit_scale.to(dtype)
        text_scale = audio_scale if text_logit_scale is audio_logit_scale else text_logit_scale.to(dtype)
        return ContrastiveLoss(
            *compute(audio_embeds.to(dtype), text_embeds.to(dtype), audio_scale, text_scale, relation, weights)
        )


def _check(audio: Tensor, text: Tensor, relation: Relation | None, weights: Weights, form: Form) -> None:
    if form not in ("auto", "plain", "tiled"):
        raise ValueError(f"form must be auto, plain or tiled, not '{form}'")
    if audio.shape != text.shape or audio.ndim != 2 or not len(audio):
        raise ValueError(f"audio is {tuple(audio.shape)}, text {tuple(text.shape)}: both must be (b, D), b above 0")
    if not (weights.relation or weights.identity):
        raise ValueError("the weights leave no term of the loss")
    pairs = len(audio) * process_count()
    if relation is not None and len(relation) != pairs:
        raise ValueError(
            f"the relation is of {len(relation)} pairs, the batch of {pairs} on all processes: gather its data first"
        )


def _plain_loss(
    audio: Tensor,
    text: Tensor,
    audio_scale: Tensor,
    text_scale: Tensor,
    relation: Relation | None,
    weights: Weights,
) -> tuple[Tensor, Tensor | None]:
    """Loss and target entropy from whole B x B matrices."""
    audio, text = gather_with_gradient(audio), gather_with_gradient(text)
    if audio_scale is text_scale:
        per_audio = per_text = audio_scale * audio @ text.T
    else:
        cosines = audio @ text.T
        per_audio, per_text = audio_scale * cosines, text_scale * cosines
    loss, entropy = audio.new_zeros(()), None
    if weights.identity:
        loss = loss + weights.identity * _identity_term(per_audio, per_text, weights.symmetric)
    if relation is not None:
        divergence, entropy = _relation_term(per_audio, per_text, relation)
        loss = loss + weights.relation * divergence
    return loss, entropy


def _identity_term(per_audio: Tensor, per_text: Tensor, symmetric: bool) -> Tensor:
    """InfoNCE of logits (B, B), rows clips, of either direction."""
    targets = torch.arange(len(per_audio), device=per_audio.device)
    audio_to_text = F.cross_entropy(per_audio, targets)
    if not symmetric:
        return audio_to_text
    return (audio_to_text + F.cross_entropy(per_text.T, targets)) / 2


def _relation_term(per_audio: Tensor, per_text: Tensor, relation: Relation) -> tuple[Tensor, Tensor]:
    """Divergence from the relation's targets and their entropy; logits (B, B), rows clips, of either direction."""
    B = len(per_audio)
    with torch.no_grad():
        related = relation.logits(slice(0, B), slice(0, B)).to(per_audio.dtype)
    divergence, entropy = 0, 0
    for logits, dim in ((per_audio, 1), (per_text, 0)):
        log_targets = related.log_softmax(dim)
        divergence += F.kl_div(logits.log_softmax(dim), log_targets, reduction="sum", log_target=True)
        entropy -= (log_targets.exp() * log_targets).sum()
    return divergence / (2 * B), entropy / (2 * B)
