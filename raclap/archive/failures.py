"""What keeps an index from being read or written, in one sentence of ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raclap.archive.address import is_address
from raclap.archive.facts import ArchiveError

_MOST = 200  # characters of a message that is not ours
_CAUSES = {
    "No space left": "the disk is full",
    "File too large": "a file grew over the limit of this system",
    "Disk quota": "the disk quota is used up",
    "Permission denied": "the folder is read-only for this user",
    "Operation not permitted": "the folder is read-only for this user",
    "Read-only file system": "the file system is read-only",
}


@contextmanager
def told(path: str | Path, is_there: bool = True) -> Iterator[None]:
    """Tells what keeps an index from being written.

    Args:
        path: of the index.
        is_there: whether there is something that can be said to be kept.

    Raises:
        ArchiveError: instead of what LanceDB, pyarrow or the system raises.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        message = str(error)
        cause = next((cause for sign, cause in _CAUSES.items() if sign in message), first_line(error))
        kept = "; the index is whole, as of its last commit" if is_there and not is_address(path) else ""
        raise ArchiveError(f"{path}: cannot be written, {cause}{kept}") from error


def first_line(error: Exception) -> str:
    """The first line of a message, without the place in LanceDB's source."""
    return reason(str(error))


def reason(message: str) -> str:
    """As `first_line`, of a text."""
    return re.sub(r",? ?/\S+\.rs:\d+:\d+", "", message.strip().partition("\n")[0])[:_MOST]
