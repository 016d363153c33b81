"""`raclap classify`: what an archive holds, by a vocabulary of styles."""

import argparse
from pathlib import Path


def add_classify(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "classify",
        help="score an indexed archive against a vocabulary of styles",
        description=(
            "Scores every window of an index against labels, from the stored vectors alone (no audio is read), prints "
            "hours by label, and writes the probabilities as Parquet."
        ),
    )
    parser.add_argument("index", metavar="INDEX", help="what `raclap index` made")
    parser.add_argument(
        "--labels", nargs="+", action="extend", required=True, metavar="[NAME=]FILE", help="protocols "
        "(configuration/protocols), or lists of labels, one a line, LABEL or GROUP:LABEL (text or CSV)",
    )  # fmt: skip
    parser.add_argument(
        "--template", action="append", metavar="TEXT", help="sentence for the labels of a list, {} where the label "
        "stands; several are averaged (default: A person speaking in a {} voice.)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE.parquet", help="where the probabilities go")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="picture of the hours by label")
    parser.add_argument("--where", metavar="SQL", help="rows to score, as in \"sex = 'female' and duration > 3\"")
    parser.add_argument(
        "--threshold", type=_share, default=0.0, metavar="P", help="least probability of a best label (default: 0)"
    )
    parser.add_argument("--by-recording", action="store_true", help="score whole recordings instead of windows")
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="the model that made the index, if it lies elsewhere by now"
    )
    parser.set_defaults(run=_classify)


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{word}'; expected a probability, 0 to 1")
    return value


def _classify(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from raclap.archive.facts import ArchiveError
    from raclap.archive.opening import open_with_model
    from raclap.archive.tag_figure import save_tag_figure, tag_note, tag_table
    from raclap.archive.tagging import tag_archive
    from raclap.archive.vocabulary import read_vocabulary

    for path, suffix in ((arguments.output, ".parquet"), (arguments.figure, ".png")):
        if path is not None and path.suffix.lower() != suffix:
            raise ArchiveError(f"{path}: expected a name that ends in {suffix}")
    disable_progress_bar()
    groups = read_vocabulary(arguments.labels, arguments.template)
    index, model, processor = open_with_model(arguments.index, arguments.model)
    summary = tag_archive(
        index, model, processor, groups, arguments.output, arguments.where, arguments.threshold,
        arguments.by_recording,
    )  # fmt: skip
    console = Console(width=max(Console().width, 100))
    console.print(tag_table(summary))
    console.print(tag_note(summary), highlight=False)
    if arguments.figure:
        save_tag_figure(summary, arguments.figure)
