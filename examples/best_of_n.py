"""Speaks prompts ten times each with random settings, lets models choose, and counts what the chosen clips have.

    python examples/best_of_n.py --model runs/demo/export
    python examples/best_of_n.py --model intrinsic=runs/siblings/seed0/intrinsic/export --model combined=FOLDER

The table goes to a page, with random choice and the best possible beside the models; all figures go to a JSON file.
"""

import argparse
import shlex
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from raclap.console import exits_cleanly, named_model


def read_command_line() -> argparse.Namespace:
    """Which models choose, among what, and where the results go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", required=True, metavar="[NAME=]FOLDER", help="exported model; may be repeated"
    )
    parser.add_argument("--corpus", default="craft_like", help="embedded corpus that voices and words are those of")
    parser.add_argument("--prompts", type=int, default=200, help="number of prompts")
    parser.add_argument("--takes", type=int, default=10, help="clips spoken for each prompt")
    parser.add_argument("--named", type=int, nargs=2, default=(2, 4), metavar=("LEAST", "MOST"),
                        help="attributes that a prompt names")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of prompts and takes")
    parser.add_argument("--clips", type=Path, help="folder to keep the clips in (default: they are thrown away)")
    parser.add_argument("--jobs", type=int, help="processes that speak (default: one for each processor)")
    parser.add_argument("--output", type=Path, default=Path("runs/best_of_n.json"), help="JSON file to write")
    parser.add_argument("--page", type=Path, default=Path("docs/best_of_n.md"), help="Markdown file to write")
    return parser.parse_args()


@exits_cleanly
def main() -> None:
    """Prompts → takes → scores of every model → JSON and page."""
    arguments = read_command_line()

    from dataclasses import asdict

    from raclap.errors import RaClapError
    from raclap.files import write_json, write_text
    from raclap.model_folder import load_model_folder
    from raclap.processes import join_processes
    from raclap.provenance import versions
    from raclap.retrieval.rerank import Reranker
    from raclap.study.best_of_n import Setting, compare_choices, draw_trial, score_takes, speak_trial
    from raclap.study.best_of_n_page import render_best_of_n

    folders = [named_model(argument) for argument in arguments.model]
    if len(dict(folders)) < len(folders):
        raise RaClapError("two models have one name; write NAME=FOLDER")
    setting = Setting(arguments.corpus, arguments.prompts, arguments.takes, *arguments.named, arguments.seed)
    trial = draw_trial(setting)
    keep = arguments.clips
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="raclap-best-of-n-") as clips:
        # A folder that is made for the purpose is empty, as `speak_trial` wants it.
        speak_trial(trial, Path(clips), arguments.jobs)
        scores = {}
        for name, folder in folders:
            model, processor = load_model_folder(folder)
            scores[name] = score_takes(Reranker(model.to(join_processes().device), processor), trial, Path(clips))

    record = {
        "command": shlex.join(["python", *sys.argv]),
        "versions": versions(),
        "setting": asdict(setting),
        "models_from": {name: str(folder) for name, folder in folders},
        "example": trial.prompts[0].text,
        **compare_choices(trial, scores),
    }
    write_json(arguments.output, record)
    write_text(arguments.page, render_best_of_n(record))
    print(f"wrote {arguments.output} and {arguments.page}")


if __name__ == "__main__":
    main()
