"""Zero-shot classification by one or several models: classes are sentences, a clip is of the class nearest to it.

By protocol: a file that pins classes, sentences and rows (configuration/protocols; docs/classification.md).
    python evaluate_classification.py --model runs/ravdess_emotion/export \\
        --task configuration/protocols/ravdess_8.yaml CORPUS/manifest.parquet --split validation

By column: whatever a manifest has, an attribute, a tag group (the GROUP of tags GROUP:TAG) or a column; its values are
the classes, put into a template.
    python evaluate_classification.py --model a=runs/a/export --model b=runs/b/export \\
        --column emotion CORPUS/manifest.parquet --column speed CORPUS/manifest.parquet \\
        --template "A person speaking in a {} voice." --template "The voice sounds {}." \\
        --output results.json --figure confusion.png --page results.md

Accuracy, unweighted average recall (UAR) and macro-F1 come with 95 % bootstrap intervals over speakers. Clips without
a label, with several classes, or with a label that the protocol leaves out are counted. Several processes share the
embedding: accelerate launch evaluate_classification.py ...
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from raclap.console import exits_cleanly, named, named_model, positive


def read_command_line() -> argparse.Namespace:
    """What to classify, by what, and where the results go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", required=True, metavar="[NAME=]FOLDER", help="exported model; may be repeated"
    )
    parser.add_argument("--task", action="append", nargs=2, default=[], metavar=("PROTOCOL", "[NAME=]MANIFEST"),
                        help="a protocol file and the corpus to try it on; may be repeated")  # fmt: skip
    parser.add_argument("--column", action="append", nargs=2, default=[], metavar=("COLUMN", "[NAME=]MANIFEST"),
                        help="attribute, tag group or column; its values are classes; may be repeated")  # fmt: skip
    parser.add_argument("--template", action="append", metavar="TEXT", help="sentence for --column, {} where the "
                        "value stands; several are averaged; default: A person speaking in a {} voice.")  # fmt: skip
    parser.add_argument("--split", choices=("train", "validation", "test"),
                        help="rows to use; default: the protocol's, and test for --column")  # fmt: skip
    parser.add_argument("--output", type=Path, help="JSON: figures, intervals, confusion matrices, what was left out")
    parser.add_argument("--figure", type=Path, help="PNG of the confusion matrices")
    parser.add_argument("--page", type=Path, help="Markdown page of the results, with what it takes to repeat them")
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifests say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad recordings out, and count them")
    parser.add_argument("--resamples", type=positive, default=2000, help="bootstrap resamples")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    arguments = parser.parse_args()
    if not arguments.task and not arguments.column:
        parser.error("nothing to classify: give --task PROTOCOL MANIFEST or --column COLUMN MANIFEST")
    names = [named_model(given)[0] for given in arguments.model]
    if len(set(names)) < len(names):
        parser.error(f"two models have the same name ({', '.join(names)}); name them, as in --model a=FOLDER")
    if arguments.template and not arguments.column:
        parser.error("--template is for --column; a protocol has its own sentences")
    return arguments


@exits_cleanly
def main() -> None:
    """Models × tasks → embeddings → nearest classes → table, JSON, figure and page."""
    arguments = read_command_line()

    from raclap.memory import keep_freed_memory

    keep_freed_memory()  # before torch is imported

    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from raclap.files import write_json, write_text
    from raclap.model_folder import load_model_folder
    from raclap.processes import join_processes
    from raclap.provenance import versions
    from raclap.retrieval.classification_page import render_page
    from raclap.retrieval.classification_reporting import classification_json, classification_table
    from raclap.retrieval.classification_tasks import evaluate_tasks, read_tasks
    from raclap.retrieval.confusion_figure import save_confusions

    disable_progress_bar()
    state = join_processes()
    tasks = read_tasks(
        [(protocol, *named(manifest)) for protocol, manifest in arguments.task],
        [(column, *named(manifest)) for column, manifest in arguments.column],
        arguments.template,
        arguments.split,
        arguments.audio_root,
    )
    evaluations = []
    for given in arguments.model:
        name, folder = named_model(given)
        model, processor = load_model_folder(folder)
        evaluations += evaluate_tasks(
            model.to(state.device), processor, tasks, name,
            arguments.skip_bad, arguments.resamples, arguments.seed,
        )  # fmt: skip

    if not state.is_main_process:
        return
    Console(width=max(Console().width, 110)).print(classification_table(evaluations))
    command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    if arguments.output:
        write_json(arguments.output, classification_json(evaluations, command, versions()))
    if arguments.figure:
        save_confusions(evaluations, arguments.figure)
    if arguments.page:
        figure = arguments.figure and Path(os.path.relpath(arguments.figure, arguments.page.parent)).as_posix()
        write_text(arguments.page, render_page(evaluations, command, versions(), figure))


if __name__ == "__main__":
    main()
