"""Text files line by line, with the line at fault where one is no UTF-8 text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from raclap.errors import ManifestError

# Whatever wrote the file, a byte-order mark at its beginning is no part of the first column's name.
ENCODING = "utf-8-sig"


def lines_of(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of an open file.

    Raises:
        ManifestError: a line is not UTF-8, or holds a NUL, as UTF-16 and damaged files do.
    """
    try:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise ManifestError(f"{path}: line {number}: a NUL character; expected UTF-8 text")
            yield line
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error


def not_utf8(path: Path) -> ManifestError:
    """The error that names the first line at fault: text is decoded in blocks, which know of no lines."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return ManifestError(f"{path}: line {number}: not UTF-8 text ({error.reason})")
    return ManifestError(f"{path}: not UTF-8 text")
