"""Intervals over seeds and speakers of UAR and macro-F1, against drawing one by one."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from raclap.retrieval.classification import MEASURES, LabelError
from raclap.retrieval.crossed_classification import SeededConfusions, crossed_measure, crossed_measure_difference

CLASSES = ("angry", "happy", "sad")
SPEAKERS = [f"s{row % 6}" for row in range(60)]


def labels(rng: np.random.Generator, rows: int = 60) -> list[str]:
    return [CLASSES[code] for code in rng.choice(3, rows, p=(0.6, 0.3, 0.1))]


def guesses(rng: np.random.Generator, truth: list[str], right: float) -> list[str]:
    return [label if rng.random() < right else CLASSES[rng.integers(3)] for label in truth]


def by_sklearn(measure: str, truth: list[str], guess: list[str]) -> float:
    """In percent, over the classes that occur."""
    if measure == "accuracy":
        return 100 * accuracy_score(truth, guess)
    score = {"UAR": recall_score, "macro_F1": f1_score}[measure]
    return 100 * score(truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0)


def counted(measure: str, truth: np.ndarray, guess: np.ndarray) -> float:
    """The same from codes, counted out."""
    values = []
    for code in set(truth.tolist()):
        right, true, taken = ((truth == code) & (guess == code)).sum(), (truth == code).sum(), (guess == code).sum()
        values.append(right / true if measure == "UAR" else 2 * right / (true + taken))
    return 100 * float(np.mean(values))


def one_by_one(measure: str, protocols, sides, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, sides) mean measure on resamples, clip by clip.

    Args:
        measure: UAR or macro_F1.
        protocols: labels and speakers of each.
        sides: for each model, for each protocol, predictions of each seed.
        draws: how many.
        rng: of the draws.
    """
    code = {name: place for place, name in enumerate(CLASSES)}
    codes = [np.array([code[label] for label in truth]) for truth, _ in protocols]
    said = [[[np.array([code[g] for g in seed]) for seed in seeds] for seeds in side] for side in sides]
    clips = [{name: np.flatnonzero(np.array(own) == name) for name in set(SPEAKERS)} for _, own in protocols]
    found = np.zeros((draws, len(sides)))
    for draw in range(draws):
        S = len(sides[0][0])
        drawn_seeds, drawn = rng.integers(S, size=S), rng.choice(sorted(set(SPEAKERS)), 6)
        rows = [np.concatenate([own[name] for name in drawn]) for own in clips]
        for column, side in enumerate(said):
            values = [
                counted(measure, truth[taken], seeds[seed][taken])
                for truth, taken, seeds in zip(codes, rows, side, strict=True)
                for seed in drawn_seeds
            ]
            found[draw, column] = np.mean(values)
    return found


@pytest.mark.parametrize("measure", MEASURES)
def test_values_are_those_of_scikit_learn(measure):
    rng = np.random.default_rng(0)
    truth = labels(rng)
    seeds = [guesses(rng, truth, right) for right in (0.9, 0.2)]
    found = SeededConfusions.of(truth, seeds, CLASSES, SPEAKERS)
    assert found.counts.shape == (2, 6, 3, 3) and found.counts.sum() == 120
    assert found.values(measure) == pytest.approx([by_sklearn(measure, truth, seed) for seed in seeds])
    f1 = np.mean([f1_score(truth, seed, labels=CLASSES, average=None) for seed in seeds], axis=0)
    assert found.class_f1() == pytest.approx(100 * f1)


@pytest.mark.parametrize("measure", ["UAR", "macro_F1"])
def test_intervals_are_those_of_drawing_one_by_one(measure):
    rng = np.random.default_rng(1)
    # Two protocols on the same speakers, of which the second leaves clips out.
    protocols = [(labels(rng), SPEAKERS), (labels(rng, 40), SPEAKERS[:40])]
    sides = [[[guesses(rng, truth, right + rng.uniform(-0.1, 0.1)) for _ in range(3)] for truth, _ in protocols]
             for right in (0.7, 0.5)]  # fmt: skip
    a, b = (
        [SeededConfusions.of(truth, seeds, CLASSES, own) for (truth, own), seeds in zip(protocols, side, strict=True)]
        for side in sides
    )
    naive = one_by_one(measure, protocols, sides, 3000, np.random.default_rng(2))
    difference = crossed_measure_difference(a, b, measure, resamples=20_000)
    alone = crossed_measure(a, measure, resamples=20_000)
    value = [np.mean([[by_sklearn(measure, truth, seed) for seed in seeds] for (truth, _), seeds in
                      zip(protocols, side, strict=True)]) for side in sides]  # fmt: skip
    assert (alone.value, difference.value) == (pytest.approx(value[0]), pytest.approx(value[0] - value[1]))
    for found, drawn in ((alone, naive[:, 0]), (difference, naive[:, 0] - naive[:, 1])):
        assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.2 * drawn.std())
    gains = naive[:, 0] - naive[:, 1]
    assert difference.p == pytest.approx(2 * min((gains <= 0).mean(), (gains >= 0).mean()), abs=0.05)


def test_a_model_differs_from_itself_by_nothing():
    rng = np.random.default_rng(3)
    truth = labels(rng)
    found = SeededConfusions.of(truth, [guesses(rng, truth, 0.5)], CLASSES, SPEAKERS)
    same = crossed_measure_difference([found], [found], "UAR", resamples=500)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_resample_without_a_clip_of_a_protocol_measures_nothing():
    rng = np.random.default_rng(4)
    truth = labels(rng)
    seeds = [guesses(rng, truth, 0.5)]
    everyone = SeededConfusions.of(truth, seeds, CLASSES, SPEAKERS)
    few = SeededConfusions.of(truth[:1], [seeds[0][:1]], CLASSES, SPEAKERS[:1])  # of one speaker in six
    found = crossed_measure([everyone, few], "UAR", resamples=2000)
    assert np.isfinite([found.low, found.high]).all()


def test_what_does_not_fit_together_is_refused():
    rng = np.random.default_rng(5)
    truth = labels(rng)
    guess = guesses(rng, truth, 0.5)
    found = SeededConfusions.of(truth, [guess], CLASSES, SPEAKERS)
    other = SeededConfusions.of(guess, [guess], CLASSES, SPEAKERS)
    with pytest.raises(ValueError, match="same clips with the same labels"):
        crossed_measure_difference([found], [other], "UAR")
    two = SeededConfusions.of(truth, [guess, guess], CLASSES, SPEAKERS)
    with pytest.raises(ValueError, match="as many seeds"):
        crossed_measure([found, two], "UAR")
    with pytest.raises(ValueError, match="one label, unit and prediction"):
        SeededConfusions.of(truth, [guess[1:]], CLASSES, SPEAKERS)
    with pytest.raises(LabelError, match="prediction 'calm' is none of the classes"):
        SeededConfusions.of(truth, [["calm", *guess[1:]]], CLASSES, SPEAKERS)
