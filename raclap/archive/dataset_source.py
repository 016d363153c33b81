"""The rows of a data set as the recordings of an archive.

A recording is called after its split and the path that the data set gives it, `train/a/b.flac`; where there is no
path, or an earlier row has it, after its split, data file and row, `train/00003/000042`. It is as it was if the data
file that holds it is: only rows of changed files are read again, and their hashes tell which of them have changed.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from raclap.archive.columns import ROW_COLUMNS
from raclap.archive.dataset_address import RowAddress
from raclap.archive.dataset_columns import DatasetColumns, columns_of
from raclap.archive.dataset_failures import is_unreachable
from raclap.archive.dataset_opening import OpenDataset
from raclap.archive.dataset_parts import Part, Unit
from raclap.archive.facts import ArchiveError
from raclap.archive.sources import Entry, Fact, Source, SourceRecording, Unreadable
from raclap.corpora.hub_dataset import failures, fetch_recording, first_line
from raclap.data.audio import AudioBytes
from raclap.errors import AudioError

_NUMBERED = re.compile(r"\d{5}/\d{6}")
_ON_HUB = re.compile(r"hf://datasets/(?:[^/@]+/)?[^/@]+@[^/]+/")
_SLOW_SECONDS = 2.0  # after which a bar is shown


class DatasetSource(Source):
    """An open data set, gone through part by part.

    Args:
        dataset: open.
        progress: show a bar while rows are looked at.
    """

    def __init__(self, dataset: OpenDataset, progress: bool = False):
        self.root = self.name = dataset.root
        self._dataset = dataset
        self._progress = progress
        self._rows = DatasetColumns(dataset.name, columns_of(dataset.row_schema, dataset.features))
        self.columns = tuple(field.name for field in self._rows.fields)
        self.added_fields = tuple(field for field in self._rows.fields if field.name not in ROW_COLUMNS)
        self._numbers = _numbered_by_split(dataset.parts)
        self.has_numbers = False
        self._repeated: dict[int, set[int]] = {}  # rows by part whose path an earlier row has
        self._broken: set[int] = set()

    @property
    def nothing_found(self) -> str:
        """A sentence for a data set without rows."""
        return f"{self.root}: a data set without rows"

    def covers(self, name: str) -> bool:
        """Whether a recording of this name would have been seen: rows of splits that are not read stay as they are."""
        splits = self._dataset.splits
        return not splits or name.startswith(tuple(f"{split}/" for split in splits))

    def __iter__(self) -> Iterator[Entry]:
        """Every row once, without what it sounds like: sizes are about right."""
        self._repeated, self._broken = {}, set()
        seen: set[int] = set()
        parts = tqdm(
            self._dataset.parts, desc="looking at the data set", unit="file", delay=_SLOW_SECONDS, leave=False,
            disable=not self._progress,
        )  # fmt: skip
        for number, part in enumerate(parts):
            try:
                for unit in part.units():
                    self._tell_apart(number, part, unit, seen)
                    yield from self._entries(number, part, unit)
            except failures() as error:
                self._broken.add(number)
                yield self._unreadable(number, part, error)

    def waiting(
        self, is_wanted: Callable[[Entry], bool], parts: Collection[int], own: int, processes: int
    ) -> Iterator[Entry]:
        """Recordings with what is to be read of them, after the whole has been gone through once.

        Args:
            is_wanted: tells those that the index does not have as they are.
            parts: those of the source that hold such.
            own: number of this process.
            processes: that share the work.
        """
        for number in sorted(parts):
            part = self._dataset.parts[number]
            is_own = number % processes == own
            try:
                if part.is_divisible or is_own:
                    for place, unit in enumerate(part.units()):
                        if not part.is_divisible or (number + place) % processes == own:
                            yield from self._read(number, part, unit, is_wanted)
            except failures() as error:
                if is_own or number not in self._broken:  # what nobody could look at is listed once
                    yield self._unreadable(number, part, error)

    def _read(self, number: int, part: Part, unit: Unit, is_wanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        entries = [entry if is_wanted(entry) else None for entry in self._entries(number, part, unit)]
        inside = any(isinstance(entry, SourceRecording) and entry.path is None for entry in entries)
        values = unit.recordings() if inside else repeat(None, len(entries))
        for entry, value in zip(entries, values, strict=True):
            if isinstance(entry, SourceRecording) and entry.path is None:
                yield self._with_sound(entry, value)
            elif entry is not None:
                yield entry

    def _entries(self, number: int, part: Part, unit: Unit) -> Iterator[Entry]:
        facts = self._rows.facts(unit.rows, part.split, len(unit.paths))
        for place, (path, is_file, own) in enumerate(zip(unit.paths, unit.are_files, facts, strict=True)):
            row = unit.first + place
            name = self._name(number, part, row, path)
            if is_file:
                yield (self._addressed if "://" in path else self._file)(name, path, own, number)
            else:
                address = str(part.address(row))
                yield SourceRecording(name, None, unit.row_bytes, part.version, (), address, own, number)

    def _addressed(self, name: str, path: str, facts: tuple[Fact, ...], part: int) -> Entry:
        """A recording that is a file on the Hub, or in an archive."""
        versions = self._dataset.versions
        try:
            size, version = versions.size(path), versions.of(files=[path])
        except OSError as error:
            self._check_reached(error)
            return Unreadable(name, f"'{path}' cannot be looked at ({first_line(error)})", part)
        return SourceRecording(name, None, size, version, (), str(RowAddress(path)), facts, part)

    def _file(self, name: str, path: str, facts: tuple[Fact, ...], part: int) -> Entry:
        """A recording that is a file on this machine."""
        folder = self._dataset.folder
        file = None if folder is None else (folder / path).resolve()
        if file is None or not file.is_relative_to(folder):
            return Unreadable(name, f"'{path}' does not lie below {self.root}", part)
        try:
            status = file.stat()
        except OSError as error:
            return Unreadable(name, f"'{path}' cannot be looked at ({error.strerror})", part)
        address = str(RowAddress(str(file)))
        return SourceRecording(name, file, status.st_size, status.st_mtime_ns, (), address, facts, part)

    def _with_sound(self, entry: SourceRecording, value: Any) -> Entry:
        """A recording with its bytes, or why it has none."""
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        row = entry.row
        if isinstance(data, str):
            data, path = None, data
        if data is None and path is None:
            return Unreadable(entry.name, "there is no recording in its row", entry.part)
        if data is None:
            folder = self._dataset.folder or Path()
            try:
                data = fetch_recording(folder, path)
            except AudioError as error:
                self._check_reached(error.__cause__)
                return Unreadable(entry.name, str(error), entry.part)
            row = str(RowAddress(path if "://" in path else str((folder / path).resolve())))
        return replace(entry, path=AudioBytes(entry.name, data), size=len(data), row=row)

    def _tell_apart(self, number: int, part: Part, unit: Unit, seen: set[int]) -> None:
        """Notes which rows have the path of an earlier one."""
        for place, path in enumerate(unit.paths):
            label = self._label(part, path)
            key = hash((part.split, label))
            if not label or key in seen:
                self.has_numbers = True
            if label and key in seen:
                self._repeated.setdefault(number, set()).add(unit.first + place)
            seen.add(key)

    def _name(self, number: int, part: Part, row: int, path: str | None) -> str:
        label = self._label(part, path)
        if not label or row in self._repeated.get(number, ()):
            label = f"{self._numbers[number]:05d}/{row:06d}"
        return f"{part.split}/{label}"

    def _label(self, part: Part, path: str | None) -> str:
        """What a data set calls a recording, as a path below its split; empty where it calls it nothing."""
        text = _ON_HUB.sub("", (path or "").partition("::")[0])
        text = text.partition("://")[2] or text
        if self._dataset.folder is not None:
            text = text.removeprefix(f"{self._dataset.folder}/")
        label = "/".join(name for name in PurePosixPath(text).parts if name not in ("/", "//", ".."))
        label = label.removeprefix(f"{part.split}/")
        return "" if _NUMBERED.fullmatch(label) else label

    def _unreadable(self, number: int, part: Part, error: Exception) -> Unreadable:
        """A data file that is damaged: what the index has of its split stays."""
        self._check_reached(error)
        return Unreadable(f"{part.split}/", f"{part.name} cannot be read ({first_line(error)})", number)

    def _check_reached(self, error: BaseException | None) -> None:
        """Stops the run where the Hub is gone: what cannot be read just now must not be dropped."""
        if is_unreachable(error):
            raise ArchiveError(
                f"{self.root}: the Hub cannot be reached any more ({first_line(error)}); run the command again, it "
                f"goes on where it was"
            ) from error


def _numbered_by_split(parts: tuple[Part, ...]) -> list[int]:
    counts: dict[str, int] = {}
    numbers = []
    for part in parts:
        numbers.append(counts.get(part.split, 0))
        counts[part.split] = numbers[-1] + 1
    return numbers
