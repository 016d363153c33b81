"""Rows of an Arrow table by number, without the table being copied: selecting keeps row numbers alone.

A table that is mapped from a file is read where its rows are asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class TableRows:
    """Some rows of a table, in an order.

    Attributes:
        source: all rows.
        chosen: (N,) numbers of these; None: all.
    """

    source: pa.Table
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return self.source.num_rows if self.chosen is None else len(self.chosen)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """One row as Python values.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = row if self.chosen is None else int(self.chosen[row])
        batch = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._batches[batch].slice(number - int(self._starts[batch]), 1).to_pylist()[0]

    def tables(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in order, so many at a time (the last may be fewer): each table in one chunk.

        Args:
            rows: of each table, whatever chunks they lie in.
            columns: those to give; None gives all.
        """
        view = self if columns is None else TableRows(self.source.select(columns), self.chosen)
        for first in range(0, len(self), rows):
            yield view.part(first, rows).combine_chunks()

    def part(self, first: int, rows: int) -> pa.Table:
        """Rows that follow one another; fewer where the rows end."""
        if self.chosen is None:
            return self.source.slice(first, rows)
        return self._gather(self.chosen[first : first + rows])

    def take(self, rows: Sequence[int] | np.ndarray) -> "TableRows":
        """The named ones of these rows, in the order given."""
        rows = np.asarray(rows, np.int64)
        return TableRows(self.source, rows if self.chosen is None else self.chosen[rows])

    def where(self, column: str, value: str, batch: int = 65_536) -> "TableRows":
        """Those of these rows where a column has a value; no number is kept where they follow one another."""
        masks = [pc.equal(table[column], value).to_numpy() for table in self.tables(batch, [column])]
        rows = np.flatnonzero(np.concatenate(masks)) if masks else np.zeros(0, np.int64)
        if self.chosen is None and len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return TableRows(self.source.slice(int(rows[0]), len(rows)))
        return self.take(rows)

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return self.source.to_batches()

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self._batches)])[:-1]

    def _gather(self, numbers: np.ndarray) -> pa.Table:
        """Rows by their numbers in the source. Arrow's own `take` would first join all chunks of the source."""
        if not len(numbers):
            return self.source.slice(0, 0)
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        order = np.argsort(owners, kind="stable")
        cuts = np.flatnonzero(np.diff(owners[order])) + 1
        pieces = []
        for places in np.split(order, cuts):
            owner = owners[places[0]]
            pieces.append(self._batches[owner].take(pa.array(numbers[places] - self._starts[owner])))
        found = pa.Table.from_batches(pieces).combine_chunks()
        return found.take(pa.array(np.argsort(order, kind="stable")))
