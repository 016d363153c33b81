"""Notes: what a relation must know of each pair, as tensors that travel with the batch.

Rows are numbered through all corpora of a run, as the sampler draws them.

Shapes: N rows, K attributes, B pairs of a batch.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raclap.data.attributes import NOT_NAMED, UNKNOWN
from raclap.data.inspection import Inspection
from raclap.data.manifest import Manifest, Pair
from raclap.data.tags import TagGroup, tags_in
from raclap.errors import ManifestError, RecipeError

NOTE = "note_"  # begins the name of a note among the inputs of the model


class PairNotes(Protocol):
    """The notes of one pair, by name."""

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a row and of one of its captions, counted from 0."""


class Rows(Protocol):
    """What is asked of a manifest before any of its rows is drawn."""

    path: Path

    def has_values(self, name: str) -> bool:
        """Whether a column is not null throughout."""


class HasRows(Protocol):
    """A corpus whose rows are drawn, be they held or streamed."""

    manifest: Rows


class CaptionCodes:
    """`codes`: pairs whose captions have the same words have the same number, in every corpus and process.

    The number is 63 bits of a hash. Of 10,000 different captions of a batch two have the same one once in 10^11 times.
    """

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        return {"codes": _code(pair.captions[caption].text)}


class StyleCodes:
    """`codes`: pairs of one style key have the same number; a row without key has a number of its own.

    Numbers are hashes, as those of `CaptionCodes`.

    Args:
        corpora: whose rows are drawn.

    Raises:
        ManifestError: a corpus has no style key at all.
    """

    def __init__(self, corpora: Sequence[HasRows]):
        for corpus in corpora:
            if not corpus.manifest.has_values("style_key"):
                raise ManifestError(f"{corpus.manifest.path}: the relation 'style' needs the column 'style_key'")

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        own = ("row", pair.corpus, pair.pair_id)
        return {"codes": _code("key", pair.style_key) if pair.style_key else _code(*own)}


class AttributeCodes:
    """`held`, (K,) codes of the clip's attribute values, and `wanted`, (K,) those that the caption names.

    As in `StyleRelevance`: 0 held where unknown, -1 wanted where not named.

    Args:
        corpora: all whose rows are drawn; each row is looked at once, and none is kept.

    Raises:
        ManifestError: a caption does not say what it names, or names what its row does not have.
    """

    def __init__(self, corpora: Sequence[Inspection]):
        values: dict[str, dict[str, int]] = {}
        for corpus in corpora:
            for pair in corpus.manifest:
                _check_names(corpus, pair)
                for name, value in pair.attributes.items():
                    known = values.setdefault(name, {})
                    if value is not None:
                        known.setdefault(value, UNKNOWN + 1 + len(known))
        self._values = dict(sorted(values.items()))

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        held = [codes.get(pair.attributes.get(name), UNKNOWN) for name, codes in self._values.items()]
        named = pair.captions[caption].names
        wanted = [code if name in named else NOT_NAMED for name, code in zip(self._values, held, strict=True)]
        return {"held": torch.tensor(held), "wanted": torch.tensor(wanted)}


class StoredEmbeddings:
    """`audio` and `text`: what a frozen teacher made of the clip and of the caption, computed once.

    Args:
        audio: (N, D) unit vectors, by row.
        text: caption to (D,) unit vector.
    """

    def __init__(self, audio: Tensor, text: Mapping[str, Tensor]):
        self._audio = audio
        self._text = text

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        return {"audio": self._audio[row], "text": self._text[pair.captions[caption].text]}


class AffectNotes:
    """`affect`: (2,) float32 valence and arousal, NaN in rows without them.

    Corpora rate on scales of their own, from 1 to 7 or from -1 to 1, and a batch holds several. So the values of each
    corpus are centred, and divided by one number, their standard deviation over both dimensions together: as many
    deviations from a corpus's mean count as the same feeling in every corpus. Within a corpus the order of distances
    stays what it was, so that with one corpus nothing changes. (To compare within corpora alone would leave most of
    a mixed batch unordered.)

    Args:
        corpora: all whose training rows are drawn, in their order.

    Raises:
        RecipeError: no row has valence and arousal.
        ManifestError: a row has one of them alone or an infinite value, or all rows of a corpus have the same values.
    """

    def __init__(self, corpora: Sequence[Inspection]):
        found = [_read_affect(corpus.manifest) for corpus in corpora]
        if not any(len(values) for values in found):
            named = ", ".join(str(corpus.manifest.path) for corpus in corpora)
            raise RecipeError(f"objective.rank: no row of {named} has valence and arousal")
        self._ends = list(accumulate(len(corpus.manifest) for corpus in corpora))
        self._scales = [_mean_and_deviation(c.manifest, values) for c, values in zip(corpora, found, strict=True)]

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        mean, deviation = self._scales[bisect_right(self._ends, row)]
        values = np.array([pair.valence, pair.arousal], float)  # None becomes NaN
        return {"affect": torch.from_numpy(((values - mean) / deviation).astype(np.float32))}


class TagNotes:
    """`tags`: (K,) bool, which tags of some groups the clip has, group after group.

    Args:
        groups: of all rows that are drawn, K tags together.
    """

    def __init__(self, groups: Sequence[TagGroup]):
        self._groups = groups

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        has = [set(tags_in(group.name, pair.tags, pair.attributes)) for group in self._groups]
        return {"tags": torch.tensor([tag in own for own, g in zip(has, self._groups, strict=True) for tag in g.tags])}


class MergedNotes:
    """The notes of several makers.

    Args:
        makers: whose notes have different names.
    """

    def __init__(self, makers: Sequence[PairNotes]):
        self._makers = tuple(makers)

    def __call__(self, pair: Pair, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair.

        Raises:
            ValueError: two makers give a note of one name.
        """
        merged: dict[str, Tensor] = {}
        for make in self._makers:
            notes = make(pair, row, caption)
            if twice := merged.keys() & notes.keys():
                raise ValueError(f"the note '{min(twice)}' is made twice")
            merged.update(notes)
        return merged


def split_notes(batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch as inputs of the model and notes, (B, ...) each, the latter by their bare names."""
    inputs = {name: value for name, value in batch.items() if not name.startswith(NOTE)}
    notes = {name.removeprefix(NOTE): value for name, value in batch.items() if name.startswith(NOTE)}
    return inputs, notes


def _code(*words: str) -> Tensor:
    """63 bits of a hash of some words, the same in every process."""
    digest = hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest()
    return torch.tensor(int.from_bytes(digest, "big") >> 1)


def _read_affect(manifest: Manifest) -> np.ndarray:
    """(n, 2) float64 valence and arousal of the rows that have both.

    Raises:
        ManifestError: a row has one of them alone, or an infinite one.
    """
    names = ("valence", "arousal")
    values = np.array([manifest.column(name) for name in names], float).T  # None becomes NaN
    known = ~np.isnan(values)
    for row in np.flatnonzero(known.any(1) & ~known.all(1))[:1]:
        has, lacks = names if known[row, 0] else names[::-1]
        raise ManifestError(
            f"{manifest.path}: row {manifest[int(row)].pair_id}: {has} without {lacks}; objective.rank needs both or "
            f"neither"
        )
    for row, column in np.argwhere(np.isinf(values))[:1]:
        raise ManifestError(f"{manifest.path}: row {manifest[int(row)].pair_id}: {names[column]} is not finite")
    return values[known.all(1)]


def _mean_and_deviation(manifest: Manifest, values: np.ndarray) -> tuple[np.ndarray, float]:
    """(2,) means of valence and arousal, and the standard deviation of both together; values are (n, 2)."""
    if not len(values):
        return np.zeros(2), 1.0
    if (values == values[0]).all():
        raise ManifestError(
            f"{manifest.path}: valence and arousal are the same in all {len(values)} training rows that have them: "
            f"there is no order to learn (objective.rank)"
        )
    return values.mean(0), float(np.sqrt(values.var(0).mean()))


def _check_names(corpus: Inspection, pair: Pair) -> None:
    for caption in pair.captions:
        problem = None
        if not caption.names:
            problem = f"the relation 'attributes' needs to know what the caption '{caption.text}' names"
        elif missing := [name for name in caption.names if pair.attributes.get(name) is None]:
            problem = f"the caption names '{missing[0]}', which the row does not have"
        if problem:
            raise ManifestError(f"{corpus.manifest.path}: row {pair.pair_id}: {problem}")
