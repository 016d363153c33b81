"""Which pairs make a batch: exact mixtures of corpora, the same on any number of processes.

The sampler yields single draws in an order that is exact over every window of one global batch. Cut into equal
pieces, one a process, the pieces of a step together are such a window; Accelerate deals consecutive batches to the
processes in turn, so it needs no sampler of ours. A draw carries its number, and all randomness of an example
(crop, caption, masks) is a function of it: epochs can be resumed anywhere and loader processes need no seeds.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from raclap.errors import RecipeError


class Draw(NamedTuple):
    """One example to make: a row, and the number of the draw since training began."""

    row: int
    number: int


class MixtureSampler(Sampler[Draw]):
    """Draws rows so that every global batch holds the corpora in exact shares.

    Within a corpus rows come in random passes, each row at most once a pass and never twice in a batch.

    Args:
        sizes: rows of each corpus; rows are numbered through, corpus after corpus.
        shares: pairs of each corpus in a batch, up to a common factor; None mixes by size.
        batch_size: of the global batch.
        steps_per_epoch: batches in an epoch; None: as many as hold all pairs once.
        seed: of the shuffles.
        names: of the corpora, for errors.

    Raises:
        RecipeError: a batch asks for more pairs of a corpus than it has.
    """

    def __init__(
        self,
        sizes: list[int],
        shares: tuple[int, ...] | None,
        batch_size: int,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        names: list[str] | None = None,
    ):
        names = names or [str(index) for index in range(len(sizes))]
        if shares is None:
            self._groups = [(0, sum(sizes), batch_size)]
            names = [" + ".join(names)]
        else:
            starts = np.cumsum([0, *sizes[:-1]]).tolist()
            counts = [batch_size // sum(shares) * share for share in shares]
            self._groups = list(zip(starts, sizes, counts, strict=True))
        for name, (_, size, count) in zip(names, self._groups, strict=True):
            if count > size:
                raise RecipeError(
                    f"training.batch_size {batch_size} asks for {count} pairs of '{name}' in every batch, but it "
                    f"has {size}"
                )
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch or max(1, sum(sizes) // batch_size)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration yields; Accelerate calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        first = self.epoch * self.steps_per_epoch
        number = first * self.batch_size
        for step, batch in enumerate(self._windows(first), first):
            # Shuffled, so that with several processes each gets its part of every corpus.
            np.random.default_rng([self.seed, len(self._groups), step]).shuffle(batch)
            for row in batch.tolist():
                yield Draw(row, number)
                number += 1

    def _windows(self, first: int) -> Iterator[np.ndarray]:
        """The rows of each global batch of an epoch, corpus by corpus, beginning with that of step `first`."""
        streams = [
            _stream(start, size, count, first, (self.seed, group))
            for group, (start, size, count) in enumerate(self._groups)
        ]
        for _ in range(self.steps_per_epoch):
            yield np.concatenate([next(stream) for stream in streams])


def _stream(start: int, size: int, count: int, first_step: int, seed: tuple[int, int]) -> Iterator[np.ndarray]:
    """Endless pieces of `count` rows of one corpus, beginning with the piece of `first_step`.

    A pass gives whole pieces only (as `drop_last` does), so that no piece holds a row twice.
    """
    pieces = size // count
    for step in itertools.count(first_step):
        pass_number, piece = divmod(step, pieces)
        if step == first_step or piece == 0:
            order = np.random.default_rng([*seed, pass_number]).permutation(size)
        yield order[piece * count : (piece + 1) * count] + start
