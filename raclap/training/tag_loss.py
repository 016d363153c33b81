"""The classification loss: each tag is told by itself from a clip.

Shapes: b clips on this process, B clips on all processes, K tags of all groups, G groups.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

from raclap.training.distributed import gather, process_count


def tag_loss(logits: Tensor, tags: Tensor, groups: Tensor) -> Tensor:
    """Binary cross-entropy between clips and tags, a mean over groups of means over their tagged clips.

        L = 1/G' Σ_g 1/(n_g K_g) Σ_{i tagged in g} Σ_{t in g} BCE(logits_it, tags_it)

    where n_g of the B clips have a tag of group g, K_g tags are in it, and G' groups have a tagged clip in the batch.
    A clip without a tag of a group says nothing about the group. It is computed in float32, or in float64 where
    logits are, under autocast too. Gradients follow `gather_with_gradient`.

    Args:
        logits: (b, K) of this process's clips.
        tags: (b, K) bool, the tags that each clip has.
        groups: (K,) number of the group that each tag is in, from 0 to G - 1.

    Returns:
        Scalar, of the global batch, equal on every process. Without any tagged clip it is 0, and so is its gradient.
        Logits that are bare cosines leave at least ln(1 + 1/e) = 0.313 for a tag that the clip has, and as much for
        one that it has not.

    Example:
        >>> tags = torch.tensor([[True, False, False, False], [False, False, True, True]])
        >>> groups = torch.tensor([0, 0, 1, 1])
        >>> logits = torch.tensor([[1.0, -1.0, 9.0, 9.0], [9.0, 9.0, 1.0, 1.0]])  # 9: of groups without a tag
        >>> round(tag_loss(logits, tags, groups).item(), 3)
        0.313

    Source: ParaSpeechCLAP, the classification loss of the intrinsic model.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    with torch.autocast(logits.device.type, enabled=False):
        membership = F.one_hot(groups).to(dtype)
        tagged = (tags.to(dtype) @ membership > 0).to(dtype)
        clips = gather(tagged).sum(0)
        present = (clips > 0).sum().clamp(min=1)
        share = torch.where(clips > 0, 1 / (clips * membership.sum(0) * present), 0.0)
        costs = F.binary_cross_entropy_with_logits(logits.to(dtype), tags.to(dtype), reduction="none")
        loss = (costs * (tagged * share)[:, groups]).sum()
        return loss if process_count() == 1 else all_reduce(loss)
