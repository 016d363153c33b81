"""How similar clips of one style are to captions of another: mean cosines, from the centroids of the styles.

The mean over all pairs of a clip of style i and a caption of style j is the product of the two centroids, so no
cosine of a pair is ever computed.

Shapes: N rows, D joint size, G styles, K attributes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

from raclap.retrieval.embed import PairEmbeddings

MOST_STYLES = 20


@dataclass(frozen=True, eq=False)
class StyleSimilarity:
    """Mean cosines between styles, styles in an order that puts like beside like.

    Attributes:
        attributes: K names; a single empty one where keys are not written as attributes.
        styles: G keys, each as K values.
        counts: clips of each style.
        cosines: (G, G), clips of style `row` with captions of style `column`.
        left_out: number of styles that are not among them.
    """

    attributes: tuple[str, ...]
    styles: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    cosines: np.ndarray
    left_out: int

    @property
    def diagonal_wins(self) -> float:
        """Share of these styles whose clips are most similar to the captions of their own."""
        return float((self.cosines.argmax(1) == np.arange(len(self.cosines))).mean())


def style_similarity(
    embeds: PairEmbeddings, keys: Sequence[str | None], most: int = MOST_STYLES, seed: int = 0
) -> StyleSimilarity | None:
    """Compares the commonest styles of some rows; None where fewer than two are known.

    Args:
        embeds: unit vectors of N rows.
        keys: N style keys, as `name=value|name=value` or any other text.
        most: styles.
        seed: of the draw among equally common ones.
    """
    counts = Counter(key for key in keys if key is not None)
    if len(counts) < 2:
        return None
    lots = dict(zip(sorted(counts), np.random.default_rng(seed).permutation(len(counts)).tolist(), strict=True))
    chosen = sorted(counts, key=lambda key: (-counts[key], lots[key]))[:most]
    audio, text = (centroids(side.numpy(), keys, chosen) for side in (embeds.audio, embeds.text))
    order = _like_beside_like(np.concatenate([audio, text], axis=1))
    chosen = [chosen[place] for place in order]
    attributes, styles = _split_keys(chosen)
    return StyleSimilarity(
        attributes, styles, tuple(counts[key] for key in chosen), (audio @ text.T)[np.ix_(order, order)],
        len(counts) - len(chosen),
    )  # fmt: skip


def centroids(embeds: np.ndarray, keys: Sequence[str | None], chosen: Sequence[str]) -> np.ndarray:
    """(G, D) float64 mean of the rows (N, D) of each chosen key."""
    places = {key: place for place, key in enumerate(chosen)}
    group = np.array([places.get(key, -1) for key in keys])
    sums = np.zeros((len(chosen), embeds.shape[1]))
    np.add.at(sums, group[group >= 0], embeds[group >= 0])
    return sums / np.bincount(group[group >= 0], minlength=len(chosen))[:, None]


def _like_beside_like(vectors: np.ndarray) -> np.ndarray:
    """The order of the leaves of a clustering (average linkage), turned so that neighbours are close."""
    if len(vectors) == 2:
        return np.arange(2)
    tree = linkage(vectors, "average")
    return leaves_list(optimal_leaf_ordering(tree, vectors))


def _split_keys(keys: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names and values of `name=value|name=value` where all keys have the same names, else the keys as they are."""
    parts = [dict(part.partition("=")[::2] for part in key.split("|")) for key in keys]
    names = tuple(dict.fromkeys(name for part in parts for name in part))
    if any("=" not in part for key in keys for part in key.split("|")):
        return ("style",), tuple((key,) for key in keys)
    return names, tuple(tuple(part.get(name, "") for name in names) for part in parts)
