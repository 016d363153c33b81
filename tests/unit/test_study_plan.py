"""Plans: what is read, what is refused, and the order in which things are run."""

from pathlib import Path

import pytest
import yaml

from raclap.errors import RecipeError
from raclap.study.plan import Job, Plan, PlanError, read_plan

CLAIM = {"title": "better", "better": "ps", "worse": "base", "corpora": ["small"], "source": "us"}
TWO = {"small": "small.parquet", "large": "large.parquet"}
PAPER = {"source": "them", "corpora": {"small": "Small"}}


def write_plan(folder: Path, **changes) -> Path:
    (folder / "base.yaml").touch()
    (folder / "age.yaml").write_text("{column: age, classes: {young: [young], old: [old]}}")
    (folder / "trained.yaml").write_text("{split: train, column: age, classes: {young: [young], old: [old]}}")
    values = {
        "output": str(folder / "runs"),
        "seeds": [0, 1],
        "corpora": {"small": "${RACLAP_CACHE}/small.parquet"},
        "runs": {"base": {"title": "Base", "recipe": "base.yaml"}, "ps": {"title": "PS", "recipe": "base.yaml"}},
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def runs(**more) -> dict[str, dict]:
    """Runs by name with their keys beside title and recipe."""
    return {name: {"title": name, "recipe": "base.yaml", **keys} for name, keys in more.items()}


AGE = {"age": {"corpus": "small", "file": "age.yaml"}}


def names(plan: Plan, *args) -> list[str]:
    return [str(job) for job in plan.jobs(*args)]


def test_a_plan_knows_its_folders_and_manifests(tmp_path, monkeypatch):
    monkeypatch.setenv("RACLAP_CACHE", "/cache")
    plan = read_plan(write_plan(tmp_path, claims=[CLAIM]))
    assert plan.corpora == {"small": "/cache/small.parquet"}
    assert plan.export(Job("ps", 1)) == tmp_path / "runs" / "seed1" / "ps" / "export"
    assert plan.runs["ps"].recipe == tmp_path / "base.yaml"
    assert plan.claims[0].metric == "nDCG@10" and plan.margin == 1
    elsewhere = read_plan(write_plan(tmp_path), output=Path("there"), page=Path("page.md"))
    assert (elsewhere.output, elsewhere.page) == (Path("there"), Path("page.md"))


def test_seeds_are_run_one_after_the_other_and_needs_first(tmp_path):
    listed = runs(tuned={"init_from": "base"}, base={}, taught={"teachers": ["tuned"], "student": "base"})
    plan = read_plan(write_plan(tmp_path, runs=listed))
    assert names(plan) == [f"seed{seed}/{run}" for seed in (0, 1) for run in ("base", "tuned", "taught")]
    assert plan.needs(Job("taught", 1)) == (Job("tuned", 1), Job("base", 1))


def test_teachers_of_other_seeds_are_waited_for(tmp_path):
    ensemble = {"teachers": ["base", "base@next", "base@2"], "seeds": [0, 1]}
    plan = read_plan(write_plan(tmp_path, seeds=[0, 1, 2], runs=runs(base={}, ensemble=ensemble, last={})))
    assert plan.needs(Job("ensemble", 1)) == (Job("base", 1), Job("base", 2))
    assert names(plan) == [
        "seed0/base", "seed0/last", "seed1/base", "seed1/last", "seed2/base", "seed0/ensemble", "seed1/ensemble",
        "seed2/last",
    ]  # fmt: skip


def test_next_goes_round(tmp_path):
    plan = read_plan(write_plan(tmp_path, runs=runs(base={}, taught={"teachers": ["base@next"]})))
    assert [plan.needs(Job("taught", seed)) for seed in (0, 1)] == [(Job("base", 1),), (Job("base", 0),)]


def test_chosen_runs_bring_what_they_need(tmp_path):
    plan = read_plan(write_plan(tmp_path, runs=runs(base={}, other={}, tuned={"init_from": "base"})))
    assert names(plan, ["tuned"], [1]) == ["seed1/base", "seed1/tuned"]
    assert names(plan, [], [0]) == ["seed0/base", "seed0/other", "seed0/tuned"]
    with pytest.raises(PlanError, match="no run 'tunde'"):
        plan.jobs(["tunde"])
    with pytest.raises(PlanError, match="no seed '7'"):
        plan.jobs([], [7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [0]}, "key 'seedz': unknown key"),
        ({"seeds": None}, "key 'seeds': "),
        ({"seeds": [0, 0]}, "key 'seeds': "),
        ({"corpora": {"small": "${NOWHERE_AT_ALL}/x"}}, "key 'corpora': the variable 'NOWHERE_AT_ALL' is not set"),
        ({"corpora": {"a/b": "x"}}, "key 'corpora.a/b"),
        ({"runs": runs(base={"recipe": "absent.yaml"})}, r"key 'runs.base.recipe': there is no recipe file .*absent"),
        ({"runs": {"base": {"recipe": "base.yaml"}}}, "key 'runs.base.title': missing"),
        ({"runs": runs(base={}, ps={"init_from": "bass"})}, "key 'runs.ps': 'bass': there is no run 'bass'"),
        ({"runs": runs(base={}, ps={"init_from": "base@7"})}, "'base' is not run with seed 7"),
        ({"runs": runs(base={}, ps={"init_from": "base@soon"})}, "write RUN, RUN@SEED or RUN@next"),
        ({"runs": runs(base={"seeds": [1]}, ps={"init_from": "base"})}, "'base' is not run with seed 0"),
        ({"runs": runs(base={"seeds": [3]})}, "key 'runs.base.seeds'"),
        ({"runs": runs(a={"init_from": "b"}, b={"init_from": "a"})}, "in a circle: a, b"),
        ({"runs": runs(a={"init_from": "a"})}, "in a circle: a"),
        ({"runs": runs(base={}, ps={"init_from": "base", "teachers": ["base"]})}, "key 'runs.ps': init_from belongs"),
        ({"claims": [{**CLAIM, "worse": "bass"}]}, "key 'claims.0': there is no run 'bass'"),
        ({"claims": [{**CLAIM, "corpora": ["large"]}]}, "key 'claims.0.corpora': there is no corpus 'large'"),
        ({"claims": [{**CLAIM, "metric": "median_rank"}]}, "key 'claims.0.metric': 'median_rank' is not among R@1"),
        ({"claims": [{**CLAIM, "corpora": []}]}, "key 'claims.0.corpora'"),
        ({"claims": [{**CLAIM, "metric": ""}]}, "key 'claims.0.metric': '' is not among"),
        ({"claims": [{**CLAIM, "metric": "UAR"}]}, "key 'claims.0.metric': 'UAR' is not among .*UAR PROTOCOL"),
        ({"claims": [{**CLAIM, "metric": "UAR age"}]}, "key 'claims.0.metric': there is no protocol 'age'; .* none"),
        ({"claims": [{**CLAIM, "metric": "UAR age"}], "protocols": AGE}, "key 'claims.0.corpora': .*give none"),
        ({"claims": [{**CLAIM, "metric": "tau"}]}, "key 'claims.0.corpora': there is no corpus under 'ordinality'"),
        ({"ordinality": ["large"]}, "key 'ordinality': there is no corpus 'large'"),
        ({"protocols": {"age": {"corpus": "large", "file": "age.yaml"}}}, "key 'protocols.age.corpus': there is no"),
        ({"protocols": {"age": {"corpus": "small", "file": "absent.yaml"}}}, "key 'protocols.age.file': .*absent"),
        ({"protocols": {"age": {"corpus": "small", "file": "trained.yaml"}}}, "is for the split 'train'"),
        ({"protocols": {"a b": {"corpus": "small", "file": "age.yaml"}}}, "key 'protocols.a b"),
        ({"runs": runs(base={"tests": ["large"]}, ps={})}, "key 'runs.base.tests': there is no corpus 'large'"),
        ({"runs": runs(base={"tests": []}, ps={})}, "key 'runs.base.tests'"),
        (
            {"corpora": TWO, "runs": runs(base={"tests": ["large"]}, ps={}), "claims": [CLAIM]},
            "key 'claims.0': there is no corpus among the tests of 'base' 'small'; there are large",
        ),
        (
            {
                "corpora": TWO,
                "protocols": {**AGE, "other": {"corpus": "large", "file": "age.yaml"}},
                "claims": [{**CLAIM, "corpora": [], "metric": "UAR age other"}],
            },
            "key 'claims.0.metric': the protocols are of several corpora: small, large",
        ),
        ({"paper": {**PAPER, "recalls": {"ps": {"large": [1] * 6}}}}, "key 'paper.recalls.ps': there is no corpus"),
        ({"paper": {**PAPER, "recalls": {"ps": {"small": [1] * 5}}}}, "key 'paper.recalls.ps.small"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_key(tmp_path, changes, message):
    path = write_plan(tmp_path, **changes)
    with pytest.raises(PlanError, match=message) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)


def test_what_runs_are_tested_on_and_claims_are_about(tmp_path):
    path = write_plan(
        tmp_path,
        corpora=TWO,
        ordinality=["large"],
        protocols=AGE,
        runs=runs(base={}, ps={"tests": ["small"]}),
        claims=[{**CLAIM, "corpora": [], "metric": "macro_F1 age"}, {**CLAIM, "metric": "R@10"}],
    )
    plan = read_plan(path)
    assert plan.tests_of("base") == ("small", "large") and plan.tests_of("ps") == ("small",)
    assert plan.protocols_of("ps") == ("age",) and plan.protocols["age"].file == tmp_path / "age.yaml"
    assert [claim.measure for claim in plan.claims] == ["macro_F1", "R@10"]
    assert [claim.protocols for claim in plan.claims] == [("age",), ()]
    assert [plan.corpora_of(claim) for claim in plan.claims] == [("small",), ("small",)]


def test_protocol_files_are_checked_with_the_plan(tmp_path):
    path = write_plan(tmp_path, protocols=AGE)
    (tmp_path / "age.yaml").write_text("{column: age, classes: {old: [old]}}")
    with pytest.raises(RecipeError, match=r"age.yaml: 'classes' must hold at least two"):
        read_plan(path)


def test_files_that_are_no_plans_are_refused(tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(PlanError, match="a plan is a mapping"):
        read_plan(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(PlanError, match="not valid YAML"):
        read_plan(tmp_path / "broken.yaml")


@pytest.mark.parametrize("name", ["study", "siblings"])
def test_the_plans_of_this_repository_are_good(name):
    plan = read_plan(Path(__file__).parents[2] / "configuration" / "demo" / f"{name}.yaml")
    assert {job.run for job in plan.jobs()} == set(plan.runs)
    assert {claim.better for claim in plan.claims} <= set(plan.runs)
