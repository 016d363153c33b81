"""Tables too large for memory, kept as Arrow files that are mapped: the system reads the pages that are asked for.

Such a file lies beside the manifest that it was made of, or, where that folder cannot be written, in the user's cache.
Its name ends in a digest of what it was made of, so that it is never taken for another; it is there whole or not at
all.
"""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa

from raclap.data.manifest_files import ManifestFiles
from raclap.errors import ManifestError
from raclap.files import replacing

_ELSEWHERE = Path("~/.cache/raclap/rows")


def mapped_table(
    files: ManifestFiles, part: str, schema: pa.Schema, tables: Callable[[], Iterable[pa.Table]]
) -> pa.Table:
    """Rows of a manifest as a mapped table, made when they are first asked for.

    Args:
        files: what the rows are made of.
        part: says which of its rows; begins the name of the file.
        schema: of the rows.
        tables: gives the rows, in order; called only where they have to be made.

    Raises:
        ManifestError: there is no room for them, or from `tables`.
    """
    digest = files_digest(files, str(schema))[:16]
    place = _folder(files) / f".{files.path.stem}-{part}-{digest}.arrow"
    if not place.is_file():
        try:
            _write(place, schema, tables())
        except OSError as error:
            raise ManifestError(f"{files.path}: its rows cannot be kept in {place.parent} ({error})") from error
        _remove_older(place)
    # A mapped table holds its file open, even one that another process replaces meanwhile.
    return pa.ipc.open_file(pa.memory_map(str(place))).read_all()


def files_digest(files: ManifestFiles, more: str = "") -> str:
    """SHA-256 of the contents of a manifest's files, wherever they lie, and of some text."""
    digest = hashlib.sha256(more.encode())
    for path in files.files:
        status = path.stat()
        digest.update(_file_digest(path, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, changed: int) -> bytes:
    """A run asks several times for files of gigabytes; one of the same size and time has not changed meanwhile."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder(files: ManifestFiles) -> Path:
    beside = files.files[0].resolve().parent
    if os.access(beside, os.W_OK):
        return beside
    return _ELSEWHERE.expanduser() / hashlib.sha256(str(beside).encode()).hexdigest()[:16]


def _write(place: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with replacing(place) as beside, pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _remove_older(place: Path) -> None:
    """Removes what was made of earlier contents of the same manifest."""
    older = re.compile(re.escape(place.name[:-22]) + r"[0-9a-f]{16}\.arrow")
    for path in place.parent.iterdir():
        if older.fullmatch(path.name) and path != place:
            path.unlink(missing_ok=True)
