"""Notes: what a relation must know of each pair, as tensors that travel with the batch.

Rows are numbered through all corpora of a run, as the sampler draws them.

Shapes: N rows, K attributes, B pairs of a batch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from raclap.data.attributes import NOT_NAMED, UNKNOWN
from raclap.data.inspection import Inspection
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

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


def split_notes(batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch as inputs of the model and notes, (B, ...) each, the latter by their bare names."""
    inputs = {name: value for name, value in batch.items() if not name.startswith(NOTE)}
    notes = {name.removeprefix(NOTE): value for name, value in batch.items() if name.startswith(NOTE)}
    return inputs, notes


def _code(*words: str) -> Tensor:
    """63 bits of a hash of some words, the same in every process."""
    digest = hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest()
    return torch.tensor(int.from_bytes(digest, "big") >> 1)


def _check_names(corpus: Inspection, pair: Pair) -> None:
    for caption in pair.captions:
        problem = None
        if not caption.names:
            problem = f"the relation 'attributes' needs to know what the caption '{caption.text}' names"
        elif missing := [name for name in caption.names if pair.attributes.get(name) is None]:
            problem = f"the caption names '{missing[0]}', which the row does not have"
        if problem:
            raise ManifestError(f"{corpus.manifest.path}: row {pair.pair_id}: {problem}")
