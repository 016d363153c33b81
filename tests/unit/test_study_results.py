"""Test values: kept whole, read back as they were, computed again only where they must be."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from raclap.retrieval.metrics import DirectionScores, RetrievalScores
from raclap.retrieval.reporting import Evaluation
from raclap.study.plan import Job, Plan, read_plan
from raclap.study.results import ResultsError, TestSets, TestValues, stack

JOB = Job("base", 0)


def scores(ranks: list[int]) -> RetrievalScores:
    ranks = np.array(ranks)
    one, other = (DirectionScores(r, r, 1 / r, 1 / r) for r in (ranks, ranks + 1))
    return RetrievalScores(one, other)


def values(ranks: list[int], pair_ids: str = "abc") -> TestValues:
    evaluation = Evaluation("model", "corpus", scores(ranks), ["x", "x", None])
    return TestValues.of(evaluation, list(pair_ids))


@pytest.fixture
def plan(tmp_path) -> Plan:
    (tmp_path / "recipe.yaml").touch()
    for name in ("small", "large"):
        (tmp_path / f"{name}.parquet").write_text(name)
    planned = {
        "output": str(tmp_path / "runs"),
        "seeds": [0],
        "corpora": {name: str(tmp_path / f"{name}.parquet") for name in ("small", "large")},
        "runs": {"base": {"title": "Base", "recipe": "recipe.yaml"}},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(planned, sort_keys=False))
    return read_plan(tmp_path / "plan.yaml")


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What was loaded, read and evaluated, in place of doing it."""
    noted: list[str] = []
    features = SimpleNamespace(to_dict=lambda: {"rate": 16_000})

    def load(folder: Path):
        noted.append("load")
        return SimpleNamespace(to=lambda device: None), SimpleNamespace(feature_extractor=features)

    def read(path: str, split: str, features, keep: bool):
        noted.append(f"read {Path(path).stem} {split}")
        return SimpleNamespace(manifest=SimpleNamespace(column=lambda name: list("abc")))

    def evaluate(model, processor, corpus, model_name: str, corpus_name: str) -> Evaluation:
        noted.append(f"evaluate {corpus_name}")
        return Evaluation(model_name, corpus_name, scores([1, 2, 3]), ["x", "x", None])

    for name, instead in (("load_model_folder", load), ("read_split", read), ("evaluate", evaluate)):
        monkeypatch.setattr(f"raclap.study.results.{name}", instead)
    return noted


def put_weights(plan: Plan, text: str, job: Job = JOB) -> None:
    plan.export(job).mkdir(parents=True, exist_ok=True)
    (plan.export(job) / "model.safetensors").write_text(text)


def test_values_are_read_back_as_they_were(tmp_path):
    written = values([1, 2, 30])
    written.write(tmp_path / "deep" / "small.parquet", "this")
    found = TestValues.read(tmp_path / "deep" / "small.parquet")
    assert (found.pair_ids, found.speakers) == (["a", "b", "c"], ["x", "x", None])
    assert found.columns.keys() == written.columns.keys()
    assert found.values("R@1", "audio_to_text").tolist() == [100, 0, 0]
    assert found.values("median_rank", "text_to_audio").tolist() == [2, 3, 31]
    assert found.values("nDCG@10") == pytest.approx([75, 100 * (1 / 2 + 1 / 3) / 2, 100 * (1 / 30 + 1 / 31) / 2])
    assert found.has("R@10") and not found.has("style_ceiling_R@1")


def test_seeds_are_stacked_only_on_the_same_rows():
    found = stack([values([1, 1, 1]), values([2, 1, 1])], "R@1", "audio_to_text")
    assert found.values.tolist() == [[100, 100, 100], [0, 100, 100]]
    assert found.clusters == ["x", "x", None]
    with pytest.raises(ResultsError, match="tested on other rows"):
        stack([values([1, 1, 1]), values([1, 1, 1], "abd")], "R@1")


def test_a_model_is_tested_once(plan, calls):
    tests = TestSets(plan)
    assert not tests.renew(JOB) and tests.read(JOB) is None
    put_weights(plan, "one")
    assert tests.renew(JOB)
    assert calls == ["load", "read small test", "evaluate small", "read large test", "evaluate large"]
    assert tests.read(JOB)["large"].values("R@1", "audio_to_text").tolist() == [100, 0, 0]
    assert not tests.renew(JOB) and not TestSets(plan).renew(JOB)
    assert len(calls) == 5


def test_another_model_is_tested_again_on_audio_that_is_still_there(plan, calls):
    tests = TestSets(plan)
    put_weights(plan, "one")
    tests.renew(JOB)
    calls.clear()
    put_weights(plan, "two")
    assert tests.renew(JOB)
    assert calls == ["load", "evaluate small", "evaluate large"]


def test_another_manifest_is_tested_again_alone(plan, calls, tmp_path):
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    calls.clear()
    (tmp_path / "large.parquet").write_text("larger")
    assert TestSets(plan).renew(JOB)
    assert calls == ["load", "read large test", "evaluate large"]


def test_values_outlive_the_model(plan, calls):
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    (plan.export(JOB) / "model.safetensors").unlink()
    assert not TestSets(plan).renew(JOB)
    assert set(TestSets(plan).read(JOB)) == {"small", "large"}
    TestSets(plan).path(JOB, "small").unlink()
    assert TestSets(plan).read(JOB) is None
