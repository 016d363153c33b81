"""Batches in which rare tags are not rare: clips are drawn by the rarity of their tags (ParaSpeechCLAP).

Source: Diwan et al. (2026), arXiv 2603.28737: the weight of a clip is the mean inverse frequency of its tags, and
every global batch holds some clips with a rare tag.

Shapes: N rows of a corpus.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raclap.data.manifest import Manifest
from raclap.data.sampling import MixtureSampler
from raclap.data.tags import read_tag_groups, tag_entries
from raclap.data.weighted_drawing import WeightedRows
from raclap.errors import RecipeError
from raclap.recipe import ClassBalanceRecipe


@dataclass(frozen=True)
class ClassWeights:
    """How often the clips of one corpus are drawn.

    Attributes:
        weights: (N,) float64, 1 on average.
        rare: (N,) bool, whether a clip has a rare tag.
    """

    weights: np.ndarray
    rare: np.ndarray


def class_weights(corpora: Mapping[str, Manifest], recipe: ClassBalanceRecipe) -> list[ClassWeights]:
    """Weighs the clips of each corpus by how rare their tags are in that corpus.

    Of a clip without tags nothing is known that would make it rare or common: it has the mean weight of the tagged
    ones, so that all such clips together are drawn as often as without weights.

    Args:
        corpora: rows by corpus.
        recipe: which tags count, and from which share on they are rare.

    Raises:
        RecipeError: see `read_tag_groups`; or no tag is rare and yet every batch is to hold some.
    """
    try:
        read_tag_groups(list(corpora.values()), recipe.groups)
    except RecipeError as error:
        raise RecipeError(f"data.class_balance.groups: {error}") from error
    found, rarest = [], (float("inf"), "")
    for name, manifest in corpora.items():
        size = len(manifest)
        inverse, tags, rare = np.zeros(size), np.zeros(size), np.zeros(size, bool)
        for group in recipe.groups:
            entries = tag_entries(manifest, group)
            shares = np.bincount(entries.codes, minlength=len(entries.tags)) / size
            inverse += np.bincount(entries.rows, 1 / shares[entries.codes], size)
            tags += np.bincount(entries.rows, minlength=size)
            rare[entries.rows[shares[entries.codes] < recipe.rare_share]] = True
            if len(shares):
                here = (float(shares.min()), f"'{entries.tags[shares.argmin()]}' of '{group}' in '{name}'")
                rarest = min(rarest, here)
        found.append(ClassWeights(_weights(inverse, tags), rare))
    if recipe.rare_per_batch and not any(weights.rare.any() for weights in found):
        raise RecipeError(
            f"data.class_balance.rare_share: no tag is in less than {recipe.rare_share:.2%} of a corpus's clips; the "
            f"rarest, {rarest[1]}, is in {rarest[0]:.2%}; raise it, or set rare_per_batch to 0"
        )
    return found


def _weights(inverse: np.ndarray, tags: np.ndarray) -> np.ndarray:
    tagged = tags > 0
    weights = np.ones(len(tags))
    weights[tagged] = inverse[tagged] / tags[tagged]
    if tagged.any():
        weights[~tagged] = weights[tagged].mean()
    return weights / weights.mean()


class ClassBalancedSampler(MixtureSampler):
    """Draws rows by weight so that every global batch holds the corpora in exact shares, and some rare clips.

    Within a batch no row comes twice. Batches are independent of one another: each is a function of the seed and its
    number alone. Where chance gives too few rare clips, others of the same share of the batch make room for them:
    those that were drawn last, so that what stays is a smaller draw of the same kind.

    Args:
        balance: weights of each corpus; rows are numbered through, corpus after corpus.
        rare_per_batch: clips with a rare tag that every global batch holds at least.
        shares, batch_size, steps_per_epoch, seed, names: see `MixtureSampler`; as weights are 1 on average, a
            mixture by size stays one.

    Raises:
        RecipeError: a batch asks for more pairs of a corpus than it has, or for more rare clips than there are or fit.
    """

    def __init__(
        self,
        balance: Sequence[ClassWeights],
        rare_per_batch: int,
        shares: tuple[int, ...] | None,
        batch_size: int,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        names: list[str] | None = None,
    ):
        super().__init__([len(own.weights) for own in balance], shares, batch_size, steps_per_epoch, seed, names)
        weights = np.concatenate([own.weights for own in balance])
        self._is_rare = np.concatenate([own.rare for own in balance])
        self._rare_per_batch = rare_per_batch
        self._all, self._rare = [], []
        for start, size, _ in self._groups:
            rows = np.arange(start, start + size)
            rare = rows[self._is_rare[rows]]
            self._all.append(WeightedRows(rows, weights[rows]))
            self._rare.append(WeightedRows(rare, weights[rare]))
        self._check_quota()

    def _check_quota(self) -> None:
        there = sum(map(len, self._rare))
        fitting = sum(min(len(rare), count) for rare, (_, _, count) in zip(self._rare, self._groups, strict=True))
        if self._rare_per_batch > fitting:
            why = f"there are {there}" if there < self._rare_per_batch else f"{fitting} fit into its shares"
            raise RecipeError(
                f"data.class_balance.rare_per_batch asks for {self._rare_per_batch} clips with a rare tag in every "
                f"batch of {self.batch_size}, but {why}"
            )

    def _windows(self, first: int) -> Iterator[np.ndarray]:
        for step in range(first, first + self.steps_per_epoch):
            yield self._window(step)

    def _window(self, step: int) -> np.ndarray:
        # The last number keeps it apart from the shuffles, whose seeds are three numbers.
        rng = np.random.default_rng([self.seed, len(self._groups), step, 1])
        drawn = [rows.draw(count, rng) for rows, (_, _, count) in zip(self._all, self._groups, strict=True)]
        missing = self._rare_per_batch - sum(int(self._is_rare[rows].sum()) for rows in drawn)
        for _ in range(missing):
            self._add_rare(drawn, rng)
        return np.concatenate(drawn)

    def _add_rare(self, drawn: list[np.ndarray], rng: np.random.Generator) -> None:
        """Puts a rare clip where the last common one of its share was; shares by the weight of rare clips left."""
        chances = np.zeros(len(drawn))
        for group, rows in enumerate(drawn):
            held = rows[self._is_rare[rows]]
            if len(held) < min(len(rows), len(self._rare[group])):
                left = self._rare[group].total - self._rare[group].weight_of(held)
                chances[group] = len(rows) * left / self._all[group].total
        group = int(rng.choice(len(drawn), p=chances / chances.sum()))
        rows = drawn[group]
        added = self._rare[group].draw(1, rng, without=rows[self._is_rare[rows]])
        last = np.flatnonzero(~self._is_rare[rows])[-1]
        rows[last] = added[0]
