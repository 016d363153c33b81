"""Verdicts on claims, on made-up values."""

import json

import numpy as np
import pytest

from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.statistics import Interval
from raclap.study.claims import judge, judge_protocols, verdict_on
from raclap.study.classified import ProtocolValues
from raclap.study.plan import Claim
from raclap.study.values import ResultsError, TestValues

SPEAKERS = [f"s{row % 8}" for row in range(48)]


def model(level: float, seed: int, rows: int = 48) -> TestValues:
    """nDCG@10 about a level: what is hard is hard for every model."""
    hard = np.random.default_rng(0).normal(0, 10, rows)
    noise = np.random.default_rng([1, seed]).normal(0, 1, (2, rows))
    columns = {f"{direction} nDCG@10": level + hard + noise[k] for k, direction in enumerate(DIRECTIONS)}
    return TestValues([f"p{row}" for row in range(rows)], SPEAKERS[:rows], columns)


def classifier(right: float, seed: int, rows: int = 96) -> ProtocolValues:
    """Two classes, taken for what they are with a probability."""
    rng = np.random.default_rng([2, seed])
    labels = ["old" if row % 3 else "young" for row in range(rows)]
    wrong = {"old": "young", "young": "old"}
    guesses = [label if rng.random() < right else wrong[label] for label in labels]
    ids, speakers = [f"p{row}" for row in range(rows)], [f"s{row % 8}" for row in range(rows)]
    return ProtocolValues(ids, speakers, labels, guesses, ("young", "old"))


def claim(*corpora: str) -> Claim:
    return Claim(title="t", better="a", worse="b", corpora=corpora, source="s")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "reading"),
    [
        (0.1, 3.0, "seen", "better"),
        (0.1, 0.9, "seen", "better, by less than the margin"),
        (-3.0, -0.5, "not seen", "the opposite: worse"),
        (-3.0, 0.0, "not seen", "the opposite: worse"),
        (-0.9, 1.0, "not seen", "practically equal"),
        (-0.5, -0.1, "not seen", "practically equal"),
        (0.0, 0.0, "not seen", "practically equal"),
        (-0.1, 1.1, "undecided", "the interval holds both zero and differences that count"),
        (-1.1, 0.1, "undecided", "the interval holds both zero and differences that count"),
    ],
)
def test_verdicts_follow_the_interval(low, high, verdict, reading):
    assert verdict_on(Interval((low + high) / 2, low, high), margin=1.0) == (verdict, reading)


def test_a_wider_margin_makes_more_runs_equal():
    assert verdict_on(Interval(0, -1.5, 1.5), margin=1.0)[0] == "undecided"
    assert verdict_on(Interval(0, -1.5, 1.5), margin=2.0)[0] == "not seen"


def test_a_claim_is_pooled_over_corpora_and_directions():
    better = [{"small": model(60, seed), "large": model(53, seed)} for seed in range(3)]
    worse = [{"small": model(50, 10 + seed), "large": model(50, 20 + seed)} for seed in range(3)]
    found = judge(claim("small", "large"), better, worse, margin=1.0, resamples=1000)
    assert json.loads(json.dumps(found)) == found
    assert found["verdict"] == "seen"
    assert found["difference"]["value"] == pytest.approx(6.5, abs=0.3)
    assert [(cell["corpus"], cell["direction"]) for cell in found["cells"]] == [
        (corpus, direction) for corpus in ("small", "large") for direction in DIRECTIONS
    ]
    assert found["difference"]["value"] == pytest.approx(np.mean([c["difference"]["value"] for c in found["cells"]]))
    assert found["difference"]["value"] == pytest.approx(np.mean(found["per_seed"])) and len(found["per_seed"]) == 3
    first = found["cells"][0]
    assert first["better"] - first["worse"] == pytest.approx(first["difference"]["value"])
    assert first["difference"]["low"] < first["difference"]["value"] < first["difference"]["high"]


def test_the_claim_turned_round_is_not_seen():
    high, low = [{"small": model(60, 0)}], [{"small": model(50, 1)}]
    assert judge(claim("small"), high, low, 1.0, 500)["verdict"] == "seen"
    turned = judge(claim("small"), low, high, 1.0, 500)
    assert (turned["verdict"], turned["reading"]) == ("not seen", "the opposite: worse")


def test_seeds_that_disagree_leave_a_claim_undecided():
    better = [{"small": model(50 + shift, seed)} for seed, shift in enumerate((-4, 0, 5))]
    worse = [{"small": model(50, 10 + seed)} for seed in range(3)]
    assert judge(claim("small"), better, worse, 1.0, 2000)["verdict"] == "undecided"


def test_runs_tested_on_other_rows_are_not_compared():
    with pytest.raises(ResultsError, match="other rows"):
        judge(claim("small"), [{"small": model(50, 0)}], [{"small": model(50, 0, rows=40)}], 1.0, 100)


def test_a_claim_on_protocols_is_pooled_over_them():
    stated = Claim(title="t", better="a", worse="b", metric="UAR age sex", source="s")
    better = [{"age": classifier(0.9, seed), "sex": classifier(0.8, 10 + seed)} for seed in range(3)]
    worse = [{"age": classifier(0.6, 20 + seed), "sex": classifier(0.6, 30 + seed)} for seed in range(3)]
    found = judge_protocols(stated, better, worse, margin=1.0, resamples=1000)
    assert json.loads(json.dumps(found)) == found
    assert (found["verdict"], found["reading"]) == ("seen", "better")
    assert [cell["protocol"] for cell in found["cells"]] == ["age", "sex"]
    for cell in found["cells"]:
        assert cell["better"] - cell["worse"] == pytest.approx(cell["difference"]["value"])
    assert found["difference"]["value"] == pytest.approx(np.mean([c["difference"]["value"] for c in found["cells"]]))
    assert found["difference"]["value"] == pytest.approx(np.mean(found["per_seed"])) and len(found["per_seed"]) == 3
    turned = judge_protocols(stated, worse, better, margin=1.0, resamples=1000)
    assert turned["reading"] == "the opposite: worse"


def test_runs_that_classified_other_clips_are_not_compared():
    stated = Claim(title="t", better="a", worse="b", metric="UAR age", source="s")
    with pytest.raises(ResultsError, match="other clips"):
        judge_protocols(stated, [{"age": classifier(1, 0)}], [{"age": classifier(1, 0, rows=60)}], 1.0, 100)
