"""Clips and captions as points on a plane: t-SNE of their joint embeddings, and what they can be coloured by.

Shapes: n pairs of the map, D joint size.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from raclap.report.measured_corpus import MeasuredCorpus, attribute_values

MOST_PAIRS = 400
MOST_COLOURS = 7

# What has no colour of its own: label and style class.
_OTHER, _UNKNOWN = ("other values", "k-other"), ("not known", "k-none")

_FEWEST_PAIRS = 4
_PERPLEXITY = 30.0
_NEAR = 1e-6  # vectors that differ by less are one
_CORPUS = "corpus"
_PREFERRED = ("emotion", "sex", "pitch")


@dataclass(frozen=True)
class MapPair:
    """A clip and its caption on the map.

    Attributes:
        corpus, row: where it is from.
        clip_id, caption: what is said of it.
        values: its attributes.
        clip, text: (x, y) within [0, 1].
    """

    corpus: str
    row: int
    clip_id: str
    caption: str
    values: dict[str, str]
    clip: tuple[float, float]
    text: tuple[float, float]


@dataclass(frozen=True)
class Colouring:
    """One way to colour the pairs.

    Attributes:
        name: attribute, or `corpus`.
        labels: what the colours mean, the commonest first.
        classes: style class of each label.
        of_pairs: n places in `labels`.
    """

    name: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    of_pairs: tuple[int, ...]


@dataclass(frozen=True)
class EmbeddingMap:
    """A drawn map.

    Attributes:
        pairs: n.
        of: pairs that it was drawn from.
        colourings: at least one; the one to begin with is first.
    """

    pairs: tuple[MapPair, ...]
    of: int
    colourings: tuple[Colouring, ...]


def embedding_map(corpora: Sequence[MeasuredCorpus], most: int = MOST_PAIRS, seed: int = 0) -> EmbeddingMap | None:
    """Draws one map of all corpora, of some of their pairs where there are many; None where `lay_out` finds none.

    Args:
        corpora: measured.
        most: pairs.
        seed: of the pairs that are drawn and of the layout.
    """
    drawn = draw_rows({corpus.name: len(corpus) for corpus in corpora}, most, seed)
    audio, text = (
        np.concatenate([getattr(own.embeds, side).numpy()[drawn[own.name]] for own in corpora])
        for side in ("audio", "text")
    )
    places = lay_out(audio, text, seed)
    if places is None:
        return None
    rows = [(corpus, row) for corpus in corpora for row in drawn[corpus.name].tolist()]
    pairs = tuple(
        _pair(corpus, row, clip, caption) for (corpus, row), clip, caption in zip(rows, *places.tolist(), strict=True)
    )
    return EmbeddingMap(pairs, sum(map(len, corpora)), _colourings(corpora, drawn))


def draw_rows(sizes: dict[str, int], most: int = MOST_PAIRS, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws rows of every corpus, as many of each as its size allows of an equal share.

    Args:
        sizes: rows of each corpus.
        most: rows in all.
        seed: of the draws.

    Returns:
        Rows by corpus, rising.

    Example:
        >>> {name: len(rows) for name, rows in draw_rows({"a": 3, "b": 100}, most=20).items()}
        {'a': 3, 'b': 17}
    """
    drawn, left = {}, most
    for number, name in enumerate(sorted(sizes, key=sizes.get)):
        count = min(sizes[name], left // (len(sizes) - number))
        left -= count
        rng = np.random.default_rng([seed, *name.encode()])
        drawn[name] = np.sort(rng.choice(sizes[name], count, replace=False))
    return {name: drawn[name] for name in sizes}


def lay_out(audio: np.ndarray, text: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Places clips and captions on a plane so that what has a high cosine lies close.

    Args:
        audio, text: (n, D) unit vectors; row i of both is a pair.
        seed: of the layout.

    Returns:
        (2, n, 2) places of the clips and of the captions, within [0, 1]; None where there are too few to lay out, or
        all are in one place.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008; scikit-learn's implementation.
    """
    n, vectors = len(audio), np.concatenate([audio, text]).astype(np.float32)
    if n < _FEWEST_PAIRS or np.ptp(vectors, axis=0).max() < _NEAR:
        return None
    layout = TSNE(
        perplexity=min(_PERPLEXITY, (2 * n - 1) / 3), metric="cosine", init="pca", random_state=seed, n_jobs=1
    )  # fmt: skip
    places = layout.fit_transform(vectors)
    low, high = places.min(0), places.max(0)
    return ((places - low) / np.maximum(high - low, 1e-9)).reshape(2, n, 2)


def _pair(corpus: MeasuredCorpus, row: int, clip: list[float], caption: list[float]) -> MapPair:
    pair = corpus.rows.manifest[row]
    return MapPair(corpus.name, row, pair.pair_id, pair.captions[0].text, pair.attributes, tuple(clip), tuple(caption))


def _colourings(corpora: Sequence[MeasuredCorpus], drawn: dict[str, np.ndarray]) -> tuple[Colouring, ...]:
    known = {corpus.name: attribute_values(corpus.rows.manifest) for corpus in corpora}
    names = sorted({name for values in known.values() for name in values})
    names.sort(key=lambda name: _PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED))
    of_corpus = [corpus.name for corpus in corpora for _ in drawn[corpus.name]]
    found = [
        _colouring(
            name,
            [
                None if name not in known[corpus.name] else known[corpus.name][name][row]
                for corpus in corpora
                for row in drawn[corpus.name].tolist()
            ],
        )
        for name in names
    ]
    return (*found, _colouring(_CORPUS, of_corpus))


def _colouring(name: str, values: Sequence[str | None]) -> Colouring:
    counts = Counter(value for value in values if value is not None)
    common = [value for value, _ in counts.most_common(MOST_COLOURS)]
    places = {value: place for place, value in enumerate(common)}
    rest = [_OTHER] if len(counts) > len(common) else []
    rest += [_UNKNOWN] if None in values else []
    unknown = len(common) + len(rest) - 1
    return Colouring(
        name,
        (*common, *(label for label, _ in rest)),
        (*(f"k{place}" for place in places.values()), *(kind for _, kind in rest)),
        tuple(unknown if value is None else places.get(value, len(common)) for value in values),
    )
