"""Commits of several steps that readers see at once, or not at all.

LanceDB makes a version of its table at every step. What readers open is the version that bears a tag, and the tag is
moved when all steps of a commit are done: one small file that is replaced as a whole. Where a writer fails or is
killed amid a commit, its versions are nobody's, and whoever commits next goes on from the tagged one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

COMMIT_LOCK = ".commit"
_TAG = "whole"
_LEAST = timedelta(milliseconds=1)  # LanceDB warns of less


def start_commits(table: Any) -> None:
    """Marks the version of a table as the one that readers see."""
    table.tags.create(_TAG, table.version)


def open_committed(table: Any) -> None:
    """Turns to the version that the last whole commit made; without any, to the latest one."""
    tagged = table.tags.list().get(_TAG)
    if tagged is not None:
        table.checkout(tagged["version"])


@contextmanager
def committing(table: Any, folder: Path) -> Iterator[None]:
    """Makes one commit of what the block does to the table; the table is at a whole version before and after.

    Processes that write at the same time wait for one another.

    Args:
        table: of LanceDB.
        folder: of the index.

    Raises:
        OSError, RuntimeError, ValueError: of LanceDB and the system; nothing was committed.
    """
    with FileLock(folder / COMMIT_LOCK), _whole(table):
        yield


def compact(table: Any, folder: Path | None, keep: timedelta) -> None:
    """Merges small files, and deletes versions that are older than `keep`.

    Args:
        table: of LanceDB.
        folder: of the index; None in object storage, where versions bear no tag.
        keep: from now back.

    Raises:
        OSError, RuntimeError, ValueError: see `committing`.
    """
    if folder is None:
        table.optimize(cleanup_older_than=max(keep, _LEAST))
        return
    with FileLock(folder / COMMIT_LOCK):
        with _whole(table):
            pass
        table.tags.delete(_TAG)  # LanceDB deletes no version that bears one; the latest is whole meanwhile
        try:
            table.optimize(cleanup_older_than=max(keep, _LEAST))
        finally:
            start_commits(table)


@contextmanager
def _whole(table: Any) -> Iterator[None]:
    try:
        table.checkout_latest()
        tagged = table.tags.list().get(_TAG)
        if tagged is None:  # a writer was killed while it compacted
            start_commits(table)
        elif tagged["version"] != table.version:  # a writer was killed amid a commit
            table.checkout(tagged["version"])
            table.restore()
        yield
        table.tags.update(_TAG, table.version)
    except BaseException:
        open_committed(table)
        raise
