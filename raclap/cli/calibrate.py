"""`raclap calibrate`: what a model's cosines mean."""

import argparse
from pathlib import Path


def add_calibrate(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "calibrate",
        help="fit what a model's cosines mean",
        description=(
            "Fits probabilities (Platt scaling: captions that fit against captions that do not, at even odds) and "
            "percentiles (against random clips and captions), and stores them in MODEL/config.json. Take pairs that "
            "the model was not trained on. A run does this by itself, on its validation rows."
        ),
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="exported model")
    parser.add_argument(
        "--manifest", nargs="+", action="extend", required=True, metavar="[NAME=]FILE", help="corpora; all weigh the "
        "same",
    )  # fmt: skip
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"), help="rows to use")
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifests say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and count them")
    parser.add_argument("--seed", type=int, default=0, help="of the captions that are drawn")
    parser.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.commands import calibrate_folder

    disable_progress_bar()
    calibrate_folder(
        arguments.model, arguments.manifest, arguments.split, arguments.audio_root, arguments.skip_bad, arguments.seed
    )
