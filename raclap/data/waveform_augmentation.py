"""Changes of the sound itself, in training only: level, noise, rooms, codecs and bands, by audiomentations.

The library draws from the random state of the process. Here that state is set from the draw before a clip is changed,
and put back afterwards: the same draw sounds the same in any loader process, and nothing else notices.

Shapes: S samples.
"""

import importlib.util
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from raclap.data.audio import read_header
from raclap.data.manifest import read_manifest
from raclap.errors import RecipeError
from raclap.recipe import (
    BackgroundNoiseRecipe,
    BandRecipe,
    ChangeRecipe,
    GainRecipe,
    GaussianNoiseRecipe,
    ImpulseResponseRecipe,
    Mp3Recipe,
    RoomRecipe,
)

_KEY = "augmentation.waveform"
_OLDEST = (0, 43)  # version of audiomentations whose transforms these are
# What each kind needs beside audiomentations itself.
_BACKENDS = {"mp3": "fast_mp3_augment", "room": "pyroomacoustics"}
_SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav")  # that both libsndfile and it read
_REFLECTIONS = 8  # of simulated rooms; more take time and are hardly heard


class WaveformAugmentation:
    """The changes that a recipe lists, one after the other, each with its probability.

    Args:
        changes: in the order in which they are made.
        rate: of the clips, Hz.

    Raises:
        RecipeError: audiomentations or what it needs is not installed, a range is not one of its, or a folder of
            sounds holds none.
        AudioError: a sound of such a folder cannot be read.
    """

    def __init__(self, changes: Sequence[ChangeRecipe], rate: int):
        self._recipes = list(changes)
        self._rate = rate
        _check_installed(self._recipes)
        self._sounds = [_sounds(index, change) for index, change in enumerate(self._recipes)]
        self._changes  # noqa: B018 - a wrong range is found now, not in a loader process

    def __call__(self, waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Changes a clip.

        Args:
            waveform: (S,) float32; it is left as it is.
            generator: source of the randomness.

        Returns:
            (S,) float32; the waveform itself where chance left it alone.

        Raises:
            RecipeError: a change failed; the message names it. (Not the clip is at fault, which could be left out.)
        """
        with _random_state_from(generator), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sounds of other rates are resampled, silent ones left out
            for index, (recipe, change) in enumerate(zip(self._recipes, self._changes, strict=True)):
                try:
                    waveform = change(waveform)
                except Exception as error:
                    raise RecipeError(f"{_KEY}.{index} ({recipe.kind}): {error}") from error
        return waveform

    def __getstate__(self) -> dict:
        """Another process makes its own: the library's cannot all be handed over."""
        return {name: value for name, value in self.__dict__.items() if name != "_changes"}

    @cached_property
    def _changes(self) -> list[Callable[[np.ndarray], np.ndarray]]:
        changes = []
        for index, (recipe, sounds) in enumerate(zip(self._recipes, self._sounds, strict=True)):
            try:
                transform = _MAKERS[type(recipe)](recipe, sounds)
            except (ValueError, AssertionError) as error:
                raise RecipeError(f"{_KEY}.{index} ({recipe.kind}): {error}") from error
            keeps_level = isinstance(recipe, (ImpulseResponseRecipe, RoomRecipe))
            changes.append(partial(_apply, transform, self._rate, keeps_level))
        return changes


def _apply(transform: Any, rate: int, keeps_level: bool, waveform: np.ndarray) -> np.ndarray:
    changed = transform(samples=waveform, sample_rate=rate)
    if changed is waveform or not keeps_level:
        return changed
    # How loud a voice is, is a style; how loud a room is, is not.
    before, after = (float(np.sqrt(np.mean(np.square(clip)))) for clip in (waveform, changed))
    return changed * np.float32(before / after) if after > 0 else waveform


def _gain(recipe: GainRecipe, _: Sequence[str]) -> Any:
    from audiomentations import Gain

    return Gain(recipe.min_db, recipe.max_db, p=recipe.probability)


def _gaussian_noise(recipe: GaussianNoiseRecipe, _: Sequence[str]) -> Any:
    from audiomentations import AddGaussianSNR

    return AddGaussianSNR(recipe.min_snr_db, recipe.max_snr_db, p=recipe.probability)


def _background_noise(recipe: BackgroundNoiseRecipe, sounds: Sequence[str]) -> Any:
    from audiomentations import AddBackgroundNoise

    return AddBackgroundNoise(list(sounds), recipe.min_snr_db, recipe.max_snr_db, p=recipe.probability)


def _impulse_response(recipe: ImpulseResponseRecipe, sounds: Sequence[str]) -> Any:
    from audiomentations import ApplyImpulseResponse

    return ApplyImpulseResponse(list(sounds), p=recipe.probability, leave_length_unchanged=True)


def _room(recipe: RoomRecipe, _: Sequence[str]) -> Any:
    from audiomentations import RoomSimulator

    # Rays are cast by a random generator of their own, which cannot be set.
    return RoomSimulator(
        calculation_mode="rt60",
        min_target_rt60=recipe.min_seconds,
        max_target_rt60=recipe.max_seconds,
        use_ray_tracing=False,
        max_order=_REFLECTIONS,
        leave_length_unchanged=True,
        p=recipe.probability,
    )


def _mp3(recipe: Mp3Recipe, _: Sequence[str]) -> Any:
    from audiomentations import Mp3Compression

    return Mp3Compression(recipe.min_kbps, recipe.max_kbps, p=recipe.probability)


def _band(recipe: BandRecipe, _: Sequence[str]) -> Any:
    from audiomentations import HighPassFilter, LowPassFilter

    make = LowPassFilter if recipe.kind == "low_pass" else HighPassFilter
    return make(recipe.min_hz, recipe.max_hz, p=recipe.probability)


_MAKERS: dict[type, Callable[[Any, Sequence[str]], Any]] = {
    GainRecipe: _gain,
    GaussianNoiseRecipe: _gaussian_noise,
    BackgroundNoiseRecipe: _background_noise,
    ImpulseResponseRecipe: _impulse_response,
    RoomRecipe: _room,
    Mp3Recipe: _mp3,
    BandRecipe: _band,
}


def _check_installed(changes: Sequence[ChangeRecipe]) -> None:
    hint = "pip install 'raclap[augment]'"
    try:
        import audiomentations
    except ImportError:
        raise RecipeError(f"{_KEY} needs audiomentations: {hint}") from None
    found = tuple(int(part) for part in audiomentations.__version__.split(".")[:2])
    if found < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise RecipeError(f"{_KEY} needs audiomentations {wanted}, not {audiomentations.__version__}: {hint}")
    for index, change in enumerate(changes):
        package = _BACKENDS.get(change.kind)
        if package and importlib.util.find_spec(package) is None:
            raise RecipeError(f"{_KEY}.{index} ({change.kind}) needs {package}: {hint}")


def _sounds(index: int, change: ChangeRecipe) -> list[str]:
    """The recordings that a change mixes in, in the same order everywhere; none where it takes none."""
    if not isinstance(change, (BackgroundNoiseRecipe, ImpulseResponseRecipe)):
        return []
    place = Path(change.sounds)
    if place.suffix == ".parquet":
        manifest = read_manifest(place)
        files = {manifest.audio_path(pair) for pair in manifest}
    else:
        files = set(place.rglob("*")) if place.is_dir() else {place}
    paths = sorted(path for path in files if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise RecipeError(f"{_KEY}.{index} ({change.kind}): {place} holds no sounds ({', '.join(_SUFFIXES)})")
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(read_header, shortest=0.0), paths))
    return list(map(str, paths))


@contextmanager
def _random_state_from(generator: np.random.Generator) -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    seed = int(generator.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
