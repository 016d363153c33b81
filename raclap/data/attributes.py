"""Attributes as codes: what a clip holds, what a caption wants, and the share of the one in the other.

Shapes: K attributes; the others broadcast.
"""

import torch
from torch import Tensor

UNKNOWN = 0  # held: nobody says what the attribute's value is
NOT_NAMED = -1  # wanted: the caption does not speak of the attribute


def share_of(held: Tensor, wanted: Tensor) -> Tensor:
    """Share of the wanted codes that are held, over shapes that broadcast.

    Args:
        held: (..., K) codes of clips.
        wanted: (..., K) codes of captions, -1 where not named; each caption names at least one.

    Returns:
        (...) float32.
    """
    holding = torch.zeros(torch.broadcast_shapes(held.shape[:-1], wanted.shape[:-1]), device=held.device)
    # One attribute at a time: all at once would hold K comparisons of the whole tile.
    for k in range(held.shape[-1]):
        holding += held[..., k] == wanted[..., k]
    return holding / (wanted != NOT_NAMED).sum(-1)
