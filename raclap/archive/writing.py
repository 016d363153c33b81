"""From embedded recordings to commits: whole recordings, every so often, in the place of their former rows.

Shapes: W windows of a recording, D dimensions.
"""

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raclap.archive.changes import HeldRecordings, Key
from raclap.archive.embedding import Embedded, EmbeddedRecording
from raclap.archive.reading import CarriedOver, Window
from raclap.archive.sources import Fact, SourceRecording, Unreadable
from raclap.archive.store import ArchiveIndex


class IndexWriter:
    """Gathers what is finished, and commits it.

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
        key = self._held.key(name)
        if key in self._held:
            self._dropped.append(key)
        if isinstance(item, EmbeddedRecording):
            self._embedded.append(item)
            self._rows += len(item.windows)
        elif isinstance(item, CarriedOver):
            self._carried.append(item)
            self._rows += len(self._held.places(item.former))
            if item.former != key and not item.is_copy:
                self._dropped.append(item.former)
        if self._rows >= self._most_rows or time.monotonic() - self._committed >= self._seconds:
            self.commit()

    def commit(self) -> None:
        """Writes what was gathered.

        Raises:
            ArchiveError: the index cannot be written.
        """
        tables = [table for table in (self._of_embedded(), self._of_carried()) if table is not None]
        if tables or self._dropped:
            self._index.renew(self._dropped, pa.concat_tables(tables) if tables else None)
        self._embedded, self._carried, self._dropped, self._rows = [], [], [], 0
        self._committed = time.monotonic()

    def _of_embedded(self) -> pa.Table | None:
        """The rows of recordings that are new, made column by column for all of them at once."""
        if not self._embedded:
            return None
        recordings = [item.read.recording for item in self._embedded]
        counts = [len(item.windows) for item in self._embedded]
        facts = [window.facts for item in self._embedded for window in item.windows]
        windows = [_of_windows(item.windows, item.read.recording) for item in self._embedded]
        columns = self._arrays(
            {**_joined(windows), **_of_facts(facts, self._held.columns)}
            | _repeated({"sha256": [item.read.sha256 for item in self._embedded]}, counts)
            | _repeated(self._of_recordings(recordings), counts)
        )
        flat = pa.array(np.concatenate([item.vectors for item in self._embedded]).reshape(-1), pa.float16())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, self._index.dimensions)
        unknown = pa.nulls(len(facts))
        kinds = self._index.schema
        return pa.table({field.name: columns.get(field.name, unknown.cast(field.type)) for field in kinds}, kinds)

    def _of_carried(self) -> pa.Table | None:
        """Rows that the index had already, as they are to be called now."""
        if not self._carried:
            return None
        places = [self._held.places(item.former) for item in self._carried]
        recordings, counts = [item.recording for item in self._carried], [len(own) for own in places]
        rows = self._former.rows(np.concatenate(places), self._index.schema.names)
        changed = _repeated(self._of_recordings(recordings), counts)
        if recordings[0].facts is not None:  # those of a manifest's rows are the same, or the rows would be others
            facts = [recording.facts for recording in recordings]
            changed |= _repeated(_of_facts(facts, self._held.columns), counts)
        for name, values in self._arrays(changed).items():
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
        return rows.cast(self._index.schema)

    def _of_recordings(self, recordings: Sequence[SourceRecording]) -> dict[str, list]:
        """What is the same for all windows of a recording, and follows from where it lies."""
        return {
            "recording": [recording.name for recording in recordings],
            "root": [self._held.root] * len(recordings),
            "source": [self._held.source] * len(recordings),
            "size": [recording.size for recording in recordings],
            "mtime_ns": [recording.mtime_ns for recording in recordings],
            "dataset_row": [recording.row for recording in recordings],
        }

    def _arrays(self, columns: dict[str, list]) -> dict[str, pa.Array]:
        """Columns as the index has them."""
        kinds = self._index.schema
        return {name: pa.array(values, kinds.field(name).type) for name, values in columns.items()}


def _recording(item: EmbeddedRecording | CarriedOver) -> SourceRecording:
    return item.recording if isinstance(item, CarriedOver) else item.read.recording


def _of_windows(windows: Sequence[Window], recording: SourceRecording) -> dict[str, list]:
    ends = {stretch.facts: stretch.end for stretch in recording.stretches}
    return {
        "window": list(range(len(windows))),
        "windows": [len(windows)] * len(windows),
        "start": [window.start for window in windows],
        "end": [window.end for window in windows],
        "duration": [window.end - window.start for window in windows],
        "row_end": [ends.get(window.facts) for window in windows],
    }


def _of_facts(facts: Sequence[tuple[Fact, ...] | None], columns: Sequence[str]) -> dict[str, list]:
    """What is said of windows, column by column; nothing of those of which nothing is."""
    nothing = (None,) * len(columns)
    return dict(zip(columns, map(list, zip(*(own or nothing for own in facts), strict=True)), strict=True))


def _repeated(columns: dict[str, list], counts: Sequence[int]) -> dict[str, list]:
    """What is said of recordings, for each of their windows."""
    return {
        name: [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        for name, values in columns.items()
    }


def _joined(parts: Sequence[dict[str, list]]) -> dict[str, list]:
    """Columns of several recordings, end to end."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
