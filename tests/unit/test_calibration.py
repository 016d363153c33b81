"""Calibration: known logistic functions are found again, captions that hold are never counter-examples."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel
from modeling_raclap.calibration_raclap import Calibration
from raclap.retrieval import calibration as fitting
from raclap.retrieval.calibration import (
    CalibrationError,
    CalibrationPairs,
    LabelledCosines,
    draw_others,
    fit_calibration,
    fit_platt,
    goodness_of_fit,
    null_quantiles,
)
from raclap.retrieval.relevance import StyleRelevance

FITTED = Calibration(slope=8.0, intercept=-2.0, quantiles=(-0.2, 0.0, 0.0, 0.3, 0.5), facts={"clips": {"a": 3}})


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def make_pairs(styles: list[str], noise: float = 0.5, seed: int = 0, named: bool = True, **given) -> CalibrationPairs:
    """Pairs whose clips and captions lie near the direction of their style."""
    generator = torch.Generator().manual_seed(seed)
    codes = {style: place for place, style in enumerate(dict.fromkeys(styles))}
    directions = torch.eye(32)[[codes[style] for style in styles]]
    audio, text = (
        F.normalize(directions + noise * torch.randn(len(styles), 32, generator=generator), dim=1) for _ in range(2)
    )
    relevance = StyleRelevance.from_rows(
        [{"style": style} for style in styles], [("style",) if named else None for _ in styles]
    )
    captions = [f"{style}, take {place}" for place, style in enumerate(styles)]
    fields = {"audio": audio, "text": text, "relevance": relevance, "captions": captions, "speakers": [None] * 1000}
    return CalibrationPairs(**{**fields, **given})


def simulated(slope: float, intercept: float, count: int, seed: int = 0) -> LabelledCosines:
    rng = np.random.default_rng(seed)
    cosine = rng.uniform(-0.3, 0.9, count)
    fits = rng.random(count) < sigmoid(slope * cosine + intercept)
    return LabelledCosines(cosine, fits, np.ones(count), np.arange(count) % 50)


@pytest.mark.parametrize(("slope", "intercept"), [(12.0, -4.0), (3.0, 0.5)])
def test_platt_scaling_finds_a_known_logistic_function(slope, intercept):
    samples = simulated(slope, intercept, 40_000)
    found = fit_platt(samples)
    assert found == pytest.approx((slope, intercept), rel=0.05, abs=0.05)
    figures = goodness_of_fit(samples)
    truth = sigmoid(slope * samples.cosine + intercept)
    assert figures["brier"] == pytest.approx(np.mean((truth - samples.fits) ** 2), abs=0.002)
    assert figures["calibration_error"] < 0.015


def test_fit_stays_finite_where_cosines_separate_without_a_mistake():
    fits = np.arange(60) < 20
    samples = LabelledCosines(np.where(fits, 0.5, 0.1), fits, np.where(fits, 1.0, 0.5), np.arange(60))
    slope, intercept = fit_platt(samples)
    assert sigmoid(0.5 * slope + intercept) == pytest.approx(21 / 22, abs=1e-6)
    assert sigmoid(0.1 * slope + intercept) == pytest.approx(1 / 42, abs=1e-6)


def test_figures_of_a_model_that_knows_nothing():
    rng = np.random.default_rng(0)
    samples = LabelledCosines(rng.normal(size=4000), np.arange(4000) % 2 == 0, np.ones(4000), np.arange(4000) // 40)
    figures = goodness_of_fit(samples)
    assert figures["log_loss"] == pytest.approx(np.log(2), abs=0.005)
    assert figures["brier"] == pytest.approx(0.25, abs=0.003)


def test_equal_cosines_give_no_slope():
    samples = LabelledCosines(np.full(40, 0.3), np.arange(40) < 20, np.ones(40), np.arange(40))
    assert fit_platt(samples) == (0.0, 0.0)


def test_quantiles_are_exact():
    assert null_quantiles(np.random.default_rng(0).permutation(101) / 100) == pytest.approx(np.arange(101) / 100)
    assert null_quantiles(np.array([0.0, 1.0])) == pytest.approx(np.arange(101) / 100)


def test_probability_and_percentile_rise_and_keep_shape_and_precision():
    cosine = torch.linspace(-1, 1, 402).reshape(2, 3, 67)
    for values in (FITTED.probability(cosine), FITTED.percentile(cosine)):
        assert values.shape == cosine.shape and values.dtype == torch.float32
        assert (values.flatten().diff() >= 0).all()
    assert FITTED.probability(cosine.double()).dtype == torch.float64
    torch.testing.assert_close(FITTED.probability(cosine), torch.sigmoid(8 * cosine - 2))
    assert FITTED.probability(0.25).item() == 0.5


def test_percentile_is_a_share_of_lower_cosines_with_straight_lines_between_quantiles():
    cosine = torch.tensor([-1.0, -0.2, -0.1, 0.0, 0.15, 0.3, 0.45, 0.5, 0.9], dtype=torch.float64)
    expected = [0, 0, 12.5, 25, 62.5, 75, 93.75, 100, 100]
    assert FITTED.percentile(cosine).tolist() == pytest.approx(expected)
    equal = Calibration(1.0, 0.0, (0.1, 0.1, 0.1)).percentile(torch.tensor([0.0, 0.1, 0.2]))
    assert equal.tolist()[0] == 0 and equal.tolist()[2] == 100


def test_captions_that_hold_are_never_counter_examples():
    styles = [["sad", "angry", "calm"][row % 3] for row in range(60)]
    pairs = make_pairs(styles)
    rows, others = draw_others(pairs, np.arange(60), 20, np.random.default_rng(0))
    assert rows.tolist() == list(range(60)) and others.shape == (60, 20)
    for row, own in zip(rows, others, strict=True):
        assert {styles[other] for other in own} <= set(styles) - {styles[row]}
    shares = np.bincount(others[np.array(styles) == "sad"].ravel(), minlength=60)[np.array(styles) != "sad"]
    assert shares.min() > 0 and shares.max() < 4 * shares.mean()


def test_a_rare_counter_example_is_found_and_its_absence_too():
    pairs = make_pairs(["sad"] * 299 + ["calm"])
    rows, others = draw_others(pairs, np.array([5, 7, 299]), 2, np.random.default_rng(0))
    assert rows.tolist() == [5, 7, 299] and (others[:2] == 299).all() and (others[2] < 299).all()
    rows, others = draw_others(make_pairs(["sad"] * 30), np.arange(30), 2, np.random.default_rng(0))
    assert rows.shape == (0,) and others.shape == (0, 2)


def test_the_same_words_are_no_counter_example():
    pairs = make_pairs(["x"] * 40, named=False, captions=["a low voice", "a high voice"] * 20)
    rows, others = draw_others(pairs, np.arange(40), 8, np.random.default_rng(0))
    assert len(rows) == 40 and (others % 2 != (rows % 2)[:, None]).all()


def test_corpora_and_labels_weigh_the_same_and_a_speaker_stays_together(monkeypatch):
    seen = []
    monkeypatch.setattr(fitting, "fit_platt", lambda samples: seen.append(samples) or fit_platt(samples))
    large = make_pairs(["sad", "calm"] * 100, speakers=[f"s{row % 7}" for row in range(200)])
    small = make_pairs(["sad", "calm"] * 15, seed=1)
    found = fit_calibration({"large": large, "small": small})
    samples = seen[0]
    large_part = samples.group < 7
    assert np.bincount(samples.group)[7:].tolist() == [5] * 30  # a clip by itself where nobody is known
    for part in (large_part, ~large_part):
        assert samples.weight[part].sum() == pytest.approx(1)
        assert samples.weight[part & samples.fits].sum() == pytest.approx(0.5)
    for fold in seen[1:]:
        assert not set(np.setdiff1d(samples.group, fold.group)) & set(fold.group)
    assert len(seen) == 6 and found.facts["clips"] == {"large": 200, "small": 30}


def test_quantiles_take_as_many_of_each_corpus():
    large, small = make_pairs(["sad", "calm"] * 200, noise=0.0), make_pairs(["sad", "calm"] * 10)
    quantiles = fit_calibration({"large": large, "small": small}).quantiles
    assert 0.2 < np.mean(np.array(quantiles) == 1) < 0.3  # half of the large one: a style meets itself


def test_fit_is_repeatable_and_gives_sensible_probabilities():
    pairs = make_pairs([["sad", "angry", "calm", "happy"][row % 4] for row in range(400)])
    found = fit_calibration({"a": pairs}, seed=3)
    assert found == fit_calibration({"a": pairs}, seed=3) != fit_calibration({"a": pairs}, seed=4)
    assert found.quantiles == tuple(sorted(found.quantiles)) and len(found.quantiles) == 101
    own = found.probability((pairs.audio * pairs.text).sum(1)).mean()
    strange = found.probability((pairs.audio * pairs.text.roll(1, 0)).sum(1)).mean()
    assert own > 0.5 > strange
    assert found.facts["brier"] < 0.25 and found.facts["seed"] == 3


def test_a_corpus_of_one_speaker_and_one_of_one_clip_are_no_obstacle():
    found = fit_calibration({
        "alone": make_pairs(["sad", "calm"] * 20, speakers=["s"] * 40),
        "single": make_pairs(["sad"], speakers=["s"]),
    })  # fmt: skip
    assert found.facts["clips"] == {"alone": 40, "single": 0}


def damaged() -> CalibrationPairs:
    pairs = make_pairs(["sad", "calm"] * 20)
    pairs.audio[3] = float("nan")
    return pairs


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (make_pairs(["sad", "calm"] * 9), "18 pairs; a calibration needs at least 20"),
        (make_pairs(["sad"] * 40), "every caption holds for every clip"),
        (
            make_pairs(["x"] * 30, named=False, captions=["the same words"] * 30),
            "every caption holds for every clip",
        ),
        (damaged(), "an embedding is not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_said(pairs, message):
    with pytest.raises(CalibrationError, match=message):
        fit_calibration({"a": pairs})


def test_a_model_that_knows_nothing_or_worse_is_not_calibrated():
    pairs = make_pairs(["sad", "calm"] * 40)
    inverted = CalibrationPairs(-pairs.audio, pairs.text, pairs.relevance, pairs.captions, pairs.speakers)
    with pytest.raises(CalibrationError, match="no higher cosines than others on tones"):
        fit_calibration({"tones": inverted})
    collapsed = CalibrationPairs(pairs.audio[:1].expand(80, -1), pairs.text[:1].expand(80, -1), pairs.relevance,
                                 pairs.captions, pairs.speakers)  # fmt: skip
    with pytest.raises(CalibrationError, match="no higher cosines"):
        fit_calibration({"tones": collapsed})


def test_a_calibration_travels_in_the_configuration(tmp_path):
    config = RaClapConfig(audio_config=EcapaTdnnConfig(channels=16), text_config=tiny_bert_config(), projection_dim=8)
    model = RaClapModel(config)
    assert model.calibration is None
    with pytest.raises(ValueError, match="not calibrated: `raclap calibrate MODEL"):
        model.match_probability(torch.eye(8), torch.eye(8))
    config.save_pretrained(tmp_path / "without")
    assert RaClapConfig.from_pretrained(tmp_path / "without").calibration is None
    config.calibration = FITTED.to_dict()
    config.save_pretrained(tmp_path / "with")
    loaded = RaClapModel(RaClapConfig.from_pretrained(tmp_path / "with"))
    assert loaded.calibration == FITTED
    expected = torch.sigmoid(8 * torch.eye(3, 8) @ torch.eye(8)[:2].T - 2)
    torch.testing.assert_close(loaded.match_probability(torch.eye(8)[:3], torch.eye(8)[:2]), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slope": -1.0}, "slope -1.0 is not positive"),
        ({"slope": "steep"}, "slope is 'steep'; expected a number"),
        ({"intercept": float("nan")}, "intercept is nan; expected a number"),
        ({"quantiles": [0.2, 0.1]}, "quantiles must not fall"),
        ({"quantiles": [0.2]}, "at least two numbers"),
        ({"quantiles": None}, "at least two numbers"),
        ({"bias": 1.0}, "unknown key 'bias'"),
    ],
)
def test_a_wrong_calibration_is_named_when_it_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        RaClapConfig(calibration={**FITTED.to_dict(), **change})
    with pytest.raises(ValueError, match="no 'slope'"):
        Calibration.from_dict({"intercept": 0.0, "quantiles": [0, 1]})
