"""What is known of the training rows of a corpus: how much, by whom, in which languages, under which licences."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raclap.data.inspection import Inspection
from raclap.data.streaming import StreamedCorpus, StreamedRows

NOT_STATED = "not stated"

_BATCH = 2**16


@dataclass(frozen=True)
class CorpusFacts:
    """What a card says of a corpus that a model learned from.

    Attributes:
        pairs: rows; None where not known.
        hours: of their recordings, without silent ends where these were cut; None where no recording was opened.
        speakers: how many; None where no row names one.
        languages: as the rows state them, sorted.
        licences: as the rows state them, sorted; where some rows state one and others do not, `NOT_STATED` is the
            last. Empty where none does.
    """

    pairs: int | None
    hours: float | None
    speakers: int | None
    languages: tuple[str, ...]
    licences: tuple[str, ...]

    @classmethod
    def of_corpus(cls, corpus: Inspection | StreamedCorpus) -> "CorpusFacts":
        """Reads three columns of the rows. The recordings of streamed rows are not opened: they have no hours."""
        rows = corpus.manifest
        speakers, _ = _distinct(rows, "speaker")
        licences, partly = _distinct(rows, "licence")
        return cls(
            pairs=len(rows),
            hours=None if isinstance(corpus, StreamedCorpus) else _hours(corpus.seconds),
            speakers=len(speakers) or None,
            languages=tuple(sorted(_distinct(rows, "language")[0])),
            licences=(*sorted(licences), *((NOT_STATED,) if licences and partly else ())),
        )

    @classmethod
    def unknown(cls) -> "CorpusFacts":
        """Of a corpus of which nothing but its name is known."""
        return cls(None, None, None, (), ())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CorpusFacts":
        """Reads what `to_dict` gives."""
        lists = {name: tuple(values[name]) for name in ("languages", "licences")}
        return cls(values["pairs"], values["hours"], values["speakers"], **lists)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "languages": list(self.languages), "licences": list(self.licences)}


def _hours(seconds: np.ndarray) -> float | None:
    return round(float(seconds.sum()) / 3600, 4) if np.isfinite(seconds).all() else None


def _distinct(rows: Any, column: str) -> tuple[set[str], bool]:
    """The values of a column that say something, and whether some rows have none."""
    found: set[str] = set()
    has_null = False
    for values in _column(rows, column):
        has_null |= values.null_count > 0
        found.update(pc.unique(values).to_pylist())
    said = {value for value in found if value and value.strip()}
    return said, has_null or len(said) < len(found - {None})


def _column(rows: Any, name: str) -> Iterator[pa.ChunkedArray]:
    """One column, some rows at a time."""
    if not isinstance(rows, StreamedRows):
        for table in rows.tables(_BATCH, [name]):
            yield table[name]
        return
    for table, _, _ in rows.files.batches(rows.split, ["split", name]):
        own = table.filter(pc.equal(table["split"], rows.split))
        yield own[name] if name in own.column_names else pa.chunked_array([pa.nulls(len(own), pa.string())])
