"""How data sets and the rows of them are called: in a command, and in an index.

    hf://datasets/somebody/voices                     a data set of the Hub, as the source of an index
    hf://datasets/somebody/voices?config=clean        what names of recordings start from, in the column `root`
    hf://datasets/somebody/voices@SHA/data/train-00000-of-00002.parquet#column=audio&row=12
                                                      a recording of it, in the column `dataset_row`

What lies on this machine is called `file:///...` in the place of `hf://datasets/...`. A recording that is a file of
its own has the address of that file. One in a row that the library `datasets` alone can reach (tar archives and the
like) is told by the part of the split: `hf://datasets/somebody/voices@SHA?config=c&split=s&part=3#column=wav&row=12`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

from raclap.archive.facts import ArchiveError

HUB = "hf://datasets/"
_FILE = "file://"
_ON_HUB = re.compile(r"hf://datasets/(?P<name>[^/@?#]+(?:/[^/@?#]+)?)(?:@(?P<revision>[^?#]+))?/?")
_COMMIT = re.compile(r"hf://datasets/[^/@]+(?:/[^/@]+)?@(?P<commit>[^/]+)/")
_PLAIN = "/:@"  # signs of a path that need no escape
ONLY_CONFIG = "default"  # what the library calls the configuration of a data set that has one only


@dataclass(frozen=True)
class DatasetOptions:
    """Which rows of a data set are meant, and where their recordings are.

    Attributes:
        config: the configuration; None: the only one, or the one that the data set names.
        splits: some of its splits; none: all.
        audio_column: the column of recordings; None: the only one.
        revision: of a data set on the Hub: a branch, tag or commit; None: the main branch.
        is_dataset: read a folder as a data set that could be read as recordings too.
    """

    config: str | None = None
    splits: tuple[str, ...] = ()
    audio_column: str | None = None
    revision: str | None = None
    is_dataset: bool = False

    @property
    def given(self) -> list[str]:
        """The options of the command that were given."""
        values = {
            "--config": self.config,
            "--split": self.splits,
            "--audio-column": self.audio_column,
            "--revision": self.revision,
            "--dataset": self.is_dataset,
        }
        return [name for name, value in values.items() if value]


def is_on_hub(source: object) -> bool:
    """Whether a source is an address of the Hub."""
    return isinstance(source, str) and source.startswith("hf:")


def read_hub_address(source: str, revision: str | None = None) -> tuple[str, str | None]:
    """Name and revision of a data set.

    Args:
        source: `hf://datasets/NAME`, or `hf://datasets/NAME@REVISION`.
        revision: that was given beside it.

    Raises:
        ArchiveError: it is another address, or two revisions are given.

    Example:
        >>> read_hub_address("hf://datasets/somebody/voices@v1")
        ('somebody/voices', 'v1')
    """
    found = _ON_HUB.fullmatch(source)
    if found is None:
        raise ArchiveError(f"{source}: expected hf://datasets/NAME, such as hf://datasets/somebody/voices")
    own = None if found["revision"] is None else unquote(found["revision"])
    if own and revision and own != revision:
        raise ArchiveError(f"{source}: names the revision '{own}', and --revision '{revision}'")
    return found["name"], own or revision


def commit_of(file: str) -> str | None:
    """The commit in the address of a file on the Hub."""
    found = _COMMIT.match(file)
    return None if found is None else found["commit"]


def root_of(base: str, config: str) -> str:
    """What an index calls one configuration of a data set; it is the same at every revision.

    Args:
        base: `hf://datasets/NAME`, or `file:///FOLDER`.
        config: its configuration.
    """
    return base if config == ONLY_CONFIG else f"{base}?{urlencode({'config': config})}"


def folder_of(address: str) -> Path | None:
    """The file or folder of this machine that an address is of; None where it is on the Hub.

    Example:
        >>> folder_of("file:///data/my%20voices?config=clean"), folder_of("hf://datasets/somebody/voices")
        (PosixPath('/data/my voices'), None)
    """
    if not address.startswith(_FILE):
        return None
    return Path(unquote(address.removeprefix(_FILE).partition("?")[0].partition("#")[0]))


@dataclass(frozen=True)
class RowAddress:
    """Where the bytes of a recording are.

    Attributes:
        file: path of a data file, or of the recording itself; with `part`, the data set: `hf://...`, or a path. A
            recording in an archive is `zip://NAME::ARCHIVE`.
        column: of recordings, if they are in rows.
        row: in the file or part, from 0; None where the file is the recording.
        part: configuration, split and number of the part, for rows that the library `datasets` alone can reach.
    """

    file: str
    column: str | None = None
    row: int | None = None
    part: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        is_path = "://" not in self.file
        text = _FILE + quote(self.file) if is_path else quote(self.file, safe=_PLAIN)
        if self.part:
            text += f"?{urlencode(self.part)}"
        return text if self.row is None else f"{text}#{urlencode({'column': self.column, 'row': self.row})}"

    @classmethod
    def read(cls, text: str) -> Self:
        """What `str` gave.

        Raises:
            ValueError: it is no such address.
        """
        before, _, place = text.partition("#")
        file, _, part = before.partition("?")
        values = dict(parse_qsl(place, strict_parsing=bool(place), keep_blank_values=True))
        row = int(values["row"]) if place else None
        return cls(unquote(file.removeprefix(_FILE)), values.get("column"), row, dict(parse_qsl(part)))
