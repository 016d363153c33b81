"""The page and the pictures, from a made-up record."""

from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from raclap.retrieval.relevance import DIRECTIONS
from raclap.study.figures import save_claims, save_runs
from raclap.study.page import claims_table, render_page

METRICS = ("R@1", "R@5", "R@10", "nDCG@10")


def interval(value: float, **more) -> dict[str, float]:
    return {"value": value, "low": value - 1.5, "high": value + 1.5, **more}


def about(title: str, seeds: tuple[int, ...], missing: tuple[int, ...], **more) -> dict[str, Any]:
    run = {"epochs": 4, "best_epoch": 3, "steps": 128, "seconds": 330.0, "machine": "M", "date": "2026-01-02"}
    return {
        "title": title, "group": "rows", "recipe": "r.yaml", "settings": [], "starts_from": None, "teachers": [],
        "corpora": ["small", "large"], "mixture": "balanced", "select": "nDCG@10", "batch_size": 96,
        "seeds": {str(seed): {**run, "torch": "2.0"} for seed in seeds}, "missing": list(missing), **more,
    }  # fmt: skip


@pytest.fixture
def record() -> dict[str, Any]:
    cells = [
        {"corpus": "small", "direction": d, "better": 52.0, "worse": 50.0, "difference": interval(2.0, p=0.01)}
        for d in DIRECTIONS
    ]
    stated = {"better": "tuned", "worse": "base", "corpora": ["small"], "metric": "nDCG@10", "source": "Table 9"}
    sizes = {split: {"pairs": 1200, "speakers": 8} for split in ("train", "validation", "test")}
    results = {c: {d: {m: interval(50.0) for m in METRICS} for d in DIRECTIONS} for c in ("small", "large")}
    return {
        "title": "A study",
        "about": "What stands for what.",
        "command": "python study.py --plan plan.yaml",
        "seeds": [0, 1],
        "margin": 1.0,
        "resamples": 10_000,
        "versions": {"date": "2026-01-03", "machine": "N", "torch": "2.1"},
        "corpora": {
            "small": {"splits": sizes, "style_ceiling": {"style_ceiling_R@1": 7.5, "style_ceiling_R@10": 75.0}},
            "large": {"splits": sizes, "style_ceiling": {}},
        },
        "groups": {"rows": "The rows", "more": "More rows"},
        "runs": {
            "base": about("Base | plain", (0, 1), ()),
            "tuned": about("Base → tuned", (0,), (1,), starts_from="base@next", mixture={"small": 2, "large": 1}),
            "never": about("Never", (), (0, 1), group="more"),
        },
        "results": {"base": results, "tuned": results},
        "ordinality": {},
        "protocols": {},
        "classified": {},
        "claims": [
            {
                **stated, "title": "Tuning helps", "seeds": [0], "verdict": "seen", "reading": "better",
                "difference": interval(2.0, p=0.0002), "per_seed": [2.0], "cells": cells,
            },
            {
                **stated, "title": "Tuning hurts a great deal more than anybody would have thought it could",
                "seeds": [0], "verdict": "undecided", "reading": "open",
                "difference": interval(-0.04, p=0.25), "per_seed": [-0.04], "cells": cells,
            },
            {**stated, "title": "Never helps", "better": "never", "seeds": [], "verdict": "not run"},
        ],
        "paper": {
            "source": "A paper, Table 9", "corpora": {"small": "SmallSpeech"},
            "recalls": {"tuned": {"small": [1.0, 2.0, 3.0, 4.0, 5.5, 6.0]}},
        },
    }  # fmt: skip


def test_the_page_says_what_was_found_and_what_was_not_run(record):
    page = render_page(record, "s_claims.png", "s_runs.png", "\n## Why\n\nBecause.\n\n")
    assert page.startswith("# A study\n\nWhat stands for what.\n\n")
    assert "`python study.py --plan plan.yaml`" in page and "3 of 6 training runs are done" in page
    assert "![Differences that the claims speak of, with intervals](s_claims.png)" in page and "(s_runs.png)" in page
    assert "\n\n## Why\n\nBecause.\n\n## The rows\n" in page
    assert "## More rows\n\nNone of these runs is done yet." in page
    assert "- Base → tuned: seed 1\n- Never: seed 0, 1\n" in page
    assert "3 runs, 16 min of training, 2026-01-02: M, torch 2.0." in page
    assert "With 2 seeds" in page and "8 (small), 8 (large)" in page


def test_claims_have_their_verdict_difference_and_cells(record):
    page = render_page(record, "c.png", "r.png")
    assert "| Tuning helps | **seen** | +2.0 [+0.5, +3.5] nDCG@10 | small | 1 | Table 9 |" in page
    assert "| Never helps | **not run** |  | small | 0 | Table 9 |" in page
    assert "**Seen** (better): +2.0 [+0.5, +3.5], p < 0.001. Each seed alone: +2.0 (seed 0)." in page
    assert "**Undecided** (open): 0.0 [−1.5, +1.5], p = 0.250." in page
    assert "| small | text → audio | 52.0 | 50.0 | +2.0 [+0.5, +3.5] |" in page
    assert "### Never helps" not in page
    assert "A verdict from one seed is about these very models" in page
    assert claims_table(record) in page


def test_the_figures_of_the_paper_stand_beside_ours_as_its_own(record):
    page = render_page(record, "c.png", "r.png")
    small = page.split("### Recall on small")[1].split("###")[0]
    assert "| *paper: SmallSpeech* |" in small and "In italics, not ours: A paper, Table 9, on SmallSpeech" in small
    ours = " | ".join(["50.0 ±1.5"] * 6)
    assert f"| Base → tuned | {ours} | *1.0 / 2.0 / 3.0, 4.0 / 5.5 / 6.0* |" in small
    assert f"| Base \\| plain | {ours} |  |" in small
    assert "| *style ceiling* | 7.5 |  | 75.0 | 7.5 |  | 75.0 |  |" in small
    large = page.split("### Recall on large")[1].split("###")[0]
    assert "paper" not in large and "ceiling" not in large


def test_runs_are_described(record):
    page = render_page(record, "c.png", "r.png")
    assert "| Base \\| plain | small, large | 1:1 |  | 128 | 96 | 3 of 4, 3 of 4 | 11 min |" in page
    assert "| Base → tuned | small, large | 2:1 | Base \\| plain | 128 | 96 | 3 of 4 | 6 min |" in page
    assert "| Never | small, large | 1:1 |  |  | 96 |  | not run |" in page
    assert "| small | 1,200 | 8 | 1,200 | 8 | 1,200 | 8 |" in page
    record["runs"]["base"] |= {"corpora": ["small"]}
    record["runs"]["tuned"] |= {"mixture": "natural"}
    record["runs"]["tuned"]["seeds"]["0"]["seconds"] = 12.3
    page = render_page(record, "c.png", "r.png")
    assert "| Base \\| plain | small |  |  | 128 |" in page
    assert "| Base → tuned | small, large | by size | Base \\| plain | 128 | 96 | 3 of 4 | 12 s |" in page


@pytest.fixture
def richer(record) -> dict[str, Any]:
    """With the order of emotions, a protocol, a claim on each, and a run that is not tested on everything."""
    record["results"]["tuned"] = {"small": record["results"]["tuned"]["small"]}
    order = {d: {tau: interval(12.0) for tau in ("tau_valence", "tau_arousal", "tau")} for d in DIRECTIONS}
    gaps = {"modality_gap": [0.5, 0.7], "mmd": [0.25]}
    record["ordinality"] = {"base": {"large": {**order, **gaps}}}
    record["protocols"] = {
        "age": {"corpus": "small", "file": "age.yaml", "about": "", "classes": ["young", "old"], "clips": 1200,
                "left_out": 3},
        "sex": {"corpus": "small", "file": "sex.yaml", "about": "", "classes": ["f", "m"], "clips": None,
                "left_out": None},
    }  # fmt: skip
    measures = {name: interval(40.0) for name in ("accuracy", "UAR", "macro_F1")}
    record["classified"] = {"base": {"age": {**measures, "class_f1": {"young": 33.25, "old": None}}}}
    cell = {"protocol": "age", "better": 52.0, "worse": 50.0, "difference": interval(2.0, p=0.01)}
    first = record["claims"][0]
    record["claims"] += [
        {**first, "title": "Ages", "metric": "UAR age", "cells": [cell]},
        {**first, "title": "Order", "metric": "tau"},
    ]
    return record


def test_order_and_protocols_have_their_tables(richer):
    page = render_page(richer, "c.png", "r.png")
    order = page.split("### Order of valence and arousal on large")[1].split("###")[0]
    assert (
        "| Base \\| plain | 12.0 ±1.5 | 12.0 ±1.5 | 12.0 ±1.5 | 12.0 ±1.5 | 0.600 (0.500 to 0.700) | 0.250 |" in order
    )
    assert "valence and arousal on small" not in page
    age = page.split("### Zero-shot classification: age")[1].split("###")[0]
    assert "1,200 test clips of small, 2 classes; chance has a UAR of 50.0." in age
    assert "| run | accuracy | UAR | macro_F1 | F1 young | F1 old |" in age
    assert "| Base \\| plain | 40.0 ±1.5 | 40.0 ±1.5 | 40.0 ±1.5 | 33.2 |  |" in age
    assert "classification: sex" not in page
    assert "| age | small | young, old | 1,200 | 3 | `age.yaml` |" in page and "| sex | small | f, m |  |  |" in page


def test_claims_on_order_and_protocols_are_told_apart(richer):
    page = render_page(richer, "c.png", "r.png")
    assert "| Ages | **seen** | +2.0 [+0.5, +3.5] UAR age | small | 1 | Table 9 |" in page
    detail = page.split("### Ages")[1].split("###")[0]
    assert "| protocol | Base → tuned | Base \\| plain | difference |" in detail
    assert "| age | 52.0 | 50.0 | +2.0 [+0.5, +3.5] |" in detail
    assert "Points of τ are hundredths" in page and "averaged over the protocols named" in page
    assert "summed over the drawn speakers" in page


def test_a_run_is_only_in_the_tables_of_what_it_is_tested_on(richer):
    page = render_page(richer, "c.png", "r.png")
    large = page.split("### Recall on large")[1].split("###")[0]
    assert "Base \\| plain" in large and "Base → tuned" not in large
    gains = page.split("### nDCG@10")[1].split("###")[0]
    assert "| Base → tuned | 1 | 50.0 ±1.5 | 50.0 ±1.5 |  |  |" in gains


@pytest.mark.parametrize("draw", [save_claims, save_runs])
def test_pictures_have_room_for_protocols_and_gaps(richer, tmp_path, draw):
    draw(richer, tmp_path / "picture.png")
    assert imread(tmp_path / "picture.png").shape[1] > 1000


def test_one_seed_alone_is_said_to_say_little(record):
    for run in record["runs"].values():
        run["seeds"] = {"0": run["seeds"]["0"]} if run["seeds"] else {}
    assert "With one seed the intervals speak of speakers alone" in render_page(record, "c.png", "r.png")


def test_a_study_that_has_just_begun_has_a_page(record):
    for run in record["runs"].values():
        run["missing"], run["seeds"] = [0, 1], {}
    record |= {"results": {}, "claims": [record["claims"][2]], "paper": None, "about": ""}
    page = render_page(record, "c.png", "r.png")
    assert "0 of 6 training runs are done" in page and ".png" not in page and "in detail" not in page


@pytest.mark.parametrize("draw", [save_claims, save_runs])
def test_pictures_are_png_with_something_on_them(record, tmp_path, draw):
    draw(record, tmp_path / "picture.png")
    picture = imread(tmp_path / "picture.png")
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
