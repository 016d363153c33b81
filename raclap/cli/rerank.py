"""`raclap rerank`: choose among clips by how they sound."""

import argparse
from functools import partial
from pathlib import Path


def add_rerank(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "rerank",
        help="choose among clips by how they sound",
        description=(
            "Ranks clips by a caption (--text), by a clip that sounds as wanted (--reference), or by both, and prints "
            "the ranking as JSON; or, with --table, those of every prompt of a table, a JSON line a prompt."
        ),
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="exported model")
    clips = parser.add_argument(
        "clips", metavar="CLIPS", nargs="+", type=Path, help="recordings, or folders to search for them"
    )
    # With "*" the parser would take them for none as soon as an option stands between MODEL and CLIPS.
    clips.required = False
    parser.add_argument("--text", help="how the wanted speech sounds")
    parser.add_argument("--reference", type=Path, metavar="CLIP", help="a clip that sounds as wanted")
    parser.add_argument(
        "--reference-weight", type=float, default=0.5, metavar="W", help="score = (1 - W) · cosine with the caption + "
        "W · cosine with the reference, where there are both (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--table", type=Path, help="CSV, TSV, JSON, JSON lines or Parquet with the columns prompt, candidate, and, "
        "where there are such, reference and id (rows of one id are candidates for one choice)",
    )  # fmt: skip
    parser.add_argument(
        "--columns", nargs="+", action="extend", metavar="OURS=THEIRS", help="names of columns in the table"
    )
    parser.add_argument("--audio-root", type=Path, help="folder that paths in the table start from (default: its own)")
    parser.add_argument("--output", type=Path, metavar="FILE", help=".json or .jsonl to write instead of printing")
    parser.add_argument("--top", type=_at_least_one, metavar="K", help="keep the K best of each ranking")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows and recordings out, and list them")
    parser.set_defaults(run=partial(_rerank, parser))


def _at_least_one(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"'{word}'; expected a whole number, 1 or more")
    return int(word)


def _rerank(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    of_clips = {"CLIPS": arguments.clips, "--text": arguments.text, "--reference": arguments.reference}
    of_table = {"--columns": arguments.columns, "--audio-root": arguments.audio_root}
    strange = [name for name, value in (of_clips if arguments.table else of_table).items() if value is not None]
    if strange:
        parser.error(f"{strange[0]} is of no use {'with' if arguments.table else 'without'} --table")
    if not arguments.table and not arguments.clips:
        parser.error("no clips; name recordings or a folder of them, or --table")

    from transformers.utils.logging import disable_progress_bar

    from raclap.commands import rerank_clips, rerank_table
    from raclap.corpora.options import read_pairs

    disable_progress_bar()
    common = {name: getattr(arguments, name) for name in ("reference_weight", "output", "top", "skip_bad")}
    if arguments.table:
        columns = read_pairs("columns", arguments.columns or ())
        rerank_table(arguments.model, arguments.table, audio_root=arguments.audio_root, columns=columns, **common)
    else:
        rerank_clips(arguments.model, arguments.clips, arguments.text, arguments.reference, **common)
