"""`raclap report`: one page of all there is to see of a run."""

import argparse
import shlex
import sys
from pathlib import Path

from raclap.console import named, positive


def add_report(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "report",
        help="a page that shows a run: curves, figures, maps, mistakes to listen to",
        description=(
            "Measures the model of a run and writes one HTML page that needs no network: curves, retrieval with "
            "intervals, similarity of styles, a map of the embeddings, confusion matrices, calibration, and the worst "
            "queries with their sound. The run itself is not changed."
        ),
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run, as in runs/demo")
    parser.add_argument("output", metavar="OUT.html", nargs="?", type=Path, help="default: RUN/report.html")
    parser.add_argument("--last", action="store_true", help="the model of the last epoch, not of the best")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"),
                        help="rows to measure; keep test for when nothing will be changed any more")  # fmt: skip
    parser.add_argument("--protocol", nargs="+", action="extend", default=[], metavar="FILE", type=Path, help="of "
                        "zero-shot classification; default: the run's own, and every attribute")  # fmt: skip
    parser.add_argument("--worst", type=_count, default=4, metavar="N", help="worst queries of a corpus and direction")
    parser.add_argument("--no-sound", action="store_true", help="put no clips into the page")
    parser.add_argument("--manifest", action="append", default=[], metavar="NAME=FILE", help="where the manifest of a "
                        "corpus lies now, if not where the recipe says; may be repeated")  # fmt: skip
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifests say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and count them")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and of what is drawn")
    parser.add_argument("--resamples", type=positive, default=2000, help="bootstrap resamples")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.report.measured_corpus import Reading
    from raclap.report.writing import write_report

    disable_progress_bar()
    reading = Reading(
        split=arguments.split,
        audio_root=arguments.audio_root,
        manifests=dict(named(given) for given in arguments.manifest),
        skip_bad=arguments.skip_bad,
        seed=arguments.seed,
        resamples=arguments.resamples,
    )
    write_report(
        arguments.run_folder,
        arguments.output or arguments.run_folder / "report.html",
        reading,
        last=arguments.last,
        protocols=arguments.protocol,
        worst=arguments.worst,
        with_sound=not arguments.no_sound,
        command=shlex.join(["raclap", *sys.argv[1:]]),
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return value
