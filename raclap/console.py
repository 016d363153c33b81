"""How the scripts speak to their user: errors that can be mended come without a traceback."""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from raclap.errors import RaClapError


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Prints a `RaClapError` to standard error and exits with 2; an interrupt exits with 130."""

    @functools.wraps(main)
    def run() -> None:
        try:
            main()
        except RaClapError as error:
            print(f"error: {_own_words(error)}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on", file=sys.stderr)
            sys.exit(130)

    return run


def named(argument: str, default: str = "") -> tuple[str, Path]:
    """`NAME=PATH` of a command line as a name and a path; a bare path takes the default name."""
    name, equals, path = argument.rpartition("=")
    return (name if equals else default), Path(path)


def named_model(argument: str) -> tuple[str, Path]:
    """`NAME=FOLDER` of an exported model; a bare folder is named after the run that it is of."""
    name, folder = named(argument)
    return name or folder.resolve().parent.name, folder


def positive(text: str) -> int:
    """A whole number above 0, as the type of an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _own_words(error: RaClapError) -> str:
    """What an error says, without the traceback that torch writes before it when it comes from a loader process."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()
