"""Where a score changes along a recording: its windows cut into stretches of one level.

    x_i = level of the stretch that window i lies in + noise

The cut is the one with the least squared error plus a penalty a stretch, found exactly (optimal partitioning: Jackson
et al., "An algorithm for optimal partitioning of data on an interval", 2005, equation 3). The penalty follows the
noise, which is estimated from neighbouring windows: a recording of one style stays whole, however its scores waver.

Shapes: n windows of a recording.
"""

import numpy as np

# Times the variance and log n that a stretch must explain; 3 is the modified criterion of Zhang and Siegmund, 2007.
_PENALTY = 3.0
_LEAST_NOISE = 1e-3  # of a cosine; half precision keeps no more
_MAD_TO_DEVIATION = 1.4826
_HALF_WAY = 0.5


def overlap_of(start: np.ndarray, end: np.ndarray) -> float:
    """How many windows hold a moment of sound: length over hop, at least 1; (n,) seconds each, in order of time."""
    if len(start) < 2:
        return 1.0
    hop = float(np.median(np.diff(start)))
    return max(1.0, float(np.median(end - start)) / hop) if hop > 0 else 1.0


def noise_of(scores: np.ndarray, overlap: float) -> float:
    """Standard deviation of the scores within a stretch.

    Neighbours that share all but 1/overlap of their sound differ by sqrt(2 / overlap) of it; their median difference
    is not moved by the few that lie on either side of a change.

    Args:
        scores: (n,) in order of time.
        overlap: see `overlap_of`.
    """
    if len(scores) < 2:
        return _LEAST_NOISE
    difference = _MAD_TO_DEVIATION * float(np.median(np.abs(np.diff(scores))))
    return max(_LEAST_NOISE, difference / np.sqrt(2 / overlap))


def cut_by_level(scores: np.ndarray, overlap: float = 1.0) -> np.ndarray:
    """Cuts a sequence of scores into stretches of one level.

    A stretch is at least as many windows as overlap: fewer may be no more than the slope between two levels.

    Args:
        scores: (n,) in order of time, n at least 1.
        overlap: see `overlap_of`.

    Returns:
        (stretches + 1,) int64, the first window of every stretch, and n.

    Example:
        >>> cut_by_level(np.array([0.1, 0.12, 0.1, 0.8, 0.82, 0.8, 0.1, 0.11])).tolist()
        [0, 3, 6, 8]
    """
    count, shortest = len(scores), int(np.ceil(overlap))
    if count < 2 * shortest:
        return np.array([0, count])
    penalty = _PENALTY * overlap * noise_of(scores, overlap) ** 2 * np.log(count)
    centred = scores.astype(np.float64) - scores.mean()
    sums = np.concatenate(([0.0], np.cumsum(centred)))
    squares = np.concatenate(([0.0], np.cumsum(centred**2)))
    cost = np.full(count + 1, np.inf)
    cost[0] = -penalty
    before = np.zeros(count + 1, dtype=np.int64)
    for last in range(shortest, count + 1):
        first = np.arange(last - shortest + 1)
        error = squares[last] - squares[first] - (sums[last] - sums[first]) ** 2 / (last - first)
        total = cost[first] + error + penalty
        before[last] = total.argmin()
        cost[last] = total[before[last]]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(before[cuts[-1]]))
    return np.array(cuts[::-1])


def crossing(progress: np.ndarray, start: np.ndarray, end: np.ndarray, cut: int, reach: int) -> float:
    """The time at which one stretch has become the next.

    A window that lies half in either is half-way from one to the other, so the centre of the window that would be
    half-way marks the change. It is taken between the two windows, nearest to the cut, that lie on either side of it,
    and within what both hear: windows that only touch meet where they touch.

    Args:
        progress: (n,) how far each window is from the one stretch, 0, to the next, 1.
        start, end: (n,) of windows in order of time; seconds.
        cut: first window of the later stretch, 1 to n - 1.
        reach: windows before and after the cut that are looked at.
    """
    left = np.arange(max(0, cut - 1 - reach), min(len(progress) - 1, cut + reach))
    passes = left[(progress[left] < _HALF_WAY) != (progress[left + 1] < _HALF_WAY)]
    middle = (start + end) / 2
    if len(passes):
        at = passes[np.abs(passes - (cut - 1)).argmin()]
        share = (_HALF_WAY - progress[at]) / (progress[at + 1] - progress[at])
    else:
        at, share = cut - 1, 0.5
    time = middle[at] + share * (middle[at + 1] - middle[at])
    return float(np.clip(time, min(start[at + 1], end[at]), end[at]))
