"""Where a recording changes its sound: its windows cut into stretches, and the times at which they meet.

    x_i = mean of the stretch that window i lies in + noise

The cut is the one with the least squared error plus a penalty a stretch, found exactly (PELT: Killick et al., "Optimal
detection of changepoints with a linear computational cost", 2012, equation 3; `ruptures`). The penalty is what a cut
may save by chance, so a recording of one style stays whole, however its windows waver: for Gaussian noise of variances
lambda_1, lambda_2, ... along its axes, once in n places at most

    sum lambda + 2 sqrt(sum lambda^2 log n) + 2 max lambda log n

(Laurent and Massart, "Adaptive estimation of a quadratic functional by model selection", 2000, equation 4.3).

Shapes: n windows of a recording, D joint size.
"""

import numpy as np
import ruptures
import scipy.linalg

# Times the bound: noise of real windows has heavier tails. In recordings of a model's training rows all from 1.25 to
# 2.5 do alike (benchmarks/moments.py --split train). Of 9,290 changes of style in 60 recordings of test rows, 1.5
# loses none and sees 9 that are none, 1.75 loses 1 and sees 3, 2.25 loses 3 and sees none.
_MARGIN = 1.75
_WITHIN = 4.0  # times the median of squared differences: those of one stretch, but for chi-square's tail
_LEAST_VARIANCE = 1e-6  # of a unit vector; half precision keeps no more
_AXES = 32  # along which a long recording's windows differ most: all of them would take seconds
_HALF_WAY = 0.5


def overlap_of(start: np.ndarray, end: np.ndarray) -> float:
    """How many windows hold a moment of sound: length over hop, at least 1; (n,) seconds each, in order of time."""
    if len(start) < 2:
        return 1.0
    hop = float(np.median(np.diff(start)))
    return max(1.0, float(np.median(end - start)) / hop) if hop > 0 else 1.0


def noise_of(vectors: np.ndarray, overlap: float) -> np.ndarray:
    """Variances of the vectors within a stretch, along the axes of that noise.

    Neighbours that share all but 1/overlap of their sound differ by 2 / overlap of its variance. Most lie within a
    stretch, so their median difference is its size; those far above it do not, and are left out of the axes.

    Args:
        vectors: (n, D) in order of time, n at least 2.
        overlap: see `overlap_of`.

    Returns:
        (at most D,) float64, descending, of sum 1e-6 at least.
    """
    differences = np.diff(vectors.astype(np.float64), axis=0)
    sizes = (differences**2).sum(axis=1)
    middle = float(np.median(sizes))
    spread = np.linalg.svd(differences[sizes <= _WITHIN * middle], compute_uv=False) ** 2
    total = max(_LEAST_VARIANCE, middle * overlap / 2)
    return total * spread / spread.sum() if spread.sum() > 0 else np.array([total])


def penalty_of(noise: np.ndarray, overlap: float, count: int) -> float:
    """What a stretch more must save of the squared error.

    Args:
        noise: variances, see `noise_of`.
        overlap: see `overlap_of`; so many windows waver together.
        count: n, at least 1.
    """
    places = np.log(count)
    chance = noise.sum() + 2 * np.sqrt((noise**2).sum() * places) + 2 * noise.max() * places
    return _MARGIN * overlap * float(chance)


def cut_by_sound(vectors: np.ndarray, overlap: float = 1.0) -> np.ndarray:
    """Cuts a recording's windows into stretches of one sound.

    A stretch is longer by a window than what a change may be spread over: that is none of its own.

    Args:
        vectors: (n, D) in order of time, n at least 1.
        overlap: see `overlap_of`.

    Returns:
        (stretches + 1,) int64, the first window of every stretch, and n.

    Example:
        >>> speech = np.repeat([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [3, 4, 2], axis=0)
        >>> cut_by_sound(speech).tolist()
        [0, 3, 7, 9]
    """
    count, shortest = len(vectors), int(np.ceil(overlap)) + 1
    if count < 2 * shortest:
        return np.array([0, count])
    vectors = _along_main_axes(vectors)
    penalty = penalty_of(noise_of(vectors, overlap), overlap, count)
    ends = ruptures.KernelCPD("linear", min_size=shortest).fit(vectors).predict(pen=penalty)
    return np.array([0, *ends])


def _along_main_axes(vectors: np.ndarray) -> np.ndarray:
    """Vectors in as few coordinates as keep them apart, if there are more of them than dimensions."""
    count, size = vectors.shape
    if count <= size or size <= _AXES:
        return vectors
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    axes = scipy.linalg.eigh(centred.T @ centred, subset_by_index=[size - _AXES, size - 1])[1]
    return centred @ axes


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
