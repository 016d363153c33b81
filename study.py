"""Trains the runs of a plan, tests them and writes the page that compares them.

    python study.py --plan configuration/demo/study.yaml             # all of it; make study
    python study.py --plan configuration/demo/study.yaml --list      # what is done, what is left
    python study.py --plan PLAN.yaml --only ra_clap --seeds 0        # one run and those that it needs
    python study.py --plan PLAN.yaml --page-only                     # no training: the page from what is there

Every run is a process of train.py or distill.py. Started again, the study goes on where it stopped and trains nothing
twice. Each model is tested once on the test splits that the plan names; its values query by query are kept beside it,
and the page with its tables, intervals and verdicts is drawn from them, anew after each run.
"""

import argparse
import signal
from pathlib import Path

from raclap.console import exits_cleanly

SCRIPTS = Path(__file__).parent


def read_command_line() -> argparse.Namespace:
    """The plan, and what of it is to be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=Path("configuration/demo/study.yaml"), help="YAML file")
    parser.add_argument("--output", type=Path, help="folder of the runs and of study.json (default: the plan's)")
    parser.add_argument("--page", type=Path, help="page to write (default: the plan's)")
    parser.add_argument("--only", nargs="+", default=[], metavar="RUN", help="these runs, and those that they need")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="SEED", help="these seeds only")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="train N runs at once, threads shared out")
    parser.add_argument("--page-only", action="store_true", help="train nothing; missing runs are named on the page")
    parser.add_argument("--list", action="store_true", help="print what is done and what is left, and stop")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    return arguments


@exits_cleanly
def main() -> None:
    """Plan → runs → test values → study.json → page and figures."""
    arguments = read_command_line()
    # Ended from outside, the study ends the runs that it started, as it does at an interrupt.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from raclap.memory import keep_freed_memory

    keep_freed_memory()  # before torch is imported

    from transformers.utils.logging import disable_progress_bar

    from raclap.study.plan import Job, read_plan
    from raclap.study.publishing import publish
    from raclap.study.results import TestSets
    from raclap.study.running import Runner, check_runs, is_finished, why_failed

    disable_progress_bar()

    # 1. Everything that can be wrong with the plan is found before anything is run.
    plan = read_plan(arguments.plan, arguments.output, arguments.page)
    jobs = plan.jobs(arguments.only, arguments.seeds)
    check_runs(plan)
    if arguments.list:
        for job in jobs:
            print(f"{'done' if is_finished(plan, job) else 'left'}  {job}  {plan.runs[job.run].title}")
        return

    # 2. Test values of the runs that are there, then the other runs, each tested when it is done.
    tests = TestSets(plan)
    command = f"python study.py --plan {arguments.plan}"
    for job in filter(lambda job: is_finished(plan, job), plan.jobs()):
        tests.renew(job)

    def test_and_publish(job: Job) -> None:
        tests.renew(job)
        publish(plan, tests, command)

    failed = [] if arguments.page_only else Runner(plan, SCRIPTS, arguments.jobs).run(jobs, after=test_and_publish)

    # 3. The page.
    publish(plan, tests, command)
    print(f"wrote {plan.page}")
    if failed:
        raise why_failed(plan, failed)


if __name__ == "__main__":
    main()
