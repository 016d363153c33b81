"""Moments: what a search finds, as stretches of recordings with a start and an end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from raclap.archive.dataset_sound import row_is_there


@dataclass(frozen=True)
class Moment:
    """A stretch of a recording that was found.

    Attributes:
        recording: path below the archive's root, with forward slashes, or an address.
        root: the archive's root.
        start, end: seconds.
        score: cosine of the query with the best of its windows, of those that hold nothing else if there are any.
        best_start, best_end: of that window, seconds.
        windows: how many make the moment.
        probability: that the words fit, at even odds; None where the model or the query allows of none.
        percentile: percentage of random pairs of clip and caption with a lower cosine; None as `probability`.
        facts: what a manifest or data set says of the best window, where it says anything.
        duplicates: recordings with nearly the same sound that were folded under this one, with start and end.
        dataset_row: address of the recording's row in a data set; None: it is of none.
        sha256: of what the recording's file held; empty where it is not known.
    """

    recording: str
    root: str
    start: float
    end: float
    score: float
    best_start: float
    best_end: float
    windows: int = 1
    probability: float | None = None
    percentile: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    duplicates: tuple[tuple[str, float, float], ...] = ()
    dataset_row: str | None = None
    sha256: str = ""

    @property
    def path(self) -> Path | None:
        """Where the recording lies; None where its name is an address or leads out of the root."""
        name = PurePosixPath(self.recording)
        if "://" in self.recording or "://" in self.root or name.is_absolute() or ".." in name.parts:
            return None
        return Path(self.root) / name

    @property
    def is_there(self) -> bool:
        """Whether the recording is still where it was; of a data set on the Hub it is taken for granted."""
        if self.dataset_row is not None:
            return row_is_there(self.dataset_row)
        return self.path is not None and self.path.is_file()

    def to_json(self) -> dict[str, Any]:
        """What is known, by the names above; seconds to milliseconds, other numbers to six digits after the point."""
        values: dict[str, Any] = {
            "recording": self.recording,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "probability": None if self.probability is None else round(self.probability, 6),
            "percentile": None if self.percentile is None else round(self.percentile, 6),
            "best_start": round(self.best_start, 3),
            "best_end": round(self.best_end, 3),
            "windows": self.windows,
            "root": self.root,
            "dataset_row": self.dataset_row,
            "facts": dict(self.facts),
            "duplicates": [
                {"recording": name, "start": round(start, 3), "end": round(end, 3)}
                for name, start, end in self.duplicates
            ],
        }
        return {name: value for name, value in values.items() if value is not None}
