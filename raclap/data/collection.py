"""The corpora of a recipe: read, checked and ready to be drawn from."""

from typing import Any, Protocol

import numpy as np

from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import read_manifest
from raclap.errors import ManifestError
from raclap.recipe import DataRecipe


class Features(Protocol):
    """What is needed of a feature extractor."""

    sampling_rate: int

    def trim(self, waveform: np.ndarray) -> np.ndarray:
        """Cuts silent ends as configured."""


def read_corpora(recipe: DataRecipe, split: str, features: Features | Any) -> dict[str, Inspection]:
    """Reads one split of every corpus of a recipe.

    Args:
        recipe: which manifests, and how their audio is checked.
        split: `train`, `validation` or `test`.
        features: the feature extractor: its rate and trimming.

    Returns:
        Inspected corpora by name, in the order of the recipe.

    Raises:
        ManifestError: a manifest is not as it should be, or has no rows of the split.
        AudioError: a recording is bad and `skip_bad` is false.
    """
    corpora = {}
    for corpus in recipe.corpora:
        manifest = read_manifest(corpus.manifest, corpus.audio_root).split(split)
        if not len(manifest):
            raise ManifestError(f"{manifest.path}: no rows of the split '{split}'")
        corpora[corpus.name] = inspect_audio(
            manifest,
            features.sampling_rate,
            features.trim,
            check=recipe.audio_check,
            skip_bad=recipe.skip_bad,
            keep=recipe.keep_in_memory,
        )
    return corpora
