"""What an index holds of a source, and what has to be done to make it hold what lies there now.

Size and time tell whether a recording is as it was; where they differ, its hash decides. What a manifest says is
compared value by value.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.archive.sources import FACT_COLUMNS, Fact, Source, SourceRecording, Stretch, Unreadable
from raclap.archive.store import ArchiveIndex

_COLUMNS = ("recording", "root", "start", "end", "size", "mtime_ns", "sha256", *FACT_COLUMNS)
_SAME_SECONDS = 0.01  # tables give times in hundredths


class Key(NamedTuple):
    """Which recording: names are unique below one root."""

    root: str
    name: str


class _Rows(NamedTuple):
    """The rows of one recording: `first` up to `last` of the sorted ones."""

    first: int
    last: int


class HeldRecordings:
    """The recordings of an index, as they were when this was made.

    Args:
        index: read once, without its vectors.
        root: of the source that it is compared with.
    """

    def __init__(self, index: ArchiveIndex, root: str):
        self.root = root
        table = index.rows(np.arange(index.windows), _COLUMNS)
        order = pc.sort_indices(table, [(name, "ascending") for name in ("root", "recording", "start")])
        self._places = order.to_numpy()
        self._table = table.take(order).combine_chunks()
        self._rows = _grouped(self._table)
        self._sizes, self._times = (self._table[name].to_numpy() for name in ("size", "mtime_ns"))
        self._are_described = np.zeros(len(self._table), bool)
        for name in FACT_COLUMNS:
            self._are_described |= self._table[name].is_valid().to_numpy()

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def is_as_it_was(self, recording: SourceRecording) -> bool:
        """Whether nothing has to be done: same size and time, and the manifest says the same."""
        rows = self._rows.get(Key(self.root, recording.name))
        return (
            rows is not None
            and (int(self._sizes[rows.first]), int(self._times[rows.first])) == (recording.size, recording.mtime_ns)
            and self._says(rows, recording.stretches)
        )

    def sha256(self, key: Key) -> str | None:
        """Hash of a recording's file; None of one that is not held."""
        rows = self._rows.get(key)
        return None if rows is None else self._table["sha256"][rows.first].as_py()

    def is_described_as(self, key: Key, recording: SourceRecording) -> bool:
        """Whether a held recording has the windows of this one, provided that their files are equal."""
        return self._says(self._rows[key], recording.stretches)

    def places(self, key: Key) -> np.ndarray:
        """Positions of a recording's rows in the index as it was read."""
        rows = self._rows[key]
        return self._places[rows.first : rows.last]

    def _says(self, rows: _Rows, stretches: tuple[Stretch, ...]) -> bool:
        if not stretches:
            return not self._are_described[rows.first : rows.last].any()
        part = self._table.slice(rows.first, rows.last - rows.first)
        told: dict[tuple[Fact, ...], tuple[float, float]] = {}
        columns = (part[name].to_pylist() for name in (*FACT_COLUMNS, "start", "end"))
        for *facts, start, end in zip(*columns, strict=True):  # by start: a row may have been cut into several
            told[tuple(facts)] = (told.get(tuple(facts), (start, end))[0], end)
        wanted = {_as_stored(stretch.facts): stretch for stretch in stretches}
        # A row that is silent is not in the index; its recording is looked at anew each time.
        return told.keys() == wanted.keys() and all(
            _is_stretch(*told[facts], stretch) for facts, stretch in wanted.items()
        )


def _grouped(table: pa.Table) -> dict[Key, _Rows]:
    """Which rows of a sorted table are of which recording."""
    groups: dict[Key, _Rows] = {}
    keys = map(Key, table["root"].to_pylist(), table["recording"].to_pylist())
    first = 0
    for key, rows in itertools.groupby(keys):
        last = first + sum(1 for _ in rows)
        groups[key] = _Rows(first, last)
        first = last
    return groups


def _as_stored(facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """Numbers as the index keeps them, in 32 bits."""
    return tuple(float(np.float32(value)) if isinstance(value, float) else value for value in facts)


def _is_stretch(start: float, end: float, stretch: Stretch) -> bool:
    is_to_end = stretch.end is None or abs(end - stretch.end) < _SAME_SECONDS
    return is_to_end and abs(start - (stretch.start or 0.0)) < _SAME_SECONDS


@dataclass(frozen=True)
class Plan:
    """What one run has to do.

    Attributes:
        waiting_bytes: of the files of recordings that are new or seem to have changed.
        kept: recordings that are in the index as they are.
        gone: those of the index that were in the source and are not any more.
        moved_from: by the hash of its file, a recording that is not where it was: it may be elsewhere now.
    """

    waiting_bytes: int
    kept: int
    gone: tuple[Key, ...]
    moved_from: dict[str, Key]


def plan(source: Source, held: HeldRecordings) -> Plan:
    """Goes through a source once."""
    waiting_bytes, kept = 0, 0
    seen: set[Key] = set()
    unlisted: list[str] = []
    for entry in source:
        if isinstance(entry, Unreadable):
            if entry.name.endswith("/"):
                unlisted.append(entry.name)
            continue
        key = Key(held.root, entry.name)
        if key in held:
            seen.add(key)
        if held.is_as_it_was(entry):
            kept += 1
        else:
            waiting_bytes += entry.size
    # What lies in a folder that cannot be listed just now may still be there.
    gone = tuple(
        key for key in held if key.root == held.root and key not in seen and not key.name.startswith(tuple(unlisted))
    )
    vanished = {root for root in {key.root for key in held} if not Path(root).exists()}
    moved = [*(key for key in held if key.root in vanished), *gone]
    return Plan(waiting_bytes, kept, gone, {held.sha256(key): key for key in moved})
