"""How recordings become an index: the recipe of `raclap index`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from raclap.errors import RecipeError
from raclap.settings_file import explained, read_settings


@dataclass(frozen=True)
class IndexSettings:
    """How recordings are cut, and how often what is done is kept.

    Attributes:
        window_seconds: length of a window.
        hop_seconds: from the beginning of one to that of the next; None: half a window.
        voice_activity: leave out windows in which there is no voice.
        commit_seconds: between two commits.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    window_seconds: float = 10.0
    hop_seconds: float | None = None
    voice_activity: bool = False
    commit_seconds: float = 30.0

    @property
    def hop(self) -> float:
        """Seconds from the beginning of a window to that of the next."""
        return self.window_seconds / 2 if self.hop_seconds is None else self.hop_seconds


USUAL = IndexSettings()


def read_index_settings(path: Path) -> IndexSettings:
    """Reads a recipe: a YAML file with some of the keys above.

    Raises:
        RecipeError: the file cannot be read, or a key is unknown, written twice or has a wrong value.
    """
    values = read_settings(path, "a recipe", RecipeError)
    try:
        return TypeAdapter(IndexSettings).validate_python(values)
    except ValidationError as error:
        raise RecipeError(explained(path, error)) from None
