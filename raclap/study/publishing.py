"""Writing what a study found: study.json, the page and its figures, each whole or not at all."""

from raclap.files import write_json, write_text
from raclap.study.claims import NOT_RUN
from raclap.study.figures import save_claims, save_runs
from raclap.study.page import render_page
from raclap.study.plan import Plan
from raclap.study.record import gather
from raclap.study.results import TestSets


def publish(plan: Plan, tests: TestSets, command: str) -> None:
    """Writes `study.json` into the study's folder, and the page with its figures beside it.

    A file NAME_notes.md beside the page NAME.md is taken into it as it is.

    Args:
        plan: of the study.
        tests: where its test values are.
        command: that makes the page, to be named on it.
    """
    claims, runs, notes = (
        plan.page.with_name(f"{plan.page.stem}_{ending}") for ending in ("claims.png", "runs.png", "notes.md")
    )
    record = gather(plan, tests, command)
    write_json(plan.output / "study.json", record)
    if any(claim["verdict"] != NOT_RUN for claim in record["claims"]):
        save_claims(record, claims)
    if record["results"]:
        save_runs(record, runs)
    written = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    write_text(plan.page, render_page(record, claims.name, runs.name, written))
