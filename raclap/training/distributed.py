"""What crosses processes: gathering, with gradient and without.

Shapes: b pairs on this process, B pairs on all processes, D joint size.
"""

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def process_count() -> int:
    """Processes that share the global batch; 1 without a process group."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def process_index() -> int:
    """Which of them this process is, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def gather_with_gradient(embeds: Tensor) -> Tensor:
    """All processes' embeddings, in order of process: (b, D) to (B, D).

    The loss of the whole batch is then computed on every process. Its gradient flows back through the gather to the
    process that made each row, summed over processes; DDP's average undoes the sum, so that the gradients are those
    of one process with the whole batch. (`Accelerator.gather` would cut the gradient.)
    """
    if process_count() == 1:
        return embeds
    return torch.cat(all_gather(embeds.contiguous()))


@torch.no_grad()
def gather(values: Tensor) -> Tensor:
    """All processes' values of equal shape, in order of process, without gradient: (b, ...) to (B, ...)."""
    if process_count() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(process_count())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
