import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from raclap.retrieval.metrics import CEILINGS, METRICS, rank_pairs, summarise
from raclap.retrieval.ordinality import rank_order
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance
from raclap.retrieval.reporting import (
    Evaluation,
    compare,
    identity_json,
    intervals_json,
    order_table,
    results_json,
    results_table,
    save_figure,
)
from raclap.retrieval.statistics import bootstrap_interval, paired_difference

N = 60


def make_evaluation(
    model: str, corpus: str, noise: float, everything: bool, labels: dict[str, list[float]] | None = None
) -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    rows = [{"pitch": "high" if row % 2 else "low", "speed": str(row % 5)} for row in range(N)]
    names = [("pitch", "speed") if everything else ("pitch",) for _ in rows]
    audio = torch.randn(N, 16, generator=generator)
    text = audio + noise * torch.randn(N, 16, generator=generator)
    audio, text = F.normalize(audio, dim=1), F.normalize(text, dim=1)
    scores = rank_pairs(audio, text, StyleRelevance.from_rows(rows, names))
    order = None if labels is None else rank_order(audio, text, labels)
    speakers = [f"s{row % 12}" for row in range(N)]
    return Evaluation(model, corpus, scores, speakers, resamples=200, order=order)


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


def test_results_say_what_they_belong_to(evaluations):
    weights = {"base": {"model.safetensors": "1" * 64}, "better": {"model.safetensors": "2" * 64}}
    identity = json.loads(json.dumps(identity_json(evaluations, "test", weights)))
    assert identity == {
        "models": {"base": {"weights": weights["base"]}, "better": {"weights": weights["better"]}},
        "protocol": {"split": "test", "seed": 0, "resamples": 200, "clips": {"tones": N, "bells": N}},
    }
    assert not identity.keys() & intervals_json(evaluations).keys()


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


@pytest.fixture(scope="module")
def ordered() -> list[Evaluation]:
    """Two models on a corpus with valence on all rows but one and arousal on none, and one on a corpus without."""
    generator = torch.Generator().manual_seed(0)
    valence = torch.randn(N, 16, generator=generator)[:, 0].tolist()  # a coordinate of the clips
    labels = {"valence": [float("nan"), *valence[1:]]}
    return [
        make_evaluation("base", "moods", 9, everything=False, labels=labels),
        make_evaluation("better", "moods", 1, everything=False, labels=labels),
        make_evaluation("base", "bells", 3, everything=False),
    ]


def test_order_stands_beside_the_directions(ordered):
    results, detailed = json.loads(json.dumps([results_json(ordered), intervals_json(ordered)]))
    found = results["better"]["moods"]["ordinality"]
    assert set(results["better"]["moods"]) == {*DIRECTIONS, "ordinality"}
    assert found["samples"] == {"tau_valence": {"unlabelled": 1, "rows": N - 1}}
    assert {"modality_gap", "mmd"} < set(found)
    for direction in DIRECTIONS:
        values = ordered[1].order[direction].values("tau_valence")[1:]
        interval = bootstrap_interval(values, ordered[1].clusters[1:], resamples=200)
        entry = detailed["results"]["better"]["moods"]["ordinality"][direction]["tau_valence"]
        assert entry == {"value": interval.value, "low": interval.low, "high": interval.high}
        assert found[direction] == {"tau_valence": pytest.approx(values.mean())}
        assert set(results["better"]["moods"][direction]) == set(METRICS)


def test_where_there_is_no_order_nothing_is_said_of_it(ordered, evaluations):
    assert "ordinality" not in results_json(ordered)["base"]["bells"]
    assert "ordinality" not in intervals_json(ordered)["results"]["base"]["bells"]
    assert order_table(evaluations) is None


def test_the_order_of_two_models_is_compared_on_the_rows_that_have_one(ordered):
    found = [each for each in compare(ordered) if each.metric == "tau_valence"]
    assert [each.direction for each in found] == list(DIRECTIONS)
    ours, theirs = (e.order.text_to_audio.values("tau_valence")[1:] for e in (ordered[1], ordered[0]))
    expected = paired_difference(ours, theirs, ordered[0].clusters[1:], resamples=200)
    assert (found[1].difference, found[1].low, found[1].p) == (expected.value, expected.low, expected.p)
    assert found[1].difference > 0


def test_the_table_of_order_holds_what_was_measured(ordered):
    console = Console(file=io.StringIO(), width=124)
    console.print(order_table(ordered))
    shown = console.file.getvalue()
    interval = ordered[1].order_intervals["audio_to_text"]["tau_valence"]
    assert f"{interval.value:.3f} ±{interval.half_width:.3f}" in shown
    assert f"{ordered[1].order.modality_gap:.3f}" in shown and f"{ordered[1].order.mmd:.3f}" in shown
    assert "bells" not in shown
    assert shown.count("±") == 2 * 2 + 1  # no arousal; the last is that of the caption
