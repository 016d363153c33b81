"""Best of N: what is drawn, and what a choice is worth, with judges whose judgement is known."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from raclap.corpora.synthetic import SPECS, speakers_of
from raclap.errors import RaClapError
from raclap.retrieval.rerank import RankedClip, Ranking
from raclap.study.best_of_n import Setting, chosen, compare_choices, draw_trial, score_takes, speak_trial
from raclap.study.best_of_n_page import render_best_of_n


@pytest.fixture(scope="module")
def trial():
    return draw_trial(Setting(prompts=60))


def test_takes_are_drawn_without_regard_to_the_prompt(trial):
    again, other = draw_trial(Setting(prompts=60)), draw_trial(Setting(prompts=60, seed=1))
    assert again.prompts == trial.prompts and again.takes == trial.takes and other.prompts != trial.prompts
    assert len(trial.takes) == 600 and len({take.pair.pair_id for take in trial.takes}) == 600
    voices = {speaker.name for speaker in speakers_of("craft_like", "test")}
    assert {take.speaker.name for take in trial.takes} == voices
    for row, prompt in enumerate(trial.prompts):
        takes = trial.takes[10 * row : 10 * row + 10]
        assert {take.pair.transcript for take in takes} == {prompt.transcript}
        assert prompt.transcript.removesuffix(".") not in prompt.text
        assert 2 <= len(prompt.asked) <= 4 and set(prompt.asked) - {"sex", "age"}


def test_what_holds_is_what_takes_have(trial):
    names = SPECS["craft_like"].attributes
    for row, prompt in enumerate(trial.prompts):
        for column, take in enumerate(trial.takes[10 * row : 10 * row + 10]):
            held = [take.pair.attributes.get(name) == value for name, value in prompt.asked.items()]
            assert trial.shares[row, column] == pytest.approx(np.mean(held))
            assert trial.complete[row, column] == all(held)
        assert {names[place] for place in np.flatnonzero(~np.isnan(trial.holds[row, 0]))} == set(prompt.asked)


@pytest.mark.parametrize("corpus", ["prompt_like", "textrol_like"])
def test_other_corpora_have_their_own_attributes(corpus):
    trial = draw_trial(Setting(corpus, prompts=5, takes=3, least=1, most=3))
    assert all(set(prompt.asked) <= set(SPECS[corpus].attributes) for prompt in trial.prompts)


def test_a_judge_who_knows_reaches_the_best_and_one_who_does_not_the_expectation(trial):
    scores = {"knows": trial.shares, "deaf": np.zeros_like(trial.shares), "perverse": -trial.shares}
    found = compare_choices(trial, scores, resamples=500)
    models = found["models"]
    for measure in ("complete", "share"):
        assert models["knows"][measure]["value"] == pytest.approx(found["best_possible"][measure]["value"])
        assert models["deaf"][measure]["value"] == pytest.approx(found["random"][measure]["value"])
        assert models["deaf"][f"{measure}_gain"]["value"] == pytest.approx(0)
        assert models["perverse"][measure]["value"] <= found["random"][measure]["value"]
        gain, level = models["knows"][f"{measure}_gain"], found["random"][measure]
        assert gain["value"] == pytest.approx(found["best_possible"][measure]["value"] - level["value"])
        assert gain["low"] > 0 and gain["p"] < 0.05
    assert found["random"]["complete"]["value"] == pytest.approx(100 * trial.complete.mean())
    assert json.loads(json.dumps(found)) == found


def test_random_scores_come_to_the_expectation(trial):
    rng = np.random.default_rng(0)
    drawn = [chosen(trial.shares, rng.random(trial.shares.shape)).mean() for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(trial.shares.mean(), abs=4 * np.std(drawn) / 20)


def test_attributes_are_counted_where_they_are_asked_for(trial):
    found = compare_choices(trial, {"knows": trial.complete}, resamples=10)["attributes"]
    asked = [prompt.asked for prompt in trial.prompts]
    assert {name: about["prompts"] for name, about in found.items()} == {
        name: sum(name in each for each in asked) for name in found
    }
    hits = [
        take.pair.attributes.get("emotion") == asked[place // 10]["emotion"]
        for place, take in enumerate(trial.takes)
        if "emotion" in asked[place // 10]
    ]
    assert found["emotion"]["random"] == pytest.approx(100 * np.mean(hits))


def test_scores_are_put_back_in_the_order_of_takes(trial):
    class Judge:
        """Gives the number of each take as its score, and ranks by it."""

        def rank(self, requests):
            scored = [[(float(clip[-7:-5]), clip) for clip in request.clips] for request in requests]
            return [
                Ranking(request, tuple(RankedClip(1, clip, score) for score, clip in sorted(each, reverse=True)))
                for request, each in zip(requests, scored, strict=True)
            ], {}

    scores = score_takes(Judge(), trial, Path("clips"))
    assert scores.tolist() == [list(range(10))] * 60
    request = trial.requests(Path("clips"))[3]
    assert request.text == trial.prompts[3].text and request.clips[9] == "clips/prompt0003-take09.flac"


def test_clips_are_spoken_once(tmp_path):
    pytest.importorskip("espeakng_loader")
    trial = draw_trial(Setting(prompts=2, takes=2))
    speak_trial(trial, tmp_path / "clips", jobs=1)
    clips = sorted((tmp_path / "clips").glob("*.flac"))
    assert len(clips) == 4 and clips[3].stem == "prompt0001-take01"
    written = [clip.stat().st_mtime_ns for clip in clips]
    clips[0].unlink()
    speak_trial(trial, tmp_path / "clips", jobs=1)
    assert [clip.stat().st_mtime_ns for clip in clips][1:] == written[1:] and clips[0].is_file()
    with pytest.raises(RaClapError, match="holds no clips of these prompts"):
        speak_trial(draw_trial(Setting(prompts=2, takes=2, seed=1)), tmp_path / "clips", jobs=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"corpus": "speech"}, "no synthetic corpus 'speech'; there are prompt_like"),
        ({"takes": 1}, "at least 2 prompts, each spoken at least twice"),
        ({"least": 5}, "names 5 to 4 attributes; expected 1 to 7"),
        ({"corpus": "prompt_like", "most": 5}, "expected 1 to 4"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong, message):
    with pytest.raises(RaClapError, match=message):
        Setting(**wrong)


def test_the_page_has_every_choice(trial):
    found = compare_choices(trial, {"a | b": trial.shares}, resamples=200)
    setting = {"corpus": "craft_like", "prompts": 60, "takes": 10, "least": 2, "most": 4, "seed": 0}
    page = render_best_of_n(
        {
            **found, "setting": setting, "command": "python examples/best_of_n.py", "example": "Someone says so.",
            "versions": {"date": "2026-01-02", "machine": "M", "torch": "2.0"},
        }
    )  # fmt: skip
    assert page.startswith("# Best of 10\n") and "on 2026-01-02 (M, torch 2.0, seed 0)" in page
    best = found["best_possible"]["complete"]["value"]
    assert re.search(rf"\| a \\\| b \| {best:.1f} ±[\d.]+ \| [\d.]+ ±[\d.]+ \| \+[^|]*p = 0.010 \|", page)
    assert re.search(rf"\| best possible \| {best:.1f} ±", page)
    assert f"| emotion | {found['attributes']['emotion']['prompts']} | " in page
