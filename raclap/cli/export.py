"""`raclap export`: a run becomes a folder for the Hub."""

import argparse
import re
from pathlib import Path

_DESCRIPTION = """
Writes the best model of a run as a folder that works on the Hub and without it, with a card that is filled in from
what the run wrote down. No figure is typed by hand, and the licence follows from those of the data. OUT is written
whole or not at all; an older export in its place is replaced."""
_EPILOG = """
what OUT holds:
  weights (safetensors, sharded above --shard-size), configurations, tokenizer and the code that AutoModel runs;
  README.md, the card, with the figures of this model and their intervals; training_data.json, what it learned from;
  handler.py and requirements.txt for an Inference Endpoint; examples/, clips that the card shows.

examples:
  raclap export runs/demo out/demo
  raclap export runs/demo out/demo --results results.intervals.json --repo-id USER/NAME
  raclap export runs/demo out/demo --examples my_clips --onnx

then: raclap push out/demo USER/NAME
"""


def add_export(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "export",
        help="turn a run into a folder for the Hub",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder of train.py or distill.py")
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to make")
    parser.add_argument("--last", action="store_true", help="the last epoch, in place of the best")
    parser.add_argument("--repo-id", metavar="USER/NAME", help="name on the Hub, for the card")
    parser.add_argument(
        "--shard-size", type=_size, default="5GB", metavar="SIZE", help="split weights above it, such as 500MB or 5GB"
    )
    parser.add_argument(
        "--results", nargs="+", action="extend", default=[], type=Path, metavar="FILE",
        help="results of evaluate_retrieval.py --output, NAME.intervals.json; they must be of the exported weights "
        "(RUN/*.intervals.json are looked through anyway)",
    )  # fmt: skip
    parser.add_argument(
        "--examples", type=Path, metavar="FOLDER",
        help="recordings for the card (default: validation clips whose licence lets them be handed on)",
    )  # fmt: skip
    parser.add_argument(
        "--examples-count", type=int, choices=range(11), default=3, metavar="N", help="clips in the card, 0 to 10"
    )
    parser.add_argument(
        "--template", type=Path, metavar="FILE",
        help="another card template than model_card.md of this repository (Jinja2); a value that it asks for and this "
        "model does not have is an error",
    )  # fmt: skip
    parser.add_argument("--onnx", action="store_true", help="write both towers for ONNX Runtime too, and check them")
    parser.set_defaults(run=_export)


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(KB|MB|GB)", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 500MB or 5GB")
    return text


def _export(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.exporting import ExportOptions, export_run
    from raclap.hub.card import TEMPLATE

    disable_progress_bar()
    options = ExportOptions(
        last=arguments.last,
        repo_id=arguments.repo_id,
        shard_size=arguments.shard_size,
        results=tuple(arguments.results),
        examples=arguments.examples,
        examples_count=arguments.examples_count,
        template=arguments.template or TEMPLATE,
        onnx=arguments.onnx,
    )
    export_run(arguments.run_folder, arguments.output, options)
