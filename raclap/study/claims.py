"""The verdict on a claim: whether one run is better than another, as far as seeds and speakers tell.

Shapes: S seeds, N queries of a test set.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from raclap.retrieval.crossed_classification import SeededConfusions, crossed_measure_difference
from raclap.retrieval.relevance import DIRECTIONS, Direction
from raclap.retrieval.statistics import Interval, SeededValues, crossed_difference
from raclap.study.classified import ProtocolValues, confusions_of
from raclap.study.plan import Claim
from raclap.study.values import TestValues, stack

Verdict = Literal["seen", "not seen", "undecided"]
NOT_RUN = "not run"

Model = dict[str, TestValues]
Classifier = dict[str, ProtocolValues]


def verdict_on(difference: Interval, margin: float) -> tuple[Verdict, str]:
    """What an interval of better minus worse says of the claim, in a word and more closely.

    Args:
        difference: in points.
        margin: two runs are practically equal when the whole interval is within ± this many points.

    Example:
        >>> verdict_on(Interval(3.0, 1.2, 4.8), margin=1.0)
        ('seen', 'better')
        >>> verdict_on(Interval(0.1, -0.5, 0.7), margin=1.0)
        ('not seen', 'practically equal')
        >>> verdict_on(Interval(0.4, -0.5, 1.3), margin=1.0)
        ('undecided', 'the interval holds both zero and differences that count')
    """
    within = -margin <= difference.low and difference.high <= margin
    if difference.low > 0:
        return "seen", "better, by less than the margin" if within else "better"
    if within:
        return "not seen", "practically equal"
    if difference.high <= 0:
        return "not seen", "the opposite: worse"
    return "undecided", "the interval holds both zero and differences that count"


def judge(
    claim: Claim,
    better: Sequence[Model],
    worse: Sequence[Model],
    margin: float,
    resamples: int,
) -> dict[str, Any]:
    """Compares two runs as a claim on corpora says.

    Args:
        claim: which corpora and metric count; the pooled difference is the mean over corpora and both directions.
        better: values by corpus of the run that is claimed to be better, one entry a seed.
        worse: the same seeds of the other.
        margin: see `verdict_on`.
        resamples: of the bootstrap over seeds and speakers.

    Returns:
        `verdict`, `reading`, `difference` (value, low, high, p), `per_seed`: the pooled difference of each seed, and
        `cells`: for each corpus and direction its difference.
    """
    ours, theirs = zip(*(_values(claim, better, worse, corpus) for corpus in claim.corpora), strict=True)
    pooled = crossed_difference(ours, theirs, resamples)
    verdict, reading = verdict_on(pooled, margin)
    differences = [a.minus(b).values.mean(1) for a, b in zip(ours, theirs, strict=True)]
    return {
        "verdict": verdict,
        "reading": reading,
        "difference": asdict(pooled),
        "per_seed": [float(sum(seed) / len(seed)) for seed in zip(*differences, strict=True)],
        "cells": _cells(claim, better, worse, resamples),
    }


def judge_protocols(
    claim: Claim, better: Sequence[Classifier], worse: Sequence[Classifier], margin: float, resamples: int
) -> dict[str, Any]:
    """Compares two runs as a claim on protocols says.

    Args:
        claim: which protocols and measure count; the pooled difference is the mean over protocols.
        better: what the run that is claimed to be better says by each protocol, one entry a seed.
        worse: the same seeds of the other.
        margin: see `verdict_on`.
        resamples: of the bootstrap over seeds and speakers, which are drawn once for all protocols.

    Returns:
        As `judge`; `cells`: for each protocol its difference.
    """
    pairs = {name: _confusions(name, better, worse) for name in claim.protocols}
    ours, theirs = zip(*pairs.values(), strict=True)
    pooled = crossed_measure_difference(ours, theirs, claim.measure, resamples)
    verdict, reading = verdict_on(pooled, margin)
    differences = [a.values(claim.measure) - b.values(claim.measure) for a, b in pairs.values()]
    cells = []
    for name, (a, b) in pairs.items():
        levels = {side: float(part.values(claim.measure).mean()) for side, part in (("better", a), ("worse", b))}
        difference = crossed_measure_difference([a], [b], claim.measure, resamples)
        cells.append({"protocol": name, **levels, "difference": asdict(difference)})
    return {
        "verdict": verdict,
        "reading": reading,
        "difference": asdict(pooled),
        "per_seed": np.mean(differences, axis=0).tolist(),
        "cells": cells,
    }


def _confusions(
    name: str, better: Sequence[Classifier], worse: Sequence[Classifier]
) -> tuple[SeededConfusions, SeededConfusions]:
    """Of each side; counted together, so that clips and labels are known to be the same."""
    both = confusions_of([model[name] for model in (*better, *worse)])
    S = len(better)
    return SeededConfusions(both.counts[:S], both.units), SeededConfusions(both.counts[S:], both.units)


def _cells(claim: Claim, better: Sequence[Model], worse: Sequence[Model], resamples: int) -> list[dict[str, Any]]:
    cells = []
    for corpus in claim.corpora:
        for direction in DIRECTIONS:
            ours, theirs = _values(claim, better, worse, corpus, direction)
            difference = crossed_difference([ours], [theirs], resamples)
            levels = {"better": float(ours.values.mean()), "worse": float(theirs.values.mean())}
            cells.append({"corpus": corpus, "direction": direction, **levels, "difference": asdict(difference)})
    return cells


def _values(
    claim: Claim, better: Sequence[Model], worse: Sequence[Model], corpus: str, direction: Direction | None = None
) -> tuple[SeededValues, SeededValues]:
    """(S, N) of each side; stacked together, so that rows are known to be the same."""
    both = stack([model[corpus] for model in (*better, *worse)], claim.metric, direction)
    S = len(better)
    return SeededValues(both.values[:S], both.clusters), SeededValues(both.values[S:], both.clusters)
