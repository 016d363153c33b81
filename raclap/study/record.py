"""Everything that a study found, as one JSON object: study.json, which page and figures are drawn from.

Shapes: S seeds, N queries of a test set.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raclap.data.manifest import read_manifest
from raclap.provenance import versions
from raclap.recipe import TrainingRecipe
from raclap.retrieval.classification import MEASURES
from raclap.retrieval.crossed_classification import crossed_measure
from raclap.retrieval.metrics import CEILINGS
from raclap.retrieval.ordinality import TAUS
from raclap.retrieval.protocol import load_protocol
from raclap.retrieval.relevance import DIRECTIONS
from raclap.retrieval.statistics import crossed_interval
from raclap.study.claims import NOT_RUN, judge, judge_protocols
from raclap.study.classified import ProtocolValues, confusions_of
from raclap.study.plan import MEANS, TAU, Claim, Job, Plan
from raclap.study.results import TestSets
from raclap.study.running import is_finished, resolved_recipe
from raclap.study.values import GAPS, TestValues, stack
from raclap.training.run_folder import RunFolder

Models = dict[Job, dict[str, TestValues]]
Classifiers = dict[Job, dict[str, ProtocolValues]]


def gather(plan: Plan, tests: TestSets, command: str) -> dict[str, Any]:
    """Reads what the finished runs left behind, and compares it.

    Args:
        plan: of the study.
        tests: where its test values are.
        command: that made the study, to be repeated.

    Returns:
        `title`, `about`, `command`, `seeds`, `margin`, `resamples`, `versions`, `corpora` (sizes by split), `groups`,
        `runs` (what each is, and how each of its seeds went), `claims`, `paper`, and
        `results`: `{run: {corpus: {direction: {metric: {value, low, high}}}}}`, of the corpora that the run is tested
        on. Where the plan asks for them, `ordinality`: `{run: {corpus: {direction: {tau: {value, low, high}}}}}` with
        `GAPS` beside the directions, one value a seed; `protocols` (what each is) and `classified`:
        `{run: {protocol: {measure: {value, low, high}}}}` with `class_f1` beside the measures.
    """
    models, classifiers = {}, {}
    for job in filter(lambda job: is_finished(plan, job), plan.jobs()):
        values, protocols = tests.read(job), tests.read_protocols(job)
        if values is not None and protocols is not None:
            models[job], classifiers[job] = values, protocols
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
        "ordinality": {run: found for run in plan.runs if (found := _ordinality(plan, run, models))},
        "protocols": {name: _protocol(plan, name, classifiers) for name in plan.protocols},
        "classified": {run: found for run in plan.runs if (found := _classified(plan, run, classifiers))},
        "claims": [_claim(plan, claim, models, classifiers) for claim in plan.claims],
        "paper": None if plan.paper is None else plan.paper.model_dump(mode="json"),
    }


def _corpus(manifest: Path, name: str, models: Models) -> dict[str, Any]:
    rows = read_manifest(manifest)
    splits = {split: rows.split(split) for split in ("train", "validation", "test")}
    sizes = {
        split: {"pairs": len(part), "speakers": len(set(part.column("speaker")) - {None})}
        for split, part in splits.items()
    }
    tested = next((found[name] for found in models.values() if name in found), None)
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
    found = _of_seeds(plan, run, models)
    if not found:
        return {}
    return {corpus: _means(plan, [model[corpus] for model in found], MEANS) for corpus in plan.tests_of(run)}


def _ordinality(plan: Plan, run: str, models: Models) -> dict[str, Any]:
    """Every τ with its interval, and the distance of the modalities with each seed."""
    found = _of_seeds(plan, run, models)
    corpora = [corpus for corpus in plan.tests_of(run) if found and corpus in plan.ordinality]
    return {
        corpus: {
            **_means(plan, [model[corpus] for model in found], (*TAUS, TAU)),
            **{gap: [model[corpus].measures[gap] for model in found] for gap in GAPS},
        }
        for corpus in corpora
    }


def _means(plan: Plan, models: Sequence[TestValues], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        direction: {
            metric: asdict(crossed_interval([stack(models, metric, direction)], plan.resamples)) for metric in metrics
        }
        for direction in DIRECTIONS
    }


def _protocol(plan: Plan, name: str, classifiers: Classifiers) -> dict[str, Any]:
    given = plan.protocols[name]
    protocol = load_protocol(given.file)
    classified = next((found[name] for found in classifiers.values() if name in found), None)
    return {
        "corpus": given.corpus,
        "file": str(given.file),
        "about": protocol.about,
        "classes": list(protocol.classes if classified is None else classified.classes),
        "clips": None if classified is None else len(classified.pair_ids),
        "left_out": None if classified is None else classified.left_out,
    }


def _classified(plan: Plan, run: str, classifiers: Classifiers) -> dict[str, Any]:
    """Every measure of every protocol with its interval, and the F1 of each class."""
    found = _of_seeds(plan, run, classifiers)
    results = {}
    for name in plan.protocols_of(run) if found else ():
        confusions = confusions_of([model[name] for model in found])
        f1 = zip(found[0][name].classes, confusions.class_f1().tolist(), strict=True)
        results[name] = {
            **{each: asdict(crossed_measure([confusions], each, plan.resamples)) for each in MEASURES},
            "class_f1": {label: None if math.isnan(value) else value for label, value in f1},
        }
    return results


def _of_seeds(plan: Plan, run: str, found: dict[Job, Any]) -> list[Any]:
    """What there is of a run, seed by seed."""
    return [found[job] for seed in plan.seeds_of(run) if (job := Job(run, seed)) in found]


def _claim(plan: Plan, claim: Claim, models: Models, classifiers: Classifiers) -> dict[str, Any]:
    """A claim with its verdict, from the seeds that both of its runs have."""
    seeds = [seed for seed in plan.seeds if Job(claim.better, seed) in models and Job(claim.worse, seed) in models]
    stated = {**claim.model_dump(mode="json"), "corpora": list(plan.corpora_of(claim)), "seeds": seeds}
    if not seeds:
        return {**stated, "verdict": NOT_RUN}
    verdict_by, found = (judge_protocols, classifiers) if claim.protocols else (judge, models)
    better, worse = ([found[Job(run, seed)] for seed in seeds] for run in (claim.better, claim.worse))
    return {**stated, **verdict_by(claim, better, worse, plan.margin, plan.resamples)}
