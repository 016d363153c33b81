"""`raclap index`: makes an archive of speech searchable by how it sounds."""

import argparse
from dataclasses import replace
from pathlib import Path


def add_index(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "index",
        help="make an archive of recordings searchable",
        description=(
            "Embeds an archive and keeps the vectors in INDEX. SOURCE is a folder of recordings; a manifest; or a "
            "data set: hf://datasets/NAME on the Hub, a folder that save_to_disk wrote, or Parquet with recordings in "
            "its rows. Long recordings are cut into overlapping windows; rows of a manifest are windows as they are. "
            "Columns of manifests and data sets can be searched by (raclap search --where). Stopped and started again "
            "it goes on where it was; run again it adds new recordings, renews changed ones and drops those that are "
            "gone. What cannot be read is listed in INDEX/unreadable.jsonl. Under accelerate launch the processes "
            "share the recordings."
        ),
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder of recordings, manifest (.parquet), or data set (hf://datasets/NAME)"
    )
    parser.add_argument("index", metavar="INDEX", help="folder to make or bring up to date, or s3://bucket/index")
    parser.add_argument("--model", required=True, metavar="FOLDER", type=Path, help="exported model")
    parser.add_argument(
        "--recipe", metavar="FILE", type=Path, help="YAML with window_seconds, hop_seconds, voice_activity and "
        "commit_seconds; what follows goes before it",
    )  # fmt: skip
    parser.add_argument("--window", type=float, metavar="SECONDS", help="length (default 10)")
    parser.add_argument(
        "--hop", type=float, metavar="SECONDS", help="from one window to the next (default: half of --window)"
    )
    parser.add_argument(
        "--voice-activity", action=argparse.BooleanOptionalAction, help="leave out windows without a voice (pip "
        "install raclap[voice])",
    )  # fmt: skip
    parser.add_argument("--audio-root", type=Path, help="where the audio lies, if not where the manifest says")
    _add_dataset_options(parser.add_argument_group("data sets"))
    parser.set_defaults(run=_index)


def _add_dataset_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--config", metavar="NAME", help="configuration, where the data set has several")
    group.add_argument(
        "--split", action="append", metavar="NAME", help="read this split only; may be repeated (default: all)"
    )
    group.add_argument("--audio-column", metavar="NAME", help="column of the recordings, where there are several")
    group.add_argument("--revision", metavar="REVISION", help="branch, tag or commit on the Hub (default: main)")
    group.add_argument(
        "--dataset", action="store_true", help="read a folder with the library datasets, which finds the metadata "
        "beside its recordings, and tar shards"
    )  # fmt: skip


def _index(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from raclap.archive.dataset_address import DatasetOptions
    from raclap.archive.indexing import index_archive
    from raclap.archive.recipe import IndexSettings, read_index_settings
    from raclap.processes import join_processes

    disable_progress_bar()
    given = {
        "window_seconds": arguments.window,
        "hop_seconds": arguments.hop,
        "voice_activity": arguments.voice_activity,
    }
    recipe = IndexSettings() if arguments.recipe is None else read_index_settings(arguments.recipe)
    settings = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    dataset = DatasetOptions(
        arguments.config, tuple(arguments.split or ()), arguments.audio_column, arguments.revision, arguments.dataset
    )
    report = index_archive(
        arguments.source, arguments.index, arguments.model, settings, arguments.audio_root, dataset=dataset
    )
    if join_processes().is_main_process:
        print(report.summary(arguments.index))
