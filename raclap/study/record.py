"""Everything that a study found, as one JSON object: study.json, which page and figures are drawn from.

Shapes: S seeds, N queries of a test set.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raclap.data.manifest import read_manifest
from raclap.provenance import versions
from raclap.recipe import TrainingRecipe
from raclap.retrieval.metrics import CEILINGS, METRICS
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.statistics import crossed_interval
from raclap.study.claims import NOT_RUN, judge
from raclap.study.plan import Claim, Job, Plan
from raclap.study.results import TestSets, TestValues, stack
from raclap.study.running import is_finished, resolved_recipe
from raclap.training.run_folder import RunFolder

_MEANS = tuple(metric for metric in METRICS if metric != "median_rank")

Models = dict[Job, dict[str, TestValues]]


def gather(plan: Plan, tests: TestSets, command: str) -> dict[str, Any]:
    """Reads what the finished runs left behind, and compares it.

    Args:
        plan: of the study.
        tests: where its test values are.
        command: that made the study, to be repeated.

    Returns:
        `title`, `about`, `command`, `seeds`, `margin`, `resamples`, `versions`, `corpora` (sizes by split), `groups`,
        `runs` (what each is, and how each of its seeds went), `claims`, `paper`, and
        `results`: `{run: {corpus: {direction: {metric: {value, low, high}}}}}`.
    """
    models = {job: found for job in plan.jobs() if is_finished(plan, job) and (found := tests.read(job)) is not None}
    return {
        "title": plan.title,
        "about": plan.about.strip(),
        "command": command,
        "seeds": list(plan.seeds),
        "margin": plan.margin,
        "resamples": plan.resamples,
        "versions": versions(),
        "corpora": {name: _corpus(Path(path), name, models) for name, path in plan.corpora.items()},
        "groups": {run.group: plan.groups.get(run.group, run.group) for run in plan.runs.values()},
        "runs": {run: _run(plan, run, models) for run in plan.runs},
        "results": {run: found for run in plan.runs if (found := _results(plan, run, models))},
        "claims": [_claim(plan, claim, models) for claim in plan.claims],
        "paper": None if plan.paper is None else plan.paper.model_dump(mode="json"),
    }


def _corpus(manifest: Path, name: str, models: Models) -> dict[str, Any]:
    rows = read_manifest(manifest)
    splits = {split: rows.split(split) for split in ("train", "validation", "test")}
    sizes = {
        split: {"pairs": len(part), "speakers": len(set(part.column("speaker")) - {None})}
        for split, part in splits.items()
    }
    tested = next((found[name] for found in models.values()), None)
    known = [metric for metric in CEILINGS if tested is not None and tested.has(metric)]
    return {"splits": sizes, "style_ceiling": {metric: float(tested.values(metric).mean()) for metric in known}}


def _run(plan: Plan, run: str, models: Models) -> dict[str, Any]:
    given = plan.runs[run]
    recipe = resolved_recipe(plan, Job(run, plan.seeds_of(run)[0]))
    jobs = [Job(run, seed) for seed in plan.seeds_of(run)]
    return {
        "title": given.title,
        "group": given.group,
        "recipe": str(given.recipe),
        "settings": list(given.settings),
        "starts_from": given.init_from or given.student or next(iter(given.teachers), None),
        "teachers": list(given.teachers),
        "corpora": [corpus.name for corpus in recipe.data.corpora],
        "mixture": recipe.data.mixture,
        "select": recipe.evaluation.select,
        "batch_size": recipe.training.batch_size,
        "seeds": {str(job.seed): _training(plan.folder(job), recipe.training) for job in jobs if job in models},
        "missing": [job.seed for job in jobs if job not in models],
    }


def _training(folder: Path, recipe: TrainingRecipe) -> dict[str, Any]:
    """How one run went: its length, the epoch that was exported, the time of its steps (without validation)."""
    epochs = RunFolder(folder).epochs()
    # An epoch that was broken off counts the steps since then: the longest one is whole.
    steps = recipe.steps_per_epoch or max(epoch["steps"] for epoch in epochs)
    pairs = [(recipe.batch_size * epoch["steps"], epoch["pairs_per_second"]) for epoch in epochs]
    made_with = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    return {
        "epochs": len(epochs),
        "best_epoch": 1 + max(epoch["epoch"] for epoch in epochs if epoch["best"]),
        "steps": steps * len(epochs),
        "seconds": sum(seen / rate for seen, rate in pairs if seen),
        **{name: made_with[name] for name in ("machine", "date", "torch")},
    }


def _results(plan: Plan, run: str, models: Models) -> dict[str, Any]:
    """Every mean of every corpus and direction with its interval over the run's seeds and the speakers."""
    found = [models[job] for seed in plan.seeds_of(run) if (job := Job(run, seed)) in models]
    if not found:
        return {}
    return {
        corpus: {
            direction: {
                metric: asdict(
                    crossed_interval([stack([model[corpus] for model in found], metric, direction)], plan.resamples)
                )
                for metric in _MEANS
            }
            for direction in DIRECTIONS
        }
        for corpus in plan.corpora
    }


def _claim(plan: Plan, claim: Claim, models: Models) -> dict[str, Any]:
    """A claim with its verdict, from the seeds that both of its runs have."""
    seeds = [seed for seed in plan.seeds if Job(claim.better, seed) in models and Job(claim.worse, seed) in models]
    stated = {**claim.model_dump(mode="json"), "seeds": seeds}
    if not seeds:
        return {**stated, "verdict": NOT_RUN}
    better, worse = ([models[Job(run, seed)] for seed in seeds] for run in (claim.better, claim.worse))
    return {**stated, **judge(claim, better, worse, plan.margin, plan.resamples)}
