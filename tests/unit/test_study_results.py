"""Test values: kept whole, read back as they were, computed again only where they must be."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from raclap.retrieval.metrics import DirectionScores, RetrievalScores
from raclap.retrieval.ordinality import DirectionOrder
from raclap.retrieval.zero_shot import ClassifiedClips
from raclap.study.classified import ProtocolValues, confusions_of
from raclap.study.plan import Job, Plan, read_plan
from raclap.study.results import TestSets
from raclap.study.values import ResultsError, TestValues, stack

JOB = Job("base", 0)


def scores(ranks: list[int]) -> RetrievalScores:
    ranks = np.array(ranks)
    one, other = (DirectionScores(r, r, 1 / r, 1 / r) for r in (ranks, ranks + 1))
    return RetrievalScores(one, other)


def values(ranks: list[int], pair_ids: str = "abc") -> TestValues:
    return TestValues.of(scores(ranks), list(pair_ids), ["x", "x", None])


class Order(dict):
    """Scores by direction, and the distances beside them."""

    modality_gap, mmd = 0.8, 0.1


def order(valence: list[float], arousal: list[float]) -> Order:
    taus = {"tau_valence": np.array(valence), "tau_arousal": np.array(arousal)}
    turned = {name: values / 2 for name, values in taus.items()}
    return Order(audio_to_text=DirectionOrder(taus), text_to_audio=DirectionOrder(turned))


def classified(predictions: str, labels: str = "uvu", pair_ids: str = "abc") -> ProtocolValues:
    clips = ClassifiedClips(tuple(range(3)), tuple(labels), tuple(predictions), ("x", "y", None), {"no 'age'": 2})
    return ProtocolValues.of(clips, list(pair_ids), ("u", "v"))


@pytest.fixture
def make_plan(tmp_path):
    """Writes a plan of one run and two corpora, with further keys."""
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "age.yaml").write_text("{column: age, classes: {u: [young], v: [old]}}")
    for name in ("small", "large"):
        (tmp_path / f"{name}.parquet").write_text(name)

    def make(run: dict | None = None, **more) -> Plan:
        planned = {
            "output": str(tmp_path / "runs"),
            "seeds": [0],
            "corpora": {name: str(tmp_path / f"{name}.parquet") for name in ("small", "large")},
            "runs": {"base": {"title": "Base", "recipe": "recipe.yaml", **(run or {})}},
            **more,
        }
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(planned, sort_keys=False))
        return read_plan(tmp_path / "plan.yaml")

    return make


@pytest.fixture
def plan(make_plan) -> Plan:
    return make_plan()


COLUMNS = {"pair_id": list("abc"), "speaker": ["x", "x", None]}


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What was loaded, read and measured, in place of doing it."""
    noted: list[str] = []
    features = SimpleNamespace(to_dict=lambda: {"rate": 16_000})

    def load(folder: Path):
        noted.append("load")
        return SimpleNamespace(to=lambda device: None), SimpleNamespace(feature_extractor=features)

    def read(path: str, split: str, features, keep: bool):
        noted.append(f"read {Path(path).stem} {split}")
        return SimpleNamespace(manifest=SimpleNamespace(column=COLUMNS.get, path=Path(path)))

    def embed(model, processor, corpus):
        noted.append(f"embed {corpus.manifest.path.stem}")
        return SimpleNamespace(audio="clips", text="captions")

    def rank_order(audio, text, labels):
        noted.append(f"order {sorted(labels)}")
        return order([0.5, np.nan, 0.1], [0.2, np.nan, 0.4])

    def classify(model, processor, corpus, protocol, audio_embeds):
        noted.append(f"classify {corpus.manifest.path.stem} {protocol.column} {audio_embeds}")
        return ClassifiedClips((0, 2), ("u", "v"), ("u", "u"), ("x", None), {"no 'age'": 1})

    for name, instead in {
        "load_model_folder": load, "read_split": read, "embed_pairs": embed, "rank_order": rank_order,
        "classify_manifest": classify, "rank_pairs": lambda audio, text, relevance: scores([1, 2, 3]),
        "order_labels": lambda manifest: {"valence": [], "arousal": []},
        "StyleRelevance": SimpleNamespace(from_manifest=lambda manifest: None),
    }.items():  # fmt: skip
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
    assert found.columns.keys() == written.columns.keys() and found.measures == {}
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
    assert calls == ["load", "read small test", "embed small", "read large test", "embed large"]
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
    assert calls == ["load", "embed small", "embed large"]


def test_another_manifest_is_tested_again_alone(plan, calls, tmp_path):
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    calls.clear()
    (tmp_path / "large.parquet").write_text("larger")
    assert TestSets(plan).renew(JOB)
    assert calls == ["load", "read large test", "embed large"]


def test_values_outlive_the_model(plan, calls):
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    (plan.export(JOB) / "model.safetensors").unlink()
    assert not TestSets(plan).renew(JOB)
    assert set(TestSets(plan).read(JOB)) == {"small", "large"}
    TestSets(plan).path(JOB, "small").unlink()
    assert TestSets(plan).read(JOB) is None


def test_order_is_in_hundredths_and_rows_without_a_value_do_not_count(tmp_path):
    measured = order([0.5, np.nan, 0.1], [0.2, np.nan, 0.4])
    TestValues.of(scores([1, 2, 3]), list("abc"), ["x", "y", None], measured).write(tmp_path / "v.parquet", "this")
    found = TestValues.read(tmp_path / "v.parquet")
    assert found.measures == {"modality_gap": 0.8, "mmd": 0.1}
    assert found.values("tau_valence", "audio_to_text")[[0, 2]] == pytest.approx([50, 10])
    assert found.values("tau", "text_to_audio")[[0, 2]] == pytest.approx([17.5, 12.5])
    stacked = stack([found, found], "tau")
    assert stacked.values == pytest.approx(np.array([[26.25, 18.75]] * 2)) and stacked.clusters == ["x", None]
    assert stack([found], "R@1").values.shape == (1, 3)


def test_what_was_said_of_clips_is_read_back_as_it_was(tmp_path):
    classified("uvv").write(tmp_path / "age.parquet", "this")
    found = ProtocolValues.read(tmp_path / "age.parquet")
    assert vars(found) == vars(classified("uvv")) and found.left_out == 2
    assert found.units == [("speaker", "x"), ("speaker", "y"), ("clip", "c")]
    counts = confusions_of([found, classified("uuu")]).counts
    assert counts.sum(1).tolist() == [[[1, 1], [0, 1]], [[2, 0], [1, 0]]]
    for other in (classified("uvv", pair_ids="abd"), classified("uvv", labels="vvu")):
        with pytest.raises(ResultsError, match="classified other clips"):
            confusions_of([found, other])


def test_a_run_is_tested_on_the_corpora_that_it_names(make_plan, calls):
    plan = make_plan({"tests": ["large"]}, protocols={"age": {"corpus": "small", "file": "age.yaml"}})
    put_weights(plan, "one")
    assert TestSets(plan).renew(JOB)
    assert calls == ["load", "read large test", "embed large"]
    assert set(TestSets(plan).read(JOB)) == {"large"} and TestSets(plan).read_protocols(JOB) == {}


def test_clips_are_embedded_once_for_retrieval_order_and_protocols(make_plan, calls):
    protocols = {"age": {"corpus": "small", "file": "age.yaml"}}
    plan = make_plan({"tests": ["small"]}, protocols=protocols, ordinality=["small"])
    put_weights(plan, "one")
    tests = TestSets(plan)
    assert tests.renew(JOB)
    expected = ["load", "read small test", "embed small", "order ['arousal', 'valence']", "classify small age clips"]
    assert calls == expected
    assert tests.read(JOB)["small"].has("tau_valence")
    found = tests.read_protocols(JOB)["age"]
    assert (found.pair_ids, found.labels, found.predictions) == (["a", "c"], ["u", "v"], ["u", "u"])
    assert not TestSets(plan).renew(JOB) and len(calls) == len(expected)


def test_another_protocol_or_a_wish_for_order_tests_again_what_it_is_about(make_plan, calls, tmp_path):
    protocols = {"age": {"corpus": "small", "file": "age.yaml"}}
    plan = make_plan(protocols=protocols)
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    calls.clear()
    (tmp_path / "age.yaml").write_text("{column: age, classes: {u: [a young one], v: [old]}}")
    assert TestSets(plan).renew(JOB)
    assert calls == ["load", "read small test", "embed small", "classify small age clips"]
    calls.clear()
    assert TestSets(make_plan(protocols=protocols, ordinality=["large"])).renew(JOB)
    assert calls == ["load", "read large test", "embed large", "order ['arousal', 'valence']"]


def test_values_without_order_are_not_enough_where_the_plan_asks_for_it(make_plan, calls):
    plan = make_plan()
    put_weights(plan, "one")
    TestSets(plan).renew(JOB)
    (plan.export(JOB) / "model.safetensors").unlink()
    assert TestSets(plan).read(JOB) is not None
    assert TestSets(make_plan(ordinality=["small"])).read(JOB) is None


def test_order_needs_valence_and_arousal(make_plan, calls, monkeypatch):
    monkeypatch.setattr("raclap.study.results.order_labels", lambda manifest: {"valence": [1, 2, 3]})
    plan = make_plan(ordinality=["small"])
    put_weights(plan, "one")
    with pytest.raises(ResultsError, match=r"small\.parquet: no test row has a value in the column 'arousal'"):
        TestSets(plan).renew(JOB)
