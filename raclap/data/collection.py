"""The corpora of a recipe: read, checked and ready to be drawn from."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import Manifest, read_manifest
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
    return {
        corpus.name: read_split(
            corpus.manifest,
            split,
            features,
            audio_root=corpus.audio_root,
            pairs=corpus.pairs if split == "train" else None,
            check=recipe.audio_check,
            skip_bad=recipe.skip_bad,
            keep=recipe.keep_in_memory,
        )
        for corpus in recipe.corpora
    }


def read_split(
    path: Path | str,
    split: str,
    features: Features | Any,
    audio_root: Path | str | None = None,
    pairs: int | None = None,
    **checks: Any,
) -> Inspection:
    """Reads one split of one manifest and checks its recordings.

    Args:
        path: the manifest.
        split: `train`, `validation` or `test`.
        features: the feature extractor: its rate and trimming.
        audio_root: where the audio lies, if not where the manifest says.
        pairs: take this many of its rows, drawn at random but always the same; None takes all.
        **checks: passed to `inspect_audio`.

    Raises:
        ManifestError, AudioError: as `read_corpora`.
    """
    rows = select_rows(path, split, audio_root, pairs)
    return inspect_audio(rows, features.sampling_rate, features.trim, **checks)


def select_rows(
    path: Path | str, split: str, audio_root: Path | str | None = None, pairs: int | None = None
) -> Manifest:
    """Reads one split of one manifest; see `read_split`.

    Raises:
        ManifestError: the manifest is not as it should be, or has no rows of the split, or too few.
    """
    manifest = read_manifest(path, audio_root).split(split)
    if not len(manifest):
        raise ManifestError(f"{manifest.path}: no rows of the split '{split}'")
    return manifest if pairs is None else _some(manifest, pairs)


def _some(manifest: Manifest, pairs: int) -> Manifest:
    if pairs > len(manifest):
        raise ManifestError(f"{manifest.path}: the recipe asks for {pairs} pairs, but there are {len(manifest)}")
    return manifest.rows(sorted(np.random.default_rng(0).permutation(len(manifest))[:pairs].tolist()))
