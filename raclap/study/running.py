"""Running the jobs of a study as processes of train.py and distill.py, each once.

A job whose run folder holds all epochs of its recipe is done: no process is started for it. One that was broken off is
started again, and goes on from its last checkpoint by itself.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from raclap.data.builds import Builds, corpus_builds
from raclap.errors import RaClapError
from raclap.recipe import Recipe, differences, read_recipe
from raclap.study.plan import Job, Plan, PlanError
from raclap.training.run_folder import RunFolder

# Where a run finds its data and its start says nothing about what it learns.
_PLACES = re.compile(r"model\.init_from|teacher\.folders(\.\d+)?|data\.corpora\.\d+\.(manifest|audio_root)")


class StudyError(RaClapError):
    """A run of the study failed."""


def log_file(plan: Plan, job: Job) -> Path:
    """What the processes of a job printed, beside its run folder."""
    return plan.folder(job).with_suffix(".log")


def resolved_recipe(plan: Plan, job: Job) -> Recipe:
    """The recipe of a job with everything that the plan and the seed add.

    Raises:
        RecipeError: the recipe, or a setting of the plan, is not as it should be.
        PlanError: its script is not the one for this recipe.
    """
    run = plan.runs[job.run]
    settings = _settings(plan, job)
    if run.teachers:
        settings.append(f"teacher.folders=[{', '.join(repr(str(folder)) for folder in _teachers(plan, job))}]")
    if start := run.init_from or run.student:
        settings.append(f"model.init_from={plan.export(plan.referred(job, start))}")
    recipe = read_recipe(run.recipe, settings)
    if (recipe.teacher is not None) != run.is_distillation:
        raise PlanError(
            f"run '{job.run}': {run.recipe} has {'a' if recipe.teacher else 'no'} section 'teacher', the plan gives "
            f"{'teachers or a student' if run.is_distillation else 'neither teachers nor a student'}"
        )
    return recipe


def check_runs(plan: Plan) -> None:
    """Reads the recipe of every job, and compares it, and its corpora, with the run which is there already.

    Raises:
        RecipeError: a recipe is not as it should be.
        ManifestError: a corpus of a run that is there cannot be read.
        PlanError: a run folder holds a run of another recipe, or on another build of the corpora; the message names
            what differs.
    """
    known: dict[str, Builds] = {}
    for job in plan.jobs():
        recipe, folder = resolved_recipe(plan, job), plan.folder(job)
        if not (folder / "recipe.yaml").is_file():
            continue
        keys = differences(read_recipe(folder / "recipe.yaml"), recipe)
        changed = [f"{key} differs" for key in keys if not _PLACES.fullmatch(key)]
        if not changed:
            key = recipe.data.model_dump_json()
            known[key] = known.get(key) or corpus_builds(recipe.data)
            changed = RunFolder(folder).changed_data(known[key])
        if changed:
            raise PlanError(
                f"{folder}: this run has another recipe, or other data, than the plan ({'; '.join(changed)}); put "
                f"its folder aside, or choose another --output"
            )


def is_finished(plan: Plan, job: Job) -> bool:
    """Whether the run folder holds all epochs of its recipe, and the model of the best."""
    folder = plan.folder(job)
    if not (folder / "recipe.yaml").is_file():
        return False
    epochs = read_recipe(folder / "recipe.yaml").training.epochs
    if len(RunFolder(folder).epochs()) < epochs:
        return False
    # An epoch is recorded, then exported, then saved: a run may have been broken off in between.
    saved = [json.loads(path.read_text())["epoch"] for path in folder.glob("checkpoints/epoch-*/progress.json")]
    return max(saved) >= epochs if saved else plan.export(job).is_dir() or plan.tests(job).is_dir()


def command_line(plan: Plan, job: Job, scripts: Path) -> list[str]:
    """What a user would type to run this job alone.

    Args:
        plan: of the study.
        job: to run.
        scripts: folder of train.py and distill.py.
    """
    run = plan.runs[job.run]
    script = "distill.py" if run.is_distillation else "train.py"
    words = [sys.executable, str(scripts / script), "--recipe", str(run.recipe)]
    for folder in _teachers(plan, job):
        words += ["--teacher", str(folder)]
    for option, reference in (("--student", run.student), ("--init-from", run.init_from)):
        if reference:
            words += [option, str(plan.export(plan.referred(job, reference)))]
    for setting in _settings(plan, job):
        words += ["--set", setting]
    return [*words, "--output", str(plan.folder(job))]


def why_failed(plan: Plan, failed: Iterable[Job]) -> StudyError:
    """The error that names the jobs that failed and where they say why."""
    return StudyError("these runs failed: " + "; ".join(f"{job} (see {log_file(plan, job)})" for job in failed))


class Runner:
    """Runs jobs, some at a time, each when those that it needs are done.

    Args:
        plan: of the study.
        scripts: folder of train.py and distill.py.
        at_once: processes at a time; the processor's threads are shared out among them.
    """

    def __init__(self, plan: Plan, scripts: Path, at_once: int = 1):
        self._plan = plan
        self._scripts = scripts
        self._at_once = at_once
        self._processes: list[subprocess.Popen] = []
        self._stopped = threading.Event()

    def run(self, jobs: Iterable[Job], after: Callable[[Job], None] = lambda job: None) -> list[Job]:
        """Runs what is not finished, in this order; a job that needs a failed one is left out, others go on.

        Args:
            jobs: as `Plan.jobs` orders them.
            after: called with each job that a process has just finished.

        Returns:
            The jobs that failed.
        """
        done = {job for job in self._plan.jobs() if is_finished(self._plan, job)}
        waiting = [job for job in jobs if job not in done]
        failed: list[Job] = []
        running: dict[Future, Job] = {}
        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                while True:
                    for job in self._ready(waiting, done)[: self._at_once - len(running)]:
                        waiting.remove(job)
                        running[pool.submit(self._run, job)] = job
                    if not running:
                        return failed
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        if future.result() == 0 and is_finished(self._plan, job):
                            done.add(job)
                            after(job)
                        else:
                            failed.append(job)
            except BaseException:
                # An interrupt from the keyboard reaches the processes too, any other end of the study does not.
                self._stopped.set()
                for process in self._processes:
                    process.terminate()
                raise

    def _ready(self, waiting: list[Job], done: set[Job]) -> list[Job]:
        return [job for job in waiting if set(self._plan.needs(job)) <= done]

    def _run(self, job: Job) -> int:
        """Runs one process to its end; its output is shown and kept. Returns its exit status."""
        log = log_file(self._plan, job)
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{job}: {self._plan.runs[job.run].title}", flush=True)
        with (
            log.open("ab") as kept,
            subprocess.Popen(
                command_line(self._plan, job, self._scripts), env=self._environment(),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process,
        ):  # fmt: skip
            self._processes.append(process)
            if self._stopped.is_set():  # between the start of the process and its place in the list
                process.terminate()
            show = _show if self._at_once == 1 else _Labelled(job)
            for chunk in iter(process.stdout.read1, b""):
                kept.write(chunk)
                kept.flush()
                show(chunk)
        return process.returncode

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self._at_once > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._at_once))
        return environment


class _Labelled:
    """Shows whole lines with the job's name before them: several processes speak at once."""

    def __init__(self, job: Job):
        self._job = job
        self._rest = b""

    def __call__(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            # Of a progress bar, which writes over itself, the last state.
            shown = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
            print(f"{self._job}: {shown}", flush=True)


def _show(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _settings(plan: Plan, job: Job) -> list[str]:
    return [f"seed={job.seed}", *plan.runs[job.run].settings]


def _teachers(plan: Plan, job: Job) -> list[Path]:
    return [plan.export(plan.referred(job, reference)) for reference in plan.runs[job.run].teachers]
