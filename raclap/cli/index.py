"""`raclap index`: makes an archive of speech searchable by how it sounds."""

import argparse
from pathlib import Path


def add_index(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "index",
        help="make an archive of recordings searchable",
        description=(
            "Embeds an archive and keeps the vectors in INDEX. Long recordings are cut into overlapping windows; rows "
            "of a manifest are windows as they are. Stopped and started again it goes on where it was; run again it "
            "adds new recordings, renews changed ones and drops those that are gone. What cannot be read is listed in "
            "INDEX/unreadable.jsonl. Under accelerate launch the processes share the recordings."
        ),
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder of recordings, or manifest (.parquet)")
    parser.add_argument("index", metavar="INDEX", help="folder to make or bring up to date, or s3://bucket/index")
    parser.add_argument("--model", required=True, metavar="FOLDER", type=Path, help="exported model")
    parser.add_argument("--window", type=float, default=10.0, metavar="SECONDS", help="length (default 10)")
    parser.add_argument(
        "--hop", type=float, metavar="SECONDS", help="from one window to the next (default: half of --window)"
    )
    parser.add_argument(
        "--voice-activity", action="store_true", help="leave out windows without a voice (pip install raclap[voice])"
    )
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifest says")
    parser.set_defaults(run=_index)


def _index(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.archive.indexing import IndexSettings, index_archive
    from raclap.processes import join_processes

    disable_progress_bar()
    hop = arguments.window / 2 if arguments.hop is None else arguments.hop
    settings = IndexSettings(arguments.window, hop, arguments.voice_activity)
    report = index_archive(arguments.source, arguments.index, arguments.model, settings, arguments.audio_root)
    if join_processes().is_main_process:
        print(report.summary(arguments.index))
