"""Notes: what a relation must know of each pair, as tensors that travel with the batch.

Rows are numbered through all corpora of a run, as the sampler draws them.

Shapes: N rows, K attributes, B pairs of a batch.
"""

from collections.abc import Mapping, Sequence
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

    def __call__(self, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a row and of one of its captions, counted from 0."""


class CaptionCodes:
    """`codes`: pairs whose captions have the same words have the same number."""

    def __init__(self, corpora: Sequence[Inspection]):
        known: dict[str, int] = {}
        self._codes = [
            [known.setdefault(text, len(known)) for text in texts]
            for corpus in corpora
            for texts in corpus.manifest.caption_texts()
        ]

    def __call__(self, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        return {"codes": torch.tensor(self._codes[row][caption])}


class StyleCodes:
    """`codes`: pairs of one style key have the same number; a row without key has a number of its own.

    Raises:
        ManifestError: a corpus has no style key at all.
    """

    def __init__(self, corpora: Sequence[Inspection]):
        for corpus in corpora:
            if not any(corpus.manifest.column("style_key")):
                raise ManifestError(f"{corpus.manifest.path}: the relation 'style' needs the column 'style_key'")
        keys = [key for corpus in corpora for key in corpus.manifest.column("style_key")]
        known: dict[str, int] = {}
        for key in keys:
            known.setdefault(key, len(known))
        self._codes = [known[key] if key else len(known) + row for row, key in enumerate(keys)]

    def __call__(self, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        return {"codes": torch.tensor(self._codes[row])}


class AttributeCodes:
    """`held`, (K,) codes of the clip's attribute values, and `wanted`, (K,) those that the caption names.

    As in `StyleRelevance`: 0 held where unknown, -1 wanted where not named.

    Raises:
        ManifestError: a caption does not say what it names, or names what its row does not have.
    """

    def __init__(self, corpora: Sequence[Inspection]):
        for corpus in corpora:
            for pair in corpus.manifest:
                _check_names(corpus, pair)
        pairs = [pair for corpus in corpora for pair in corpus.manifest]
        names = sorted({name for pair in pairs for name in pair.attributes})
        known: dict[str, dict[str | None, int]] = {name: {None: UNKNOWN} for name in names}
        self._held = torch.tensor(
            [[known[name].setdefault(pair.attributes.get(name), len(known[name])) for name in names] for pair in pairs]
        )
        self._named = [
            torch.tensor([[name in caption.names for name in names] for caption in pair.captions]) for pair in pairs
        ]

    def __call__(self, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        held = self._held[row]
        return {"held": held, "wanted": held.masked_fill(~self._named[row][caption], NOT_NAMED)}


class StoredEmbeddings:
    """`audio` and `text`: what a frozen teacher made of the clip and of the caption, computed once.

    Args:
        corpora: rows in the order of `audio`.
        audio: (N, D) unit vectors.
        text: caption to (D,) unit vector.
    """

    def __init__(self, corpora: Sequence[Inspection], audio: Tensor, text: Mapping[str, Tensor]):
        self._audio = audio
        self._text = text
        self._captions = [texts for corpus in corpora for texts in corpus.manifest.caption_texts()]

    def __call__(self, row: int, caption: int) -> dict[str, Tensor]:
        """Notes of a pair."""
        return {"audio": self._audio[row], "text": self._text[self._captions[row][caption]]}


def split_notes(batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A batch as inputs of the model and notes, (B, ...) each, the latter by their bare names."""
    inputs = {name: value for name, value in batch.items() if not name.startswith(NOTE)}
    notes = {name.removeprefix(NOTE): value for name, value in batch.items() if name.startswith(NOTE)}
    return inputs, notes


def _check_names(corpus: Inspection, pair: Pair) -> None:
    for caption in pair.captions:
        problem = None
        if not caption.names:
            problem = f"the relation 'attributes' needs to know what the caption '{caption.text}' names"
        elif missing := [name for name in caption.names if pair.attributes.get(name) is None]:
            problem = f"the caption names '{missing[0]}', which the row does not have"
        if problem:
            raise ManifestError(f"{corpus.manifest.path}: row {pair.pair_id}: {problem}")
