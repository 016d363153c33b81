"""Which split a row of a user's data belongs to: by its own word, by its folder, or by its speaker."""

import re
from collections.abc import Mapping
from functools import lru_cache

from raclap.corpora.listing import split_of_speaker, tables_of_splits
from raclap.data.manifest import SPLITS
from raclap.errors import RecipeError

# What data sets call their splits. `eval` is not here: some mean validation by it, others test.
WELL_KNOWN_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
# Such a word, whole: "train", "train-00000-of-00002", "dev.clean", but not "trainer".
_WORD = re.compile(rf"({'|'.join(sorted(WELL_KNOWN_SPLITS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


@lru_cache(65_536)  # folders of recordings come again and again
def split_of_path(path: str) -> str | None:
    """The split that the folders or the name of a file tell; None where they tell none.

    Example:
        >>> split_of_path("data/train-00000-of-00002.parquet"), split_of_path("trainers/a.wav")
        ('train', None)
    """
    found = (_WORD.match(part) for part in path.split("/"))
    return next((WELL_KNOWN_SPLITS[match[1].lower()] for match in found if match), None)


class Splits:
    """Settles the split of rows.

    Args:
        split: of every row, whatever the rows say.
        splits: names in the data by those of the manifest; several are separated by commas.
        validation_share, test_share: shares of the training speakers that go to the other splits.

    Attributes:
        of_all: the split of every row; None where each has its own.

    Raises:
        RecipeError: there is no such split, a name is given to two, or the shares leave nothing to train on.
    """

    def __init__(
        self, split: str = "", splits: Mapping[str, str] = {}, validation_share: float = 0.0, test_share: float = 0.0
    ):
        if split and split not in SPLITS:
            raise RecipeError(f"split: '{split}'; expected one of {', '.join(SPLITS)}")
        self.of_all = split or None
        self._names = {**WELL_KNOWN_SPLITS, **{theirs: ours for ours, theirs in tables_of_splits({}, splits)}}
        self._shares = (validation_share, test_share)
        split_of_speaker("", *self._shares)
        self._divides = validation_share + test_share > 0

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that is understood."""
        return tuple(self._names)

    def ours(self, theirs: str) -> str | None:
        """The manifest's name of a split of the data; None where it is not known."""
        return self._names.get(theirs) or self._names.get(theirs.lower())

    def settle(self, own: str | None, unit: str) -> str | None:
        """The split of a row; None where nothing tells it.

        Args:
            own: what is known of it, in the manifest's words; None where nothing is.
            unit: what must not be in two splits: the speaker, or the recording where no speaker is known.
        """
        split = own or ("train" if self._divides else None)
        return split_of_speaker(unit, *self._shares) if split == "train" and self._divides else split
