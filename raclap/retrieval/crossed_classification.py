"""Classifications by the models of several seeds: intervals and paired differences over seeds and speakers.

Unweighted average recall and macro-F1 are no means over clips, so a resample draws confusion matrices: those of the
drawn speakers are summed for each seed, measured, and the measures averaged over the drawn seeds. Otherwise as the
crossed bootstrap of `raclap.retrieval.statistics` (the pigeonhole bootstrap; Owen, 2007).

Shapes: S seeds, N clips of a protocol, U units (speakers, or clips where speakers are not known), C classes, P
protocols, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raclap.retrieval.classification import MEASURES, class_codes, measures
from raclap.retrieval.statistics import Difference, Interval

_BLOCK = 2**22  # entries of confusion matrices held at a time


@dataclass(frozen=True, eq=False)
class SeededConfusions:
    """How the models of several seeds classified the same clips.

    Attributes:
        counts: (S, U, C, C) int64, clips of class `row` taken for class `column`.
        units: U names of what is drawn together.
    """

    counts: np.ndarray
    units: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        predictions: Sequence[Sequence[str]],
        classes: Sequence[str],
        units: Sequence[Any],
    ) -> "SeededConfusions":
        """Counts what each seed's model said.

        Args:
            labels: N true classes.
            predictions: N predicted classes for each of S seeds.
            classes: all C classes.
            units: what each of the N clips is drawn with: equal ones are drawn together, also those of other
                protocols that are measured at the same time.

        Raises:
            LabelError: a label or prediction is none of the classes.
            ValueError: there is no clip or seed, or numbers of clips differ.
        """
        if not len(labels) or not len(predictions) or {len(labels)} != {len(units), *map(len, predictions)}:
            raise ValueError("a crossed bootstrap needs one label, unit and prediction of each seed a clip")
        places = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
        of_clip = np.array([places[unit] for unit in units])
        truth = class_codes(labels, classes, "label")
        counts = np.zeros((len(predictions), len(places), len(classes), len(classes)), np.int64)
        for confusion, guesses in zip(counts, predictions, strict=True):
            np.add.at(confusion, (of_clip, truth, class_codes(guesses, classes, "prediction")), 1)
        return cls(counts, tuple(places))

    def values(self, measure: str) -> np.ndarray:
        """(S,) one of `MEASURES` of each seed on all clips, in percent."""
        return 100 * measures(self.counts.sum(1))[:, MEASURES.index(measure)]

    def class_f1(self) -> np.ndarray:
        """(C,) F1 of each class, mean over seeds, in percent; NaN for a class that no clip has."""
        confusions = self.counts.sum(1)
        right, true, taken = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(2), confusions.sum(1)
        f1 = np.divide(200 * right, true + taken, out=np.full(true.shape, np.nan), where=true > 0)
        return f1.mean(0)


def crossed_measure(
    parts: Sequence[SeededConfusions], measure: str, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile interval of a measure over seeds and speakers, in percent.

    Args:
        parts: protocols, of the same seeds; the statistic is the mean of their measures. Seeds and units of a resample
            are drawn once for all of them.
        measure: one of `MEASURES`.
        resamples: how many to draw.
        seed: of the draws; equal seeds give equal intervals.
        level: share of resamples between the bounds.

    Raises:
        ValueError: there is no part, or the parts differ in their number of seeds.
    """
    return Interval.of_draws(*_measured([parts], measure, resamples, seed)[0], level)


def crossed_measure_difference(
    a: Sequence[SeededConfusions],
    b: Sequence[SeededConfusions],
    measure: str,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Difference a - b of two models with the same seeds on the same clips, both on the same resamples.

    Args:
        a: protocols of one model, as in `crossed_measure`.
        b: the same protocols of the other.
        measure: as in `crossed_measure`.
        resamples: as in `crossed_measure`.
        seed: as in `crossed_measure`.
        level: as in `crossed_measure`.

    Raises:
        ValueError: as in `crossed_measure`, or seeds, clips or labels are not the same.
    """
    for ours, theirs in zip(a, b, strict=True):
        if ours.units != theirs.units or not np.array_equal(_labels(ours), _labels(theirs)):
            raise ValueError("a paired comparison needs the same clips with the same labels")
    (value, drawn), (other, others) = _measured([a, b], measure, resamples, seed)
    return Difference.of_draws(value - other, drawn - others, level)


def _labels(part: SeededConfusions) -> np.ndarray:
    """(S, U, C) clips of each class."""
    return part.counts.sum(3)


def _measured(
    models: Sequence[Sequence[SeededConfusions]], measure: str, resamples: int, seed: int
) -> list[tuple[float, np.ndarray]]:
    """Of each model the mean measure of its parts, and the same (R,) on resamples that all models share."""
    parts = [part for model in models for part in model]
    if len({len(part.counts) for part in parts}) != 1:
        raise ValueError("a crossed bootstrap needs at least one protocol, and as many seeds on each")
    S, names = len(parts[0].counts), tuple(dict.fromkeys(unit for part in parts for unit in part.units))
    U, which = len(names), MEASURES.index(measure)
    of_seeds, of_units = np.random.default_rng(seed).spawn(2)
    seeds = of_seeds.multinomial(S, np.full(S, 1 / S), size=resamples) / S
    units = of_units.multinomial(U, np.full(U, 1 / U), size=resamples)
    # A protocol that few units have clips of may have none in a resample: such a resample measures nothing.
    holds = np.all([units[:, _places(part, names)].any(1) for part in parts], axis=0)
    seeds, units = seeds[holds], units[holds]
    found = []
    for model in models:
        drawn = [_drawn(part, which, seeds, units[:, _places(part, names)]) for part in model]
        found.append((float(np.mean([part.values(measure) for part in model])), np.mean(drawn, axis=0)))
    return found


def _places(part: SeededConfusions, names: Sequence[Any]) -> list[int]:
    """Where the units of a part stand among the names."""
    places = {name: place for place, name in enumerate(names)}
    return [places[unit] for unit in part.units]


def _drawn(part: SeededConfusions, which: int, seeds: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(R,) mean measure over seeds that count as much as the rows of seeds (R, S) say, units drawn (R, U)."""
    S, U, C, _ = part.counts.shape
    confusions = part.counts.transpose(1, 0, 2, 3).reshape(U, -1)
    step = max(1, _BLOCK // (S * C * C))
    found = []
    for start in range(0, len(units), step):
        summed = (units[start : start + step] @ confusions).reshape(-1, C, C)
        found.append(measures(summed)[:, which].reshape(-1, S))
    return 100 * (np.concatenate(found) * seeds).sum(1)
