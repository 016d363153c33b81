"""Rank-N-Contrast across modalities: what is nearer in valence and arousal shall be nearer in the joint space.

Shapes: b pairs on this process, B pairs on all processes, n of them labelled, D joint size, r anchors of a block.
"""

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from torch.utils.checkpoint import checkpoint

from raclap.training.distributed import gather, gather_with_gradient, process_count

# Distances of labels of unit variance that differ by less are ties: labels come in float32, scaled.
_TIED = 1e-5
# Anchors times candidates that are held at once. More are computed again in the backward pass: of 8192 pairs every
# matrix has 256 MiB in float32, and sorting leaves several behind.
_BLOCK = 2**22


def rank_loss(audio_embeds: Tensor, text_embeds: Tensor, labels: Tensor, logit_scale: Tensor) -> Tensor:
    """Orders captions around each clip, and clips around each caption, by the distance of their labels.

    With cosines C and d_ik = ‖labels_i - labels_k‖₂, where clip i is the anchor:

        L = -1/n² Σ_ij log( exp(C_ij · scale) / Σ_{k: d_ik ≥ d_ij} exp(C_ik · scale) )

    averaged with the same of Cᵀ, where captions are anchors. The term of j = i is InfoNCE. Candidates are sorted by
    distance, and a cumulative log-sum-exp from the farthest on gives all denominators: O(B² log B) time; candidates
    of one distance share the denominator that has all of them. Each process has its own pairs for anchors.
    It is computed in float32, or in float64 where embeddings are, under autocast too. Gradients follow
    `gather_with_gradient`: after DDP's average they are those of one process with the whole batch.

    Args:
        audio_embeds: (b, D) unit rows of this process; b must be equal on all processes.
        text_embeds: (b, D) unit rows; row i describes clip i.
        labels: (b, 2) valence and arousal, of about unit variance. A pair with NaN is neither anchor nor candidate.
        logit_scale: scalar, inverse temperature.

    Returns:
        Scalar, of the global batch, equal on every process. With fewer than two labelled pairs it is 0, and so is
        its gradient. With equal labels throughout no order is asked for: the mean over anchors of log-sum-exp less
        mean of the logits, log n where all cosines are equal.

    Raises:
        ValueError: shapes do not fit each other.

    Example:
        >>> zeros, one = torch.zeros(3, 8), torch.tensor(1.0)
        >>> labels = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
        >>> # Of every anchor one denominator has three terms, one two, and one a single: (log 3 + log 2) / 3
        >>> round(rank_loss(zeros, zeros, labels, one).item(), 4)
        0.5973

    Source: EmotionRankCLAP; Zha et al., "Rank-N-Contrast", NeurIPS 2023, Eq. (1), across modalities.
    Deviation: in Rank-N-Contrast an anchor is no candidate of its own; across modalities its partner is one.
    """
    if audio_embeds.shape != text_embeds.shape or audio_embeds.ndim != 2 or labels.shape != (len(audio_embeds), 2):
        raise ValueError(
            f"audio is {tuple(audio_embeds.shape)}, text {tuple(text_embeds.shape)}, labels {tuple(labels.shape)}: "
            f"they must be (b, D), (b, D) and (b, 2)"
        )
    dtype = torch.promote_types(torch.promote_types(audio_embeds.dtype, text_embeds.dtype), torch.float32)
    with torch.autocast(audio_embeds.device.type, enabled=False):
        audio, text, scale = audio_embeds.to(dtype), text_embeds.to(dtype), logit_scale.to(dtype)
        labels = labels.to(torch.promote_types(labels.dtype, torch.float32))
        all_labels, all_audio, all_text = gather(labels), gather_with_gradient(audio), gather_with_gradient(text)
        own, known = _labelled(labels), _labelled(all_labels)
        candidates = (all_audio[known], all_text[known], all_labels[known])
        # Every process has the same nodes in its graph, with or without anchors of its own.
        total = scale * (all_audio[:0].sum() + all_text[:0].sum())
        blocks = own.split(max(1, _BLOCK // max(1, len(known))))
        for rows in blocks if len(known) > 1 else ():
            block = (audio[rows], text[rows], labels[rows], *candidates, scale)
            whole = len(rows) == len(own)
            total = total + (_block(*block) if whole else _block_anew(*block))
        loss = total / (2 * max(1, len(known)) ** 2)
        return loss if process_count() == 1 else all_reduce(loss)


def _labelled(labels: Tensor) -> Tensor:
    return labels.isnan().any(1).logical_not().nonzero().squeeze(1)


def _block(
    audio: Tensor, text: Tensor, labels: Tensor, all_audio: Tensor, all_text: Tensor, all_labels: Tensor, scale: Tensor
) -> Tensor:
    """The sum over anchors (r, ·) of both kinds and over candidates (n, ·)."""
    order, shared_by = _denominators(labels, all_labels)
    logits = scale * torch.stack([audio @ all_text.T, text @ all_audio.T])
    farthest_first = logits.gather(2, order.expand(2, -1, -1))
    return (shared_by * farthest_first.logcumsumexp(2) - farthest_first).sum()


def _block_anew(*block: Tensor) -> Tensor:
    """`_block`, whose matrices are computed again for the gradient."""
    return checkpoint(_block, *block, use_reentrant=False, preserve_rng_state=False)


@torch.no_grad()
def _denominators(labels: Tensor, all_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates from the farthest on, and for how many of them what has been summed up to each is the denominator.

    Args:
        labels: (r, 2) of the anchors.
        all_labels: (n, 2) of the candidates.

    Returns:
        order: (r, n) candidates by falling distance.
        shared_by: (r, n) how many candidates have the distance of the one at this place, at the last of them; 0 at
            the others.
    """
    valence, arousal = (labels.unsqueeze(1) - all_labels).unbind(2)
    distances, order = torch.hypot(valence, arousal).sort(dim=1, descending=True)
    is_last = torch.ones_like(distances, dtype=torch.bool)
    is_last[:, :-1] = distances[:, :-1] - distances[:, 1:] > _TIED
    counted = torch.arange(1, len(all_labels) + 1, device=labels.device) * is_last
    before = torch.zeros_like(counted)
    before[:, 1:] = counted.cummax(1).values[:, :-1]
    return order, (counted - before) * is_last
