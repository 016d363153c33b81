"""The rows of a manifest as the source of an index."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raclap.archive.sources import Entry, Source, Stretch, Unreadable, looked_at
from raclap.data.manifest import Manifest, Pair
from raclap.errors import ManifestError


@dataclass(frozen=True)
class ManifestSource(Source):
    """The recordings that a manifest names, each with all of its rows.

    Attributes:
        manifest: the rows.
    """

    manifest: Manifest

    @property
    def name(self) -> str:
        """The manifest's file, or the folder of its parts: several manifests may have one root."""
        return self.manifest.path.resolve().as_posix()

    @property
    def root(self) -> Path:
        """The manifest's audio root."""
        return self.manifest.audio_root

    @property
    def nothing_found(self) -> str:
        """A sentence for a manifest without rows."""
        return f"{self.manifest.path}: a manifest without rows"

    def __iter__(self) -> Iterator[Entry]:
        # Rows of one recording may lie apart.
        order = np.argsort(np.asarray(self.manifest.column("audio"), dtype=object), kind="stable")
        for name, pairs in itertools.groupby(self.manifest.rows(order), key=lambda pair: pair.audio):
            stretches = sorted(map(_stretch, pairs), key=lambda stretch: (stretch.start or 0.0, stretch.facts[0]))
            try:
                path = self.manifest.audio_path(Pair(str(stretches[0].facts[0]), name, (), "", ""))
            except ManifestError as error:
                yield Unreadable(name, str(error))
                continue
            yield looked_at(name, path, tuple(stretches))


def _stretch(pair: Pair) -> Stretch:
    facts = (
        pair.pair_id, pair.corpus, pair.split, pair.speaker, pair.sex, pair.age, pair.language, pair.emotion,
        pair.captions[0].text, _known(pair.valence), _known(pair.arousal),
    )  # fmt: skip
    return Stretch(pair.start, pair.end, facts)


def _known(rating: float | None) -> float | None:
    """Not a number is nothing known."""
    return None if rating is None or math.isnan(rating) else rating
