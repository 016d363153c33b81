"""From embedded recordings to commits: whole recordings, every so often, the former rows of the same ones dropped.

Shapes: W windows of a recording, D dimensions.
"""

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raclap.archive.changes import HeldRecordings, Key
from raclap.archive.embedding import Embedded, EmbeddedRecording
from raclap.archive.reading import CarriedOver, Window
from raclap.archive.sources import FACT_COLUMNS, Fact, SourceRecording, Unreadable
from raclap.archive.store import ROW_COLUMNS, ArchiveIndex, schema

_NOTHING_KNOWN: tuple[Fact, ...] = (None,) * len(FACT_COLUMNS)


class IndexWriter:
    """Gathers what is finished, and commits it.

    Where a writer is killed between dropping and adding, the recording is not in the index, and the next run adds it.

    Args:
        index: open, held by `ArchiveIndex.writing`.
        held: what it held before.
        former: the index as it was when `held` was made, whose rows keep their positions.
        seconds: between two commits, at least.
        rows: that are gathered at most.
    """

    def __init__(
        self, index: ArchiveIndex, held: HeldRecordings, former: ArchiveIndex, seconds: float, rows: int = 16_384
    ):
        self._index = index
        self._held = held
        self._former = former
        self._seconds = seconds
        self._most_rows = rows
        self._embedded: list[EmbeddedRecording] = []
        self._carried: list[CarriedOver] = []
        self._dropped: list[Key] = []
        self._rows = 0
        self._committed = time.monotonic()

    def add(self, item: Embedded) -> None:
        """Takes a recording; commits if it is time to.

        Raises:
            ArchiveError: the index cannot be written.
        """
        name = item.name if isinstance(item, Unreadable) else _recording(item).name
        key = Key(self._held.root, name)
        if key in self._held:
            self._dropped.append(key)
        if isinstance(item, EmbeddedRecording):
            self._embedded.append(item)
            self._rows += len(item.windows)
        elif isinstance(item, CarriedOver):
            self._carried.append(item)
            self._rows += len(self._held.places(item.former))
            if item.former != key:
                self._dropped.append(item.former)
        if self._rows >= self._most_rows or time.monotonic() - self._committed >= self._seconds:
            self.commit()

    def commit(self) -> None:
        """Writes what was gathered.

        Raises:
            ArchiveError: the index cannot be written.
        """
        # Read before its rows are dropped, so that a full disk drops nothing.
        tables = [*map(self._table_of, self._embedded), *self._carried_over()]
        drop(self._index, self._dropped)
        if tables:
            self._index.append(pa.concat_tables(tables))
        self._embedded, self._carried, self._dropped, self._rows = [], [], [], 0
        self._committed = time.monotonic()

    def _table_of(self, item: EmbeddedRecording) -> pa.Table:
        """The rows of one recording."""
        columns = {
            **_of_recording(item.read.recording, self._held.root, len(item.windows)),
            **_of_windows(item.windows),
            "sha256": [item.read.sha256] * len(item.windows),
        }
        kinds = schema(self._index.dimensions)
        arrays = {name: pa.array(values, kinds.field(name).type) for name, values in columns.items()}
        flat = pa.array(np.ascontiguousarray(item.vectors).reshape(-1), pa.float16())
        arrays["vector"] = pa.FixedSizeListArray.from_arrays(flat, self._index.dimensions)
        return pa.table({name: arrays[name] for name in kinds.names}, schema=kinds)

    def _carried_over(self) -> list[pa.Table]:
        """Rows that the index had already, as they are to be called now."""
        if not self._carried:
            return []
        places = [self._held.places(item.former) for item in self._carried]
        rows = self._former.rows(np.concatenate(places), [*ROW_COLUMNS, "vector"])
        changed = [
            _of_recording(item.recording, self._held.root, len(own))
            for item, own in zip(self._carried, places, strict=True)
        ]
        for name in changed[0]:
            kind = rows.schema.field(name)
            values = pa.array([value for own in changed for value in own[name]], kind.type)
            rows = rows.set_column(rows.schema.get_field_index(name), kind, values)
        return [rows.cast(schema(self._index.dimensions))]


def drop(index: ArchiveIndex, keys: Sequence[Key]) -> None:
    """Removes recordings, root by root.

    Raises:
        ArchiveError: the index cannot be written.
    """
    for root in sorted({key.root for key in keys}):
        index.remove([key.name for key in keys if key.root == root], root)


def _recording(item: EmbeddedRecording | CarriedOver) -> SourceRecording:
    return item.recording if isinstance(item, CarriedOver) else item.read.recording


def _of_recording(recording: SourceRecording, root: str, windows: int) -> dict[str, list]:
    """Columns that are the same for all windows of a recording, and follow from where it lies."""
    values = {"recording": recording.name, "root": root, "size": recording.size, "mtime_ns": recording.mtime_ns}
    return {name: [value] * windows for name, value in values.items()}


def _of_windows(windows: Sequence[Window]) -> dict[str, list]:
    facts = zip(*(window.facts or _NOTHING_KNOWN for window in windows), strict=True)
    return {
        "window": list(range(len(windows))),
        "windows": [len(windows)] * len(windows),
        "start": [window.start for window in windows],
        "end": [window.end for window in windows],
        "duration": [window.end - window.start for window in windows],
        **dict(zip(FACT_COLUMNS, map(list, facts), strict=True)),
    }
