"""Work that is shared by the threads of a process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_CHUNK = 16_384


def in_threads(work: Callable[[slice], object], size: int, chunk: int = _CHUNK) -> list:
    """Does `work` on all of range(size), chunk by chunk, by as many threads as torch uses.

    Torch takes that number from OMP_NUM_THREADS, or from `torch.set_num_threads`. Within `work` it uses one: threads
    of its own would wait for their next product by spinning, on the cores that these need.
    """
    chunks = [slice(first, min(first + chunk, size)) for first in range(0, size, chunk)]
    available = torch.get_num_threads()
    if min(available, len(chunks)) <= 1:
        return [work(chunk) for chunk in chunks]
    try:
        with ThreadPoolExecutor(min(available, len(chunks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, chunks))
    finally:
        torch.set_num_threads(available)  # new threads begin with it; this one's has not changed


def shares(size: int) -> int:
    """Length of a chunk that gives each thread one."""
    return max(1, -(-size // torch.get_num_threads()))
