"""Reliability: bins and their error, against sums written out, and a model that says what is so."""

import numpy as np
import pytest

from modeling_raclap.calibration_raclap import Calibration
from raclap.report.reliability import reliability
from raclap.retrieval.calibration import LabelledCosines

CALIBRATION = Calibration(slope=6.0, intercept=-1.2, quantiles=tuple(np.linspace(-1, 1, 101)))


def samples(rng, share_of=lambda probability: probability, n=20_000):
    """Cosines whose captions fit as often as a function of the probability says."""
    cosine = rng.uniform(-1, 1, n)
    probability = 1 / (1 + np.exp(-6.0 * cosine + 1.2))
    fits = rng.random(n) < share_of(probability)
    return LabelledCosines(cosine, fits, np.ones(n), np.arange(n)), probability


def test_a_model_that_says_what_is_so_lies_on_the_diagonal():
    found = reliability(CALIBRATION, samples(np.random.default_rng(0))[0])
    assert len(found.bins) == 10
    for own in found.bins:
        assert own.frequency == pytest.approx(own.probability, abs=0.05)
    assert found.error < 0.02
    assert found.even == pytest.approx(0.2)
    assert CALIBRATION.probability(found.even).item() == pytest.approx(0.5)


def test_error_is_the_weighted_distance_of_the_bins():
    rng = np.random.default_rng(1)
    own, probability = samples(rng, lambda probability: 0.5 * probability)
    weighted = LabelledCosines(own.cosine, own.fits, rng.random(len(own.cosine)), own.group)
    expected = 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        w = weighted.weight[inside]
        said, found = (w * probability[inside]).sum() / w.sum(), (w * own.fits[inside]).sum() / w.sum()
        expected += w.sum() / weighted.weight.sum() * abs(said - found)
    assert reliability(CALIBRATION, weighted).error == pytest.approx(expected, abs=1e-6)
    assert expected > 0.1


def test_histograms_hold_every_sample_once():
    found = reliability(CALIBRATION, samples(np.random.default_rng(2))[0])
    assert found.fits.sum() == pytest.approx(1)
    assert found.others.sum() == pytest.approx(1)
    assert sum(own.share for own in found.bins) == pytest.approx(1)
