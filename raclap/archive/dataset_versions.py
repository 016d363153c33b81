"""Numbers that tell whether a file of a data set is the one that it was, without reading it."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any


class FileVersions:
    """Versions of the files of a data set: of git's object on the Hub, of size and time on this machine.

    Args:
        on_hub: `hf://datasets/NAME@COMMIT`; empty for files of this machine.
    """

    def __init__(self, on_hub: str = ""):
        self._on_hub = on_hub

    def of(self, *words: str, files: list[str]) -> int:
        """One number, from 0 to 2^63 - 1, for all of some files.

        Args:
            *words: what else makes them another.
            files: paths, or addresses; of a file in an archive, the archive's counts.

        Raises:
            OSError: a file is not there, or the Hub does not answer.
        """
        told = "\0".join([*words, *(self._told(file.rpartition("::")[2]) for file in files)])
        return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest()) >> 1

    def size(self, file: str) -> int:
        """Bytes of a file of the repository; 0 where it is inside an archive or elsewhere.

        Raises:
            OSError: it is not there, or the Hub does not answer.
        """
        return self._listed(file)["size"] if self._is_own(file) else 0

    def _told(self, file: str) -> str:
        if self._is_own(file):
            return self._listed(file)["blob_id"]
        if "://" in file:
            return file
        status = Path(file).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def _is_own(self, file: str) -> bool:
        return bool(self._on_hub) and file.startswith(f"{self._on_hub}/")

    def _listed(self, file: str) -> dict[str, Any]:
        try:
            return self._listing[file.removeprefix("hf://")]
        except KeyError:
            raise FileNotFoundError(f"{file}: no such file") from None

    @cached_property
    def _listing(self) -> dict[str, dict[str, Any]]:
        """Of all files of the repository: one question for a thousand of them."""
        import huggingface_hub

        return huggingface_hub.HfFileSystem().find(self._on_hub.removeprefix("hf://"), detail=True)
