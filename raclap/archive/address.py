"""Small text files of an index, in a folder or in object storage.

In a folder they are written beside and renamed; in object storage an object appears when all of it has arrived.
"""

from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from raclap.files import write_text


def is_address(path: str | Path) -> bool:
    """Whether this is object storage (`s3://bucket/index`) and no folder."""
    return isinstance(path, str) and "://" in path


def file_exists(path: str | Path, name: str) -> bool:
    """Whether an index has this file.

    Raises:
        OSError: nobody knows, since the storage does not answer.
    """
    if not is_address(path):
        return (Path(path) / name).is_file()
    store, key = _storage(str(path))
    return store.get_file_info(f"{key}/{name}").type == fs.FileType.File


def read_file(path: str | Path, name: str) -> str:
    """The text of a file, in UTF-8.

    Raises:
        OSError: it is missing, or cannot be read.
    """
    if not is_address(path):
        return (Path(path) / name).read_text(encoding="utf-8")
    store, key = _storage(str(path))
    with store.open_input_stream(f"{key}/{name}") as stream:
        return stream.read().decode("utf-8")


def write_file(path: str | Path, name: str, text: str) -> None:
    """Writes a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    if not is_address(path):
        write_text(Path(path) / name, text)
        return
    store, key = _storage(str(path))
    with store.open_output_stream(f"{key}/{name}") as stream:
        stream.write(text.encode("utf-8"))


def _storage(address: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OSError(f"expected an address such as s3://bucket/index; {error}") from error
