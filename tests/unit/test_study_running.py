"""Running jobs: scripts that only pretend to train, and note that they were started."""

import sys
import time
from pathlib import Path

import pytest
import yaml

from raclap.errors import RecipeError
from raclap.files import write_json, write_text
from raclap.recipe import dump_recipe
from raclap.study import running
from raclap.study.plan import Job, Plan, PlanError, read_plan
from raclap.study.running import Runner, check_runs, command_line, is_finished, resolved_recipe, why_failed

BUILD = {"pairs": 3, "captions": 3, "bytes": 9, "sha256": "a"}
RECIPE = {
    "name": "pretence",
    "model": {"speech": {"config": {"model_type": "wavlm"}}, "text": {"pretrained": "nowhere"}},
    "data": {"corpora": [{"name": "small", "manifest": "small.parquet"}]},
    "training": {"epochs": 2},
}
SCRIPT = """
import json, os, sys, pathlib
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--output") + 1])
started = pathlib.Path(__file__).with_name("started.txt")
with started.open("a") as file:
    file.write(f"{folder.parent.name}/{folder.name} {os.environ.get('OMP_NUM_THREADS')}\\n")
print("hello from", folder.name)
if folder.name == os.environ.get("FAILS"):
    sys.exit("no such luck")
(folder / "export").mkdir(parents=True)
recipe = pathlib.Path(words[words.index("--recipe") + 1])
(folder / "recipe.yaml").write_text(recipe.read_text())
(folder / "metrics.json").write_text(json.dumps({"epochs": [{"epoch": 0}, {"epoch": 1}]}))
"""


@pytest.fixture
def plan(tmp_path) -> Plan:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    taught = {**RECIPE, "objective": {"relation": "teacher"}, "teacher": {"folders": ["nobody"]}}
    (tmp_path / "taught.yaml").write_text(yaml.safe_dump(taught))
    values = {
        "output": str(tmp_path / "runs"),
        "seeds": [0, 1],
        "corpora": {"small": "small.parquet"},
        "runs": {
            "tuned": {"title": "Tuned", "recipe": "recipe.yaml", "init_from": "base", "set": ["training.epochs=2"]},
            "base": {"title": "Base", "recipe": "recipe.yaml"},
            "taught": {"title": "Taught", "recipe": "taught.yaml", "teachers": ["base", "tuned"], "student": "base"},
            "other": {"title": "Other", "recipe": "recipe.yaml"},
        },
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    for script in ("train.py", "distill.py"):
        (tmp_path / script).write_text(SCRIPT)
    return read_plan(tmp_path / "plan.yaml")


def pretend(plan: Plan, job: Job, epochs: int = 2, saved: int | None = None) -> None:
    """A run folder as training leaves it."""
    folder = plan.folder(job)
    write_text(folder / "recipe.yaml", dump_recipe(resolved_recipe(plan, job)))
    write_json(folder / "metrics.json", {"epochs": [{"epoch": epoch} for epoch in range(epochs)]})
    write_json(folder / "data.json", {"train": {"small": BUILD}})
    if saved is not None:
        write_json(folder / "checkpoints" / f"epoch-{saved:04d}-step-000000" / "progress.json", {"epoch": saved})


def started(folder: Path) -> list[str]:
    file = folder / "started.txt"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.is_file() else []


def test_command_lines_are_those_of_a_user(plan, tmp_path):
    runs = tmp_path / "runs" / "seed1"
    script, *words = command_line(plan, Job("tuned", 1), tmp_path)[1:]
    assert script == str(tmp_path / "train.py")
    assert words == [
        "--recipe", str(tmp_path / "recipe.yaml"), "--init-from", str(runs / "base" / "export"),
        "--set", "seed=1", "--set", "training.epochs=2", "--output", str(runs / "tuned"),
    ]  # fmt: skip
    interpreter, script, *words = command_line(plan, Job("taught", 1), tmp_path)
    assert (interpreter, script) == (sys.executable, str(tmp_path / "distill.py"))
    assert words[2:8] == [
        "--teacher", str(runs / "base" / "export"), "--teacher", str(runs / "tuned" / "export"),
        "--student", str(runs / "base" / "export"),
    ]  # fmt: skip


def test_recipes_are_resolved_as_the_scripts_will(plan):
    recipe = resolved_recipe(plan, Job("taught", 1))
    assert recipe.seed == 1
    assert recipe.teacher.folders == (str(plan.export(Job("base", 1))), str(plan.export(Job("tuned", 1))))
    assert recipe.model.init_from == str(plan.export(Job("base", 1)))


def test_everything_is_run_once_and_in_order(plan, tmp_path, capfd):
    done = []
    assert Runner(plan, tmp_path).run(plan.jobs(), after=done.append) == []
    assert started(tmp_path) == [
        f"seed{seed}/{run}" for seed in (0, 1) for run in ("base", "tuned", "taught", "other")
    ]
    assert done == list(plan.jobs()) and all(is_finished(plan, job) for job in done)
    assert "hello from taught" in capfd.readouterr().out
    assert "hello from base" in (tmp_path / "runs" / "seed0" / "base.log").read_text()
    assert Runner(plan, tmp_path).run(plan.jobs(), after=done.append) == []
    assert len(started(tmp_path)) == len(done) == 8


def test_what_is_there_is_not_run(plan, tmp_path):
    pretend(plan, Job("base", 0))
    plan.export(Job("base", 0)).mkdir()
    Runner(plan, tmp_path).run(plan.jobs(["tuned"], [0]))
    assert started(tmp_path) == ["seed0/tuned"]


def test_a_failure_stops_only_what_needs_it(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILS", "tuned")
    failed = Runner(plan, tmp_path).run(plan.jobs())
    assert failed == [Job("tuned", 0), Job("tuned", 1)]
    assert not any("taught" in name for name in started(tmp_path)) and "seed1/other" in started(tmp_path)
    assert "seed0/tuned (see" in str(why_failed(plan, failed)) and "tuned.log" in str(why_failed(plan, failed))
    assert "no such luck" in (tmp_path / "runs" / "seed0" / "tuned.log").read_text()


def test_several_at_once_wait_for_what_they_need(plan, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert Runner(plan, tmp_path, at_once=3).run(plan.jobs()) == []
    order = started(tmp_path)
    assert sorted(order) == sorted(map(str, plan.jobs()))
    for seed in (0, 1):
        places = [order.index(f"seed{seed}/{run}") for run in ("base", "tuned", "taught")]
        assert places == sorted(places)
    assert {line.split()[1] for line in (tmp_path / "started.txt").read_text().splitlines()} == {"2"}
    assert "seed1/other: hello from other\n" in capfd.readouterr().out


def test_an_interrupted_study_ends_its_processes(plan, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text("import time; time.sleep(60)")
    runner = Runner(plan, tmp_path)

    def interrupted(*args, **kwargs):
        while not runner._processes:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("raclap.study.running.wait", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(plan.jobs())
    assert time.monotonic() - began < 20
    assert runner._processes[0].returncode != 0


@pytest.mark.parametrize(
    ("epochs", "saved", "exported", "finished"),
    [
        (2, 2, True, True),
        (2, None, True, True),  # its checkpoints were cleared away
        (2, 1, True, False),  # broken off between the record of the last epoch and its export
        (2, None, False, False),
        (1, 1, True, False),
    ],
)
def test_a_run_is_finished_when_its_last_epoch_is_saved(plan, epochs, saved, exported, finished):
    job = Job("base", 0)
    assert not is_finished(plan, job)
    pretend(plan, job, epochs, saved)
    if exported:
        plan.export(job).mkdir()
    assert is_finished(plan, job) == finished


def test_a_run_of_another_recipe_or_other_data_is_refused_but_other_places_are_not(plan, monkeypatch):
    monkeypatch.setattr(running, "corpus_builds", lambda recipe: {"train": {"small": BUILD}})
    pretend(plan, Job("tuned", 1))
    stored = plan.folder(Job("tuned", 1)) / "recipe.yaml"
    stored.write_text(stored.read_text().replace("small.parquet", "elsewhere.parquet").replace("runs/seed1", "old"))
    check_runs(plan)
    stored.write_text(stored.read_text().replace("learning_rate: 2.0e-05", "learning_rate: 1.0"))
    with pytest.raises(PlanError, match=r"tuned.*other data, than the plan \(optimizer.learning_rate differs\)"):
        check_runs(plan)
    pretend(plan, Job("tuned", 1))
    monkeypatch.setattr(running, "corpus_builds", lambda recipe: {"train": {"small": {**BUILD, "pairs": 4}}})
    with pytest.raises(PlanError, match=r"tuned: .* than the plan \(small, train: 3 pairs then, 4 now\)"):
        check_runs(plan)


def test_recipes_that_do_not_fit_are_found_before_anything_runs(plan, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "sead": 1}))
    with pytest.raises(RecipeError, match=r"recipe.yaml: key 'sead': unknown key"):
        check_runs(plan)
    (tmp_path / "recipe.yaml").write_text((tmp_path / "taught.yaml").read_text())
    with pytest.raises(PlanError, match=r"run 'base': .* has a section 'teacher', the plan gives neither"):
        check_runs(plan)
