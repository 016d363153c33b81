"""The corpora of a recipe: read, checked and ready to be drawn from."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raclap.data.cache import CacheAt
from raclap.data.inspection import Inspection, inspect_audio
from raclap.data.manifest import Manifest, read_manifest
from raclap.data.streaming import StreamedCorpus, stream_split
from raclap.data.window import check_crops, keep_to_window
from raclap.errors import ManifestError, RecipeError
from raclap.recipe import DataRecipe


class Features(Protocol):
    """What is needed of a feature extractor."""

    sampling_rate: int
    longest_seconds: float | None
    trim_silence_db: float | None

    def trim(self, waveform: np.ndarray) -> np.ndarray:
        """Cuts silent ends as configured."""


def read_corpora(recipe: DataRecipe, split: str, features: Features | Any) -> dict[str, Inspection]:
    """Reads one split of every corpus of a recipe.

    Args:
        recipe: which manifests, and how their audio is checked.
        split: `train`, `validation` or `test`.
        features: the feature extractor: its rate, trimming and longest clip.

    Returns:
        Inspected corpora by name, in the order of the recipe.

    Raises:
        ManifestError: a manifest is not as it should be, or has no rows of the split.
        AudioError: a recording is bad, or longer than the tower reads, and `skip_bad` is false.
        RecipeError: training crops are longer than the tower reads.
    """
    return {
        corpus.name: read_split(
            corpus.manifest,
            split,
            features,
            audio_root=corpus.audio_root,
            pairs=corpus.pairs if split == "train" else None,
            crop_seconds=recipe.crop_seconds if split == "train" else None,
            check=recipe.audio_check,
            skip_bad=recipe.skip_bad,
            keep=recipe.keep_in_memory,
            cache=None if recipe.cache is None else Path(recipe.cache),
            alone=corpus.streaming,
        )
        for corpus in recipe.corpora
    }


def stream_corpora(recipe: DataRecipe, split: str, features: Features | Any) -> dict[str, StreamedCorpus]:
    """Finds one split of every corpus of a recipe that streams; no row is read and no recording is opened.

    Args:
        recipe: which manifests.
        split: `train`.
        features: the feature extractor: its rate, trimming and longest clip.

    Returns:
        Corpora by name, in the order of the recipe.

    Raises:
        ManifestError: a manifest is not as it should be, as far as can be told so, or has no rows of the split.
        RecipeError: the tower reads clips of a limited length, and crops may be longer.
    """
    if recipe.crop_seconds is not None:
        check_crops(features.longest_seconds, recipe.crop_seconds)
    elif features.longest_seconds is not None:
        raise RecipeError(
            f"data.crop_seconds: the speech tower reads at most {features.longest_seconds:.2f} s, and the length of "
            f"clips is not known beforehand with streaming: give what they are cut to"
        )
    trim = None if features.trim_silence_db is None else features.trim
    return {corpus.name: stream_split(corpus, split, features.sampling_rate, trim) for corpus in recipe.corpora}


def read_split(
    path: Path | str,
    split: str,
    features: Features | Any,
    audio_root: Path | str | None = None,
    pairs: int | None = None,
    crop_seconds: float | None = None,
    cache: Path | None = None,
    alone: bool = False,
    **checks: Any,
) -> Inspection:
    """Reads one split of one manifest and checks its recordings.

    Args:
        path: the manifest.
        split: `train`, `validation` or `test`.
        features: the feature extractor: its rate, trimming and longest clip.
        audio_root: where the audio lies, if not where the manifest says.
        pairs: take this many of its rows, drawn at random but always the same; None takes all.
        crop_seconds: what clips are cut to before the tower reads them; None: it reads them whole.
        cache: folder to keep decoded clips in; None: they are decoded each time.
        alone: the rows of other splits are neither kept nor checked: they may be too many.
        **checks: passed to `inspect_audio`.

    Raises:
        ManifestError, AudioError, RecipeError: as `read_corpora`.
    """
    rows = select_rows(path, split, audio_root, pairs, alone)
    corpus = inspect_audio(
        rows,
        features.sampling_rate,
        None if features.trim_silence_db is None else features.trim,
        cache=None if cache is None else CacheAt(cache, f"{features.trim_silence_db}"),
        in_parts=crop_seconds is not None,
        **checks,
    )
    return keep_to_window(corpus, features.longest_seconds, crop_seconds, checks.get("skip_bad", False))


def select_rows(
    path: Path | str,
    split: str,
    audio_root: Path | str | None = None,
    pairs: int | None = None,
    alone: bool = False,
) -> Manifest:
    """Reads one split of one manifest; see `read_split`.

    Args:
        path, split, audio_root, pairs, alone: see `read_split`.

    Raises:
        ManifestError: the manifest is not as it should be, or has no rows of the split, or too few.
    """
    manifest = read_manifest(path, audio_root, split) if alone else read_manifest(path, audio_root).split(split)
    if not len(manifest):
        raise ManifestError(f"{manifest.path}: no rows of the split '{split}'")
    return manifest if pairs is None else _some(manifest, pairs)


def _some(manifest: Manifest, pairs: int) -> Manifest:
    if pairs > len(manifest):
        raise ManifestError(f"{manifest.path}: the recipe asks for {pairs} pairs, but there are {len(manifest)}")
    return manifest.rows(np.sort(np.random.default_rng(0).permutation(len(manifest))[:pairs]))
