"""The plan of a study: which runs, with which seeds, on what they are tested and what is claimed of them.

A plan is a YAML file; every key is declared here and any other is an error that names the file and the key. A job is
one run with one seed. A run can need others: it goes on from one, or one teaches it. `RUN` is that run with the same
seed, `RUN@2` with seed 2, `RUN@next` with the seed after this one in the plan (after the last comes the first).

What is measured on the test splits: retrieval on every corpus; by `ordinality` the order of valence and arousal on the
corpora that it names; by `protocols` zero-shot classification. A claim is about any of these (see `Claim.metric`).
"""

import os
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from raclap.corpora.synthetic import default_cache
from raclap.errors import RaClapError
from raclap.retrieval.classification import MEASURES
from raclap.retrieval.metrics import METRICS
from raclap.retrieval.ordinality import TAUS
from raclap.retrieval.protocol import load_protocol
from raclap.settings_file import explained, read_settings

_NEXT = "next"
MEANS = tuple(metric for metric in METRICS if metric != "median_rank")
TAU = "tau"  # mean of `TAUS`

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Recalls = tuple[float, float, float, float, float, float]


class PlanError(RaClapError, ValueError):
    """A plan has an unknown key, a wrong value, or asks for what cannot be run."""


class Job(NamedTuple):
    """One run with one seed."""

    run: str
    seed: int

    def __str__(self) -> str:
        return f"seed{self.seed}/{self.run}"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunPlan(_Section):
    """One row of the study: a recipe, and where it starts.

    A run with a teacher or a student is run by distill.py, any other by train.py.
    """

    title: str = Field(description="as it is to be read")
    recipe: Path = Field(description="recipe file, relative to the plan")
    group: str = Field("runs", description="rows of one group share their tables")
    seeds: tuple[int, ...] | None = Field(None, description="None: all seeds of the plan")
    settings: tuple[str, ...] = Field((), alias="set", description="further recipe settings, KEY=VALUE")
    init_from: str | None = Field(None, description="run to go on from")
    teachers: tuple[str, ...] = Field((), description="runs that teach")
    student: str | None = Field(None, description="run that the student starts from")
    tests: tuple[str, ...] | None = Field(
        None, min_length=1, description="corpora that it is tested on, with their protocols; None: all of the plan"
    )

    @field_validator("recipe", mode="after")
    @classmethod
    def _is_a_file(cls, recipe: Path, info: ValidationInfo) -> Path:
        recipe = info.context["folder"] / recipe
        if not recipe.is_file():
            raise PlanError(f"there is no recipe file {recipe}")
        return recipe

    @model_validator(mode="after")
    def _starts_in_one_place(self) -> "RunPlan":
        if self.init_from and self.is_distillation:
            raise PlanError("init_from belongs to train.py, teachers and student to distill.py: give one of the two")
        return self

    @property
    def is_distillation(self) -> bool:
        """Whether distill.py runs it."""
        return bool(self.teachers or self.student)

    @property
    def references(self) -> tuple[str, ...]:
        """The runs that it needs, as the plan writes them."""
        return (*self.teachers, *filter(None, (self.init_from, self.student)))


class ProtocolPlan(_Section):
    """Zero-shot classification of the test clips of one corpus."""

    corpus: str
    file: Path = Field(description="protocol file, relative to the plan: what is labelled, the classes, their prompts")

    @field_validator("file", mode="after")
    @classmethod
    def _is_a_file(cls, file: Path, info: ValidationInfo) -> Path:
        file = info.context["folder"] / file
        if not file.is_file():
            raise PlanError(f"there is no protocol file {file}")
        split = load_protocol(file).split
        if split != "test":
            raise PlanError(f"{file} is for the split '{split}'; a study tests on the split 'test'")
        return file


class Claim(_Section):
    """That one run is better than another, on average over corpora and both directions, or over protocols."""

    title: str
    better: str
    worse: str
    corpora: tuple[str, ...] = Field((), description="none for a metric of protocols, which have theirs")
    metric: str = Field(
        "nDCG@10",
        description="of retrieval; tau_valence, tau_arousal or their mean tau; or accuracy, UAR or macro_F1 with the "
        "names of one or more protocols on one corpus: `macro_F1 age emotion`",
    )
    source: str = Field(description="who says so")

    @field_validator("metric")
    @classmethod
    def _is_a_mean(cls, metric: str) -> str:
        measure, *protocols = metric.split(" ")
        if metric in (*MEANS, *TAUS, TAU) or (measure in MEASURES and protocols):
            return metric
        measures = ", ".join(f"{name} PROTOCOL" for name in MEASURES)
        raise PlanError(f"'{metric}' is not among {', '.join((*MEANS, *TAUS, TAU))}, {measures}")

    @property
    def measure(self) -> str:
        """The metric without the protocols."""
        return self.metric.split(" ")[0]

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols that the claim is about; empty where it is about corpora."""
        return tuple(self.metric.split(" ")[1:])

    @property
    def is_of_order(self) -> bool:
        """Whether it is about the order of valence or arousal."""
        return self.metric in (*TAUS, TAU)


class Paper(_Section):
    """Figures that others published on other data, to be shown beside."""

    source: str
    corpora: dict[str, str] = Field(description="our corpus: theirs")
    recalls: dict[str, dict[str, Recalls]] = Field(
        description="run, corpus: R@1/5/10 audio → text, then text → audio, percent"
    )


class Plan(_Section):
    """A whole study."""

    title: str = "Study"
    about: str = Field("", description="what the page says under its title")
    output: Path = Field(description="folder of the runs and of study.json")
    page: Path = Field(Path("docs/study.md"), description="page to write; its figures and notes lie beside it")
    seeds: tuple[int, ...] = Field(min_length=1)
    corpora: dict[Name, str] = Field(min_length=1, description="manifests; their test splits are used")
    ordinality: tuple[str, ...] = Field((), description="corpora to measure the order of valence and arousal on")
    protocols: dict[Name, ProtocolPlan] = Field(default_factory=dict, description="zero-shot classifications")
    groups: dict[str, str] = Field(default_factory=dict, description="headings of the groups of runs")
    runs: dict[Name, RunPlan] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    paper: Paper | None = None
    margin: float = Field(1.0, gt=0, description="differences within ± this many points are practically none")
    resamples: Annotated[int, Field(gt=0)] = 10_000

    @field_validator("corpora")
    @classmethod
    def _expand(cls, corpora: dict[str, str]) -> dict[str, str]:
        variables = {**os.environ, "RACLAP_CACHE": str(default_cache())}
        try:
            return {name: string.Template(path).substitute(variables) for name, path in corpora.items()}
        except (KeyError, ValueError) as error:
            raise PlanError(f"the variable {error} is not set") from None

    @model_validator(mode="after")
    def _names_what_is_there(self) -> "Plan":
        for key, seeds in (("seeds", self.seeds), *((f"runs.{n}.seeds", r.seeds or ()) for n, r in self.runs.items())):
            if len(set(seeds)) < len(seeds) or not set(seeds) <= set(self.seeds):
                raise PlanError(
                    f"key '{key}': {list(seeds)}: each of the plan's seeds {list(self.seeds)} once at most"
                )
        _check_known("ordinality", self.ordinality, self.corpora, "corpus")
        for name, protocol in self.protocols.items():
            _check_known(f"protocols.{name}.corpus", (protocol.corpus,), self.corpora, "corpus")
        for name, run in self.runs.items():
            _check_known(f"runs.{name}.tests", run.tests or (), self.corpora, "corpus")
        for number, claim in enumerate(self.claims):
            self._check_claim(f"claims.{number}", claim)
        if self.paper is not None:
            _check_known("paper.corpora", self.paper.corpora, self.corpora, "corpus")
            _check_known("paper.recalls", self.paper.recalls, self.runs, "run")
            for run, corpora in self.paper.recalls.items():
                _check_known(f"paper.recalls.{run}", corpora, self.paper.corpora, "corpus of the paper")
        return self

    def _check_claim(self, key: str, claim: Claim) -> None:
        _check_known(key, (claim.better, claim.worse), self.runs, "run")
        _check_known(f"{key}.corpora", claim.corpora, self.corpora, "corpus")
        _check_known(f"{key}.metric", claim.protocols, self.protocols, "protocol")
        if claim.protocols and claim.corpora:
            raise PlanError(f"key '{key}.corpora': '{claim.metric}' is of protocols, which have theirs: give none")
        if not claim.protocols and not claim.corpora:
            raise PlanError(f"key '{key}.corpora': '{claim.metric}' is of corpora: name at least one")
        places = self.corpora_of(claim)
        if claim.protocols and len(places) > 1:
            raise PlanError(f"key '{key}.metric': the protocols are of several corpora: {', '.join(places)}")
        if claim.is_of_order:
            _check_known(f"{key}.corpora", places, self.ordinality, "corpus under 'ordinality'")
        for run in (claim.better, claim.worse):
            _check_known(key, places, self.tests_of(run), f"corpus among the tests of '{run}'")

    @model_validator(mode="after")
    def _can_be_run(self) -> "Plan":
        self.jobs()
        return self

    def seeds_of(self, run: str) -> tuple[int, ...]:
        """Seeds that a run is trained with."""
        own = self.runs[run].seeds
        return self.seeds if own is None else own

    def tests_of(self, run: str) -> tuple[str, ...]:
        """Corpora that a run is tested on, in the order of the plan."""
        own = self.runs[run].tests
        return tuple(corpus for corpus in self.corpora if own is None or corpus in own)

    def protocols_of(self, run: str) -> tuple[str, ...]:
        """Protocols on the corpora that a run is tested on."""
        return tuple(name for name, protocol in self.protocols.items() if protocol.corpus in self.tests_of(run))

    def corpora_of(self, claim: Claim) -> tuple[str, ...]:
        """Corpora that a claim is about: those that it names, or those of its protocols."""
        return claim.corpora or tuple(dict.fromkeys(self.protocols[name].corpus for name in claim.protocols))

    def folder(self, job: Job) -> Path:
        """Run folder of a job."""
        return self.output / f"seed{job.seed}" / job.run

    def export(self, job: Job) -> Path:
        """Model folder of a job: its best validation epoch."""
        return self.folder(job) / "export"

    def tests(self, job: Job) -> Path:
        """Folder of what the model of a job does on the test sets."""
        return self.folder(job) / "test"

    def referred(self, job: Job, reference: str) -> Job:
        """The job that a reference of this job means.

        Raises:
            PlanError: there is no such run or seed.
        """
        run, at, seed = reference.partition("@")
        key = f"key 'runs.{job.run}': '{reference}'"
        if run not in self.runs:
            raise PlanError(f"{key}: there is no run '{run}'; there are {', '.join(self.runs)}")
        if at and seed != _NEXT and not seed.isdecimal():
            raise PlanError(f"{key}: write RUN, RUN@SEED or RUN@{_NEXT}")
        wanted = self._next(job.seed) if seed == _NEXT else int(seed) if at else job.seed
        if wanted not in self.seeds_of(run):
            raise PlanError(f"{key}: '{run}' is not run with seed {wanted}")
        return Job(run, wanted)

    def needs(self, job: Job) -> tuple[Job, ...]:
        """Jobs whose models this one starts from or is taught by."""
        return tuple(dict.fromkeys(self.referred(job, reference) for reference in self.runs[job.run].references))

    def jobs(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> tuple[Job, ...]:
        """Jobs in the order in which they are run: seed by seed, each after those that it needs.

        A job that needs another seed comes as soon as that is there.

        Args:
            only: runs to choose; empty takes all. What they need is chosen with them.
            seeds: likewise.

        Raises:
            PlanError: runs need one another in a circle, or a name is not known.
        """
        _check_known("--only", only, self.runs, "run")
        _check_known("--seeds", seeds, self.seeds, "seed")
        chosen = [
            Job(run, seed)
            for seed in self.seeds
            for run in self.runs
            if seed in self.seeds_of(run) and (not only or run in only) and (not seeds or seed in seeds)
        ]
        waiting, placed = self._with_needs(chosen), []
        while waiting:
            ready = next((job for job in waiting if set(self.needs(job)) <= set(placed)), None)
            if ready is None:
                names = ", ".join(dict.fromkeys(job.run for job in waiting))
                raise PlanError(f"key 'runs': some of these need one another in a circle: {names}")
            waiting.remove(ready)
            placed.append(ready)
        return tuple(placed)

    def _with_needs(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs and all that they need, seed by seed in the order of the plan."""
        found, new = set(), set(jobs)
        while new:
            found |= new
            new = {need for job in new for need in self.needs(job)} - found
        runs = list(self.runs)
        return sorted(found, key=lambda job: (self.seeds.index(job.seed), runs.index(job.run)))

    def _next(self, seed: int) -> int:
        return self.seeds[(self.seeds.index(seed) + 1) % len(self.seeds)]


def read_plan(path: Path | str, output: Path | None = None, page: Path | None = None) -> Plan:
    """Reads a plan file.

    Args:
        path: YAML file; recipes are found relative to it.
        output: folder of the runs, in place of the plan's.
        page: page to write, in place of the plan's.

    Raises:
        PlanError: the file has an unknown key or a wrong value, a recipe file or a run that another needs is not
            there, or runs need one another in a circle.
    """
    path = Path(path)
    values = read_settings(path, "a plan", PlanError)
    given = {"output": output, "page": page}
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return Plan.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        raise PlanError(explained(path, error)) from None


def _check_known(key: str, names: Iterable[Any], known: Iterable[Any], kind: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            there = ", ".join(map(str, known)) or "none"
            raise PlanError(f"key '{key}': there is no {kind} '{name}'; there are {there}")
