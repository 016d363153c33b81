"""Changes of the sound: each does what it says, a draw sounds the same everywhere, and nothing else notices."""

import pickle
import random

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from conftest import RATE, make_corpus, make_tokenizer, tone
from modeling_raclap import RaClapFeatureExtractor, RaClapProcessor
from raclap.data import waveform_augmentation
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.ragged import SAMPLES
from raclap.data.sampling import Draw
from raclap.data.waveform_augmentation import WaveformAugmentation
from raclap.errors import AudioError, RecipeError
from raclap.recipe import AugmentationRecipe, dump_recipe, read_recipe

library = pytest.importorskip("audiomentations", minversion="0.43", reason="pip install 'raclap[augment]'")
CLIP = tone(200, 0.2, 1.0, np.random.default_rng(0))


@pytest.fixture
def sounds(tmp_path):
    """A folder of noises and one of impulse responses."""
    rng = np.random.default_rng(0)
    for folder, names in {"noises": ("b.flac", "a.wav", "deep/c.wav"), "rooms": ("hall.wav", "lift.wav")}.items():
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = rng.standard_normal(24_000) * (np.exp(-np.arange(24_000) / 900) if folder == "rooms" else 0.1)
            soundfile.write(path, samples / np.abs(samples).max(), 24_000)
    (tmp_path / "noises" / "notes.txt").write_text("no sound", encoding="utf-8")
    return tmp_path


def build(*changes: dict, rate: int = RATE) -> WaveformAugmentation:
    return WaveformAugmentation(AugmentationRecipe(waveform=changes).waveform, rate)


def generator(number: int = 0) -> np.random.Generator:
    return np.random.default_rng([0, number])


def all_changes(folder, probability: float = 1.0) -> list[dict]:
    changes = [
        {"kind": "gain"}, {"kind": "gaussian_noise"}, {"kind": "background_noise", "sounds": str(folder / "noises")},
        {"kind": "impulse_response", "sounds": str(folder / "rooms")}, {"kind": "room"}, {"kind": "mp3"},
        {"kind": "low_pass", "min_hz": 2000, "max_hz": 4000}, {"kind": "high_pass", "min_hz": 100, "max_hz": 300},
    ]  # fmt: skip
    return [{**change, "probability": probability} for change in changes]


def level(waveform: np.ndarray) -> float:
    """Root mean square in dB of full scale."""
    return 20 * np.log10(np.sqrt(np.mean(np.square(waveform.astype(np.float64)))))


def above(waveform: np.ndarray, hertz: float) -> float:
    """Level of what lies above a frequency, dB."""
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    return 10 * np.log10(spectrum[np.fft.rfftfreq(len(waveform), 1 / RATE) > hertz].sum())


@pytest.mark.parametrize("index", range(8))
def test_a_changed_clip_is_as_long_and_another_one(sounds, index):
    change = build(all_changes(sounds)[index])
    before = CLIP.copy()
    changed = change(CLIP, generator())
    assert changed.shape == CLIP.shape and changed.dtype == np.float32 and np.isfinite(changed).all()
    assert not np.array_equal(changed, CLIP)
    np.testing.assert_array_equal(CLIP, before)
    np.testing.assert_array_equal(change(CLIP, generator()), changed)
    assert not np.array_equal(change(CLIP, generator(1)), changed)


def test_gains_are_within_their_range():
    change = build({"kind": "gain", "min_db": -4, "max_db": 2, "probability": 1})
    gains = [level(change(CLIP, generator(number))) - level(CLIP) for number in range(200)]
    assert -4 <= min(gains) < -3.8 and 1.8 < max(gains) <= 2


@pytest.mark.parametrize("kind", ["gaussian_noise", "background_noise"])
def test_noise_has_the_level_that_was_asked_for(sounds, kind):
    place = {"sounds": str(sounds / "noises")} if kind == "background_noise" else {}
    change = build({"kind": kind, "min_snr_db": 10, "max_snr_db": 20, "probability": 1, **place})
    ratios = [level(CLIP) - level(change(CLIP, generator(number)) - CLIP) for number in range(60)]
    assert 9.5 < min(ratios) < 12 and 18 < max(ratios) < 20.5


@pytest.mark.parametrize("kind", ["impulse_response", "room"])
def test_rooms_sound_on_and_leave_the_level_alone(sounds, kind):
    place = (
        {"sounds": str(sounds / "rooms")} if kind == "impulse_response" else {"min_seconds": 0.5, "max_seconds": 0.8}
    )
    change = build({"kind": kind, "probability": 1, **place})
    click = np.concatenate([CLIP[:4000], np.zeros(4000, np.float32)])
    changed = change(click, generator())
    assert level(changed) == pytest.approx(level(click), abs=0.01)
    assert level(changed[4000:6000]) > level(click) - 40


def test_bands_are_taken_away():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    low = build({"kind": "low_pass", "min_hz": 1000, "max_hz": 1000, "probability": 1})(noise, generator())
    assert above(noise, 4000) - above(low, 4000) > 20
    high = build({"kind": "high_pass", "min_hz": 4000, "max_hz": 4000, "probability": 1})(noise, generator())
    assert above(noise[::-1], 4500) - above(high, 4500) < 3 < above(noise, 0) - above(high, 0)


def test_chance_leaves_clips_alone_and_gives_them_back(sounds):
    change = build({"kind": "gaussian_noise", "probability": 0.3})
    left = sum(change(CLIP, generator(number)) is CLIP for number in range(400))
    assert 0.6 < left / 400 < 0.8


def test_the_random_state_of_the_process_is_put_back(sounds):
    change = build(*all_changes(sounds))
    random.seed(3), np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3), np.random.seed(3)
    change(CLIP, generator())
    assert (random.random(), np.random.random()) == expected
    random.seed(8), np.random.seed(8)
    one = change(CLIP, generator(5))
    np.testing.assert_array_equal(change(CLIP, generator(5)), one)


def test_the_order_of_a_folder_is_the_same_everywhere(sounds):
    change = {"kind": "background_noise", "sounds": str(sounds / "noises"), "probability": 1}
    names = [path.rsplit("/noises/")[1] for path in build(change)._sounds[0]]
    assert names == ["a.wav", "b.flac", "deep/c.wav"]


def test_noises_are_named_by_a_manifest_as_well(sounds):
    pairs = [Pair(name, name, (Caption("rain"),), "noises", "train") for name in ("b.flac", "a.wav")]
    write_manifest(sounds / "noises.parquet", pairs, sounds / "noises")
    found = build({"kind": "background_noise", "sounds": str(sounds / "noises.parquet"), "probability": 1})
    assert len(found._sounds[0]) == 2 and not np.array_equal(found(CLIP, generator()), CLIP)


def test_another_process_changes_a_clip_alike(sounds):
    change = build(*all_changes(sounds))
    again = pickle.loads(pickle.dumps(change))
    np.testing.assert_array_equal(again(CLIP, generator()), change(CLIP, generator()))


@pytest.fixture
def corpus(tmp_path):
    return inspect_audio(read_manifest(make_corpus(tmp_path, "tones", {"train": 12})), RATE, progress=False)


def batches(corpus, changes, workers: int, threads: int) -> list[torch.Tensor]:
    processor = RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())
    dataset = PairDataset([corpus], 0.25, seed=4, speed=0.05, augment=build(*changes), threads=threads)
    draws = [Draw(number % 12, number) for number in range(24)]
    loader = DataLoader(
        dataset, batch_size=6, sampler=draws, num_workers=workers, collate_fn=PairCollator(processor, flat=True)
    )
    return [batch[SAMPLES] for batch in loader]


def test_a_draw_sounds_the_same_in_any_number_of_processes_and_threads(corpus, sounds):
    changes = [change for change in all_changes(sounds, 0.5) if change["kind"] != "room"]  # takes its time
    expected = batches(corpus, changes, workers=0, threads=1)
    for workers, threads in ((0, 3), (1, 1), (2, 2)):
        for found, one in zip(batches(corpus, changes, workers, threads), expected, strict=True):
            assert torch.equal(found, one)


def test_what_was_changed_is_kept_clean_beside_it(corpus):
    change = build({"kind": "gaussian_noise", "probability": 0.5})
    plain, noisy = (PairDataset([corpus], 0.25, augment=augment) for augment in (None, change))
    changed = 0
    for number in range(40):
        one, other = plain[Draw(number % 12, number)], noisy[Draw(number % 12, number)]
        assert one.clean is None
        heard = other.waveform if other.clean is None else other.clean
        np.testing.assert_array_equal(heard, one.waveform)
        changed += other.clean is not None
    assert 10 < changed < 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{kind: gain, probabilty: 1}", "augmentation.waveform.0.gain.probabilty': unknown key"),
        ("{kind: echo}", "'echo'"),
        ("{probability: 1}", "augmentation.waveform.0"),
        ("{kind: gain, min_db: 3, max_db: 1}", "min_db is larger than max_db"),
        ("{kind: background_noise}", "augmentation.waveform.0.background_noise.sounds': missing"),
        ("{kind: low_pass, min_hz: 0, max_hz: 10}", "greater than 0"),
        ("{kind: gain, probability: 0}", "greater than 0"),
    ],
)
def test_mistakes_in_a_recipe_are_named(recipe_file, change, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe_file, [f"augmentation.waveform=[{change}]"])
    assert message in str(caught.value)


def test_a_recipe_with_changes_reads_back_and_names_no_folder_where_it_is_published(recipe_file, tmp_path):
    change = "{kind: background_noise, sounds: /mine/noises}"
    recipe = read_recipe(recipe_file, [f"augmentation.waveform=[{change}]", "data.cache=/mine/cache"])
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert read_recipe(tmp_path / "again.yaml") == recipe
    published = dump_recipe(recipe, with_paths=False)
    assert "/mine" not in published and "background_noise" in published


def test_a_place_without_sounds_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"augmentation\.waveform\.0 \(background_noise\): .* holds no sounds"):
        build({"kind": "background_noise", "sounds": str(tmp_path)})


def test_a_bad_sound_is_named_before_training(sounds):
    (sounds / "noises" / "bad.wav").write_text("these are words", encoding="utf-8")
    with pytest.raises(AudioError, match=r"bad\.wav: not a readable audio file"):
        build({"kind": "background_noise", "sounds": str(sounds / "noises")})


def test_a_range_that_the_library_refuses_is_named():
    with pytest.raises(RecipeError, match=r"augmentation\.waveform\.0 \(mp3\): min_bitrate must be"):
        build({"kind": "mp3", "min_kbps": 1, "max_kbps": 8})


def test_a_change_that_fails_is_named(sounds):
    change = build({"kind": "background_noise", "sounds": str(sounds / "noises"), "probability": 1})
    for path in (sounds / "noises").rglob("*.*"):
        path.unlink()
    with pytest.raises(RecipeError, match=r"augmentation\.waveform\.0 \(background_noise\): "):
        change(CLIP, generator())


@pytest.mark.parametrize(
    ("change", "package", "message"),
    [
        ({"kind": "gain"}, None, "needs audiomentations 0.43, not 0.7.0: pip install 'raclap[augment]'"),
        ({"kind": "mp3"}, "fast_mp3_augment", r"0 \(mp3\) needs fast_mp3_augment: pip install 'raclap\[augment\]'"),
        ({"kind": "room"}, "pyroomacoustics", r"0 \(room\) needs pyroomacoustics"),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, change, package, message):
    if package is None:
        monkeypatch.setattr(library, "__version__", "0.7.0")
        message = message.replace("[", r"\[").replace("]", r"\]")
    else:
        monkeypatch.setattr(waveform_augmentation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=message):
        build(change)
