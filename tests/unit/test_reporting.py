import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from raclap.retrieval.metrics import CEILINGS, METRICS, rank_pairs, summarise
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance
from raclap.retrieval.reporting import (
    Evaluation,
    compare,
    intervals_json,
    results_json,
    results_table,
    save_figure,
)

N = 60


def make_evaluation(model: str, corpus: str, noise: float, everything: bool) -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    rows = [{"pitch": "high" if row % 2 else "low", "speed": str(row % 5)} for row in range(N)]
    names = [("pitch", "speed") if everything else ("pitch",) for _ in rows]
    audio = torch.randn(N, 16, generator=generator)
    text = audio + noise * torch.randn(N, 16, generator=generator)
    scores = rank_pairs(F.normalize(audio, dim=1), F.normalize(text, dim=1), StyleRelevance.from_rows(rows, names))
    return Evaluation(model, corpus, scores, [f"s{row % 12}" for row in range(N)], resamples=200)


@pytest.fixture(scope="module")
def evaluations() -> list[Evaluation]:
    return [
        make_evaluation("base", "tones", 3, everything=True),
        make_evaluation("better", "tones", 1, everything=True),
        make_evaluation("base", "bells", 3, everything=False),
        make_evaluation("better", "bells", 1, everything=False),
    ]


def test_results_have_the_contracted_form(evaluations):
    results = json.loads(json.dumps(results_json(evaluations)))
    assert list(results) == ["base", "better"]
    assert set(results["base"]) == {"tones", "bells"}
    assert results["better"]["bells"] == summarise(evaluations[3].scores)
    assert set(results["base"]["bells"]["audio_to_text"]) == set(METRICS)
    assert set(results["base"]["tones"]["audio_to_text"]) == {*METRICS, *CEILINGS}


def test_intervals_hold_the_same_values(evaluations):
    results, detailed = results_json(evaluations), json.loads(json.dumps(intervals_json(evaluations)))
    for evaluation in evaluations:
        for direction in DIRECTIONS:
            plain = results[evaluation.model][evaluation.corpus][direction]
            found = detailed["results"][evaluation.model][evaluation.corpus][direction]
            assert {metric: entry["value"] for metric, entry in found.items()} == pytest.approx(plain)
            assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in found.values())
    ceiling = detailed["results"]["base"]["tones"]["audio_to_text"]["style_ceiling_R@1"]
    assert ceiling["low"] == ceiling["high"]


def test_each_model_is_compared_with_the_first_of_its_corpus(evaluations):
    found = compare(evaluations)
    assert len(found) == 2 * 2 * len(METRICS)
    assert {(each.model, each.baseline) for each in found} == {("better", "base")}
    recall = next(each for each in found if each.metric == "R@1" and each.corpus == "tones")
    ours, theirs = (e.scores.audio_to_text.values("R@1").mean() for e in (evaluations[1], evaluations[0]))
    assert recall.difference == pytest.approx(ours - theirs)
    assert 0 < recall.low < recall.difference < recall.high
    assert recall.p < 0.05
    assert len(intervals_json(evaluations)["comparisons"]) == len(found)


def test_one_model_alone_has_no_comparison(evaluations):
    assert compare(evaluations[::2]) == []


def read(evaluations: list[Evaluation]) -> str:
    console = Console(file=io.StringIO(), width=240)
    console.print(results_table(evaluations))
    return console.file.getvalue()


def test_the_table_holds_every_model_and_its_interval(evaluations):
    shown = read(evaluations)
    interval = evaluations[0].intervals["audio_to_text"]["R@10"]
    assert f"{interval.value:.1f} ±{interval.half_width:.1f}" in shown
    assert shown.count("audio → text") == 2
    assert shown.count("better") == 4
    assert shown.count("style ceiling") == 2
    assert "style ceiling" not in read(evaluations[2:])


@pytest.mark.parametrize("chosen", [slice(0, 1), slice(0, 4)])
def test_the_figure_is_a_png_with_something_on_it(evaluations, tmp_path, chosen):
    from matplotlib.image import imread

    save_figure(evaluations[chosen], tmp_path / "results.png")
    picture = imread(tmp_path / "results.png")
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["results.png"]
