"""Where a batch sorted by length is cut, so that its parts together hold as little padding as they can.

Shapes: b items, n parts.
"""

from collections.abc import Sequence

import numpy as np


def part_sizes(lengths: Sequence[int], parts: int) -> list[int]:
    """Sizes of the runs of a sorted batch, each padded to its own longest item, that are least in all.

    Equal counts would give the longest clips, which are few and far apart, to parts that are mostly padding. Solved
    exactly, run by run: the least total of j + 1 runs ending at item i is a least total of j runs plus one run to i.

    How many runs there are follows from b and n alone, never from the lengths: processes that share a batch must call
    their model equally often. For the batch statistics of a tower that has them, no run is shorter than a quarter of
    an equal share, nor than two items.

    Args:
        lengths: of the b items, rising.
        parts: n, runs that are wanted; with fewer than two items a run there are fewer of them.

    Returns:
        The number of items in each run, from the shortest items on.

    Example:
        >>> part_sizes([1, 1, 1, 1, 1, 1, 9, 9], 2)
        [6, 2]
    """
    count = len(lengths)
    parts = max(1, min(parts, count // 2))
    ends = np.arange(count + 1)
    sizes = ends[None, :] - ends[:, None]
    longest = np.concatenate([[0], lengths])
    cost = np.where(sizes >= max(min(2, count), count // (4 * parts)), sizes * longest.astype(float), np.inf)
    least = cost[0]  # of one run over the first i items
    starts = []
    for _ in range(parts - 1):
        totals = least[:, None] + cost
        starts.append(totals.argmin(axis=0))
        least = totals.min(axis=0)
    cuts = [count]
    for start in reversed(starts):
        cuts.append(int(start[cuts[-1]]))
    return np.diff([0, *reversed(cuts)]).tolist()
