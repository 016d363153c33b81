"""Whether probabilities are frequencies: of the captions said to fit with 0.7, seven in ten should.

Shapes: n labelled cosines, B bins.
"""

from dataclasses import dataclass

import numpy as np
import torch

from modeling_raclap.calibration_raclap import Calibration
from raclap.retrieval.calibration import LabelledCosines

BINS = 10
_HISTOGRAM = 36


@dataclass(frozen=True)
class Bin:
    """Samples whose probability is alike.

    Attributes:
        probability: mean of what the model said.
        frequency: share of them that fit, at even odds.
        share: of all samples, by weight.
    """

    probability: float
    frequency: float
    share: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """A calibration against what it is about.

    Attributes:
        bins: those of ten equal steps of probability that have samples.
        error: expected calibration error, the mean distance of probability and frequency.
        even: the cosine at which the probability is 0.5.
        edges: (H + 1,) borders of the histograms.
        fits, others: (H,) shares of the captions that fit, and of those that do not, by cosine.
    """

    bins: tuple[Bin, ...]
    error: float
    even: float
    edges: np.ndarray
    fits: np.ndarray
    others: np.ndarray


def reliability(calibration: Calibration, samples: LabelledCosines) -> Reliability:
    """Compares the probabilities of samples with how often their captions fit.

    Args:
        calibration: of the model.
        samples: cosines of captions that fit and that do not, of equal weight.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    probability = calibration.probability(torch.from_numpy(samples.cosine)).numpy()
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    weight, said, found = (
        np.bincount(place, values, BINS)
        for values in (samples.weight, samples.weight * probability, samples.weight * samples.fits)
    )
    total = weight.sum()
    bins = tuple(
        Bin(float(said[b] / weight[b]), float(found[b] / weight[b]), float(weight[b] / total))
        for b in np.flatnonzero(weight)
    )
    edges = np.linspace(samples.cosine.min(), samples.cosine.max(), _HISTOGRAM + 1)
    fits, others = (
        np.histogram(samples.cosine[own], edges, weights=samples.weight[own])[0] / samples.weight[own].sum()
        for own in (samples.fits, ~samples.fits)
    )
    return Reliability(
        bins=bins,
        error=sum(own.share * abs(own.probability - own.frequency) for own in bins),
        even=-calibration.intercept / calibration.slope,
        edges=edges,
        fits=fits,
        others=others,
    )
