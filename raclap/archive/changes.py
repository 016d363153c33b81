"""What an index holds of a source, and what has to be done to make it hold what lies there now.

Size and time tell whether a recording is as it was; where they differ, its hash decides. What a manifest says is
compared value by value.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.archive.dataset_address import folder_of
from raclap.archive.sources import FACT_COLUMNS, Fact, Source, SourceRecording, Unreadable
from raclap.archive.store import ArchiveIndex

_COLUMNS = ("recording", "source", "root", "start", "row_end", "size", "mtime_ns", "sha256", "dataset_row")


class Key(NamedTuple):
    """Which recording: names are unique in one source, and sources share nothing."""

    source: str
    name: str


class _Rows(NamedTuple):
    """The rows of one recording: `first` up to `last` of the sorted ones."""

    first: int
    last: int


class HeldRecordings:
    """The recordings of an index, as they were when this was made.

    Args:
        index: read once, without its vectors.
        source: the name of the source that it is compared with.
        root: of that source.
        columns: that its facts fill.
    """

    def __init__(self, index: ArchiveIndex, source: str, root: str, columns: Sequence[str] = FACT_COLUMNS):
        self.source = source
        self.root = root
        self.columns = tuple(columns)
        table = index.rows(np.arange(index.windows), [*_COLUMNS, *dict.fromkeys((*FACT_COLUMNS, *self.columns))])
        order = pc.sort_indices(table, [(name, "ascending") for name in ("source", "recording", "start")])
        self._places = order.to_numpy()
        self._table = table.take(order).combine_chunks()
        self._rows = _grouped(self._table)
        self._sizes, self._times = (self._table[name].to_numpy() for name in ("size", "mtime_ns"))
        self._lie_here = pc.equal(self._table["root"], root).to_numpy()
        self._facts = [self._table[name].combine_chunks() for name in self.columns]
        self._are_described = np.zeros(len(self._table), bool)
        for name in FACT_COLUMNS:
            self._are_described |= self._table[name].is_valid().to_numpy()

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def key(self, name: str) -> Key:
        """Which recording a name of the source stands for."""
        return Key(self.source, name)

    def is_as_it_was(self, recording: SourceRecording) -> bool:
        """Whether nothing has to be done: same root, size and time, and the manifest or data set says the same.

        The size of a row that was not read is not known; its time stands for the file that holds it.
        """
        rows = self._rows.get(self.key(recording.name))
        return (
            rows is not None
            and bool(self._lie_here[rows.first])
            and int(self._times[rows.first]) == recording.mtime_ns
            and (recording.path is None or int(self._sizes[rows.first]) == recording.size)
            and self._says(rows, recording)
        )

    def sha256(self, key: Key) -> str | None:
        """Hash of a recording's file; None of one that is not held."""
        rows = self._rows.get(key)
        return None if rows is None else self._table["sha256"][rows.first].as_py()

    def is_described_as(self, key: Key, recording: SourceRecording) -> bool:
        """Whether a held recording has the windows of this one, provided that their files are equal.

        What a data set says of a recording does not tell how it is cut, and can be said anew of the same windows.
        """
        rows = self._rows[key]
        if recording.row is None:
            return self._says(rows, recording)
        is_row = self._table["dataset_row"][rows.first].is_valid
        return is_row or not self._are_described[rows.first : rows.last].any()

    def places(self, key: Key) -> np.ndarray:
        """Positions of a recording's rows in the index as it was read."""
        rows = self._rows[key]
        return self._places[rows.first : rows.last]

    def _says(self, rows: _Rows, recording: SourceRecording) -> bool:
        stretches = recording.stretches
        if recording.facts is not None:
            known = zip(self._facts, recording.facts, strict=True)
            return all(column[rows.first].as_py() == fact for column, fact in known)
        if not stretches:
            return not self._are_described[rows.first : rows.last].any()
        part = self._table.slice(rows.first, rows.last - rows.first)
        told: dict[tuple[Fact, ...], tuple[float, float | None]] = {}
        columns = (part[name].to_pylist() for name in (*FACT_COLUMNS, "start", "row_end"))
        for *facts, start, end in zip(*columns, strict=True):  # by start: a row may have been cut into several
            told.setdefault(tuple(facts), (start, end))
        # A row that is silent is not in the index; its recording is looked at anew each time.
        return told == {_as_stored(stretch.facts): (stretch.start or 0.0, stretch.end) for stretch in stretches}


def _grouped(table: pa.Table) -> dict[Key, _Rows]:
    """Which rows of a sorted table are of which recording."""
    groups: dict[Key, _Rows] = {}
    keys = map(Key, table["source"].to_pylist(), table["recording"].to_pylist())
    first = 0
    for key, rows in itertools.groupby(keys):
        last = first + sum(1 for _ in rows)
        groups[key] = _Rows(first, last)
        first = last
    return groups


def _as_stored(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """Numbers as the index keeps them, in 32 bits."""
    return tuple(float(np.float32(value)) if isinstance(value, float) else value for value in facts)


@dataclass(frozen=True)
class Plan:
    """What one run has to do.

    Attributes:
        waiting_bytes: of the files of recordings that are new or seem to have changed.
        waiting_parts: numbers of the data files that hold them, or what cannot be used.
        kept: recordings that are in the index as they are.
        gone: those of the index that were in the source and are not any more.
        moved_from: by the hash of its file, a recording that is not where it was: it may be elsewhere now.
        copied_from: the same of all that the source had, where their names are numbers, which others may have now.
    """

    waiting_bytes: int
    waiting_parts: frozenset[int]
    kept: int
    gone: tuple[Key, ...]
    moved_from: dict[str, Key]
    copied_from: dict[str, Key]


def plan(source: Source, held: HeldRecordings) -> Plan:
    """Goes through a source once."""
    waiting_bytes, kept = 0, 0
    waiting_parts: set[int] = set()
    seen: set[Key] = set()
    unlisted: list[str] = []
    for entry in source:
        if isinstance(entry, Unreadable):
            waiting_parts.add(entry.part)
            if entry.name.endswith("/"):
                unlisted.append(entry.name)
            continue
        key = held.key(entry.name)
        if key in held:
            seen.add(key)
        if held.is_as_it_was(entry):
            kept += 1
        else:
            waiting_bytes += entry.size
            waiting_parts.add(entry.part)
    # What lies in a folder that cannot be listed just now may still be there.
    gone = tuple(
        key
        for key in held
        if key.source == held.source
        and key not in seen
        and source.covers(key.name)
        and not key.name.startswith(tuple(unlisted))
    )
    vanished = {name for name in {key.source for key in held} if _has_vanished(name)}
    moved = [*(key for key in held if key.source in vanished), *gone]
    own = [key for key in held if key.source == held.source] if source.has_numbers else []
    by_hash = [{held.sha256(key): key for key in keys} for keys in (moved, own)]
    return Plan(waiting_bytes, frozenset(waiting_parts), kept, gone, *by_hash)


def _has_vanished(source: str) -> bool:
    """Whether a source is not on this machine any more; of one that was elsewhere nobody knows."""
    path = folder_of(source) if "://" in source else Path(source)
    return path is not None and not path.exists()
