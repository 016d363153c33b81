"""A folder of recordings as the source of an index."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raclap.archive.facts import ArchiveError
from raclap.archive.sources import Entry, Source, Unreadable, looked_at
from raclap.corpora.listing import AUDIO_SUFFIXES


@dataclass
class FolderSource(Source):
    """All recordings below a folder, listed folder by folder; hidden files and folders are passed over.

    Attributes:
        root: the folder, resolved.
    """

    root: Path
    _others: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """The folder."""
        return self.root.as_posix()

    @property
    def nothing_found(self) -> str:
        """A sentence; call it after having gone through the folder."""
        kinds = ", ".join(AUDIO_SUFFIXES)
        if self._others:
            return f"{self.root}: none of the {self._others:,} files below it is a recording ({kinds})"
        return f"{self.root}: an empty folder; expected recordings ({kinds})"

    def __iter__(self) -> Iterator[Entry]:
        self._others = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as listed:
                    entries = sorted((entry for entry in listed if entry.name[0] != "."), key=lambda entry: entry.name)
            except OSError as error:
                if not folder:
                    raise ArchiveError(f"{self.root}: cannot be listed ({error.strerror})") from error
                yield Unreadable(f"{folder}/", f"the folder cannot be listed ({error.strerror})")
                continue
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            folders.extend(f"{folder}/{name}".lstrip("/") for name in reversed(below))
            for entry in entries:
                if Path(entry.name).suffix.lower() in AUDIO_SUFFIXES and not entry.is_dir():
                    yield self._recording(entry, f"{folder}/{entry.name}".lstrip("/"))
                elif not entry.is_dir():
                    self._others += 1

    def _recording(self, entry: os.DirEntry, name: str) -> Entry:
        path = Path(entry.path)
        if not _is_text(name):
            return Unreadable(name, "its name is not UTF-8")
        if entry.is_symlink() and not path.resolve().is_relative_to(self.root):
            return Unreadable(name, f"a link that leads out of {self.root}")
        return looked_at(name, path)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
