"""The `raclap` command: what the top-level scripts do not do. One file a command."""

import argparse

from raclap.cli.calibrate import add_calibrate
from raclap.cli.classify import add_classify
from raclap.cli.command_parser import CommandParser
from raclap.cli.convert import add_convert
from raclap.cli.export import add_export
from raclap.cli.index import add_index
from raclap.cli.prepare import add_prepare
from raclap.cli.push import add_push
from raclap.cli.report import add_report
from raclap.cli.rerank import add_rerank
from raclap.cli.search import add_search
from raclap.console import exits_cleanly

_COMMANDS = (
    add_prepare,
    add_convert,
    add_calibrate,
    add_classify,
    add_export,
    add_index,
    add_push,
    add_rerank,
    add_report,
    add_search,
)


@exits_cleanly
def main() -> None:
    """Parses the command line and runs the command it names."""
    parser = argparse.ArgumentParser(prog="raclap", description="Find, tag and judge speech by how it sounds.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=CommandParser)
    for add in _COMMANDS:
        add(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)
