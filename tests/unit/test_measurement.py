from pathlib import Path

import numpy as np
import pytest
import soundfile

from raclap.corpora.measurement import measure, measure_all, quantile_levels, third, thirds
from raclap.errors import AudioError

RATE = 16_000


def harmonic(pitch: float, seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 0.2 * sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 6))


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


@pytest.mark.parametrize("pitch", [90.0, 220.0, 440.0])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_pitch_of_a_harmonic_tone(tmp_path: Path, pitch: float, rate: int):
    measurement = measure(write(tmp_path / "tone.wav", harmonic(pitch, 1.0, rate), rate))
    assert measurement.pitch == pytest.approx(pitch, rel=0.01)
    assert measurement.pitch_range == pytest.approx(0, abs=0.1)


def test_pitch_range_of_a_glide(tmp_path: Path):
    time = np.arange(2 * RATE) / RATE
    semitones = 4 * np.sin(2 * np.pi * 1.5 * time)
    phase = 2 * np.pi * np.cumsum(200 * 2 ** (semitones / 12)) / RATE
    samples = 0.2 * sum(np.sin(k * phase) / k for k in range(1, 6))
    measurement = measure(write(tmp_path / "glide.wav", samples))
    assert measurement.pitch_range == pytest.approx(4 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("amplitude", [0.5, 0.01])
def test_level_is_the_root_mean_square_of_the_speech_alone(tmp_path: Path, amplitude: float):
    # 200 Hz has whole periods in a frame of 25 ms, so the mean over frames is that over samples.
    sine = amplitude * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    expected = 20 * np.log10(amplitude / np.sqrt(2))
    alone = measure(write(tmp_path / "alone.wav", sine))
    assert alone.level == pytest.approx(expected, abs=1e-4)
    silence = np.zeros(RATE)
    padded = measure(write(tmp_path / "padded.wav", np.concatenate([silence, sine, silence])))
    assert padded.level == pytest.approx(expected, abs=0.1)
    assert padded.duration == pytest.approx(1.0, abs=0.05)


def test_stereo_is_averaged(tmp_path: Path):
    tone = harmonic(220, 1.0)
    mono = measure(write(tmp_path / "mono.wav", tone))
    stereo = measure(write(tmp_path / "stereo.wav", np.stack([tone, tone], axis=1)))
    assert stereo == mono


def test_rate_counts_the_given_syllables(tmp_path: Path):
    path = write(tmp_path / "tone.wav", harmonic(220, 2.0))
    measurement = measure(path, syllables=7)
    assert measurement.speaking_rate == pytest.approx(7 / measurement.duration)


@pytest.mark.parametrize("syllables", [3, 5, 8])
def test_rate_counts_peaks_of_energy(tmp_path: Path, syllables: int):
    time = np.arange(2 * RATE) / RATE
    envelope = 0.02 + np.sin(np.pi * time * syllables / 2) ** 2
    measurement = measure(write(tmp_path / "syllables.wav", envelope * harmonic(180, 2.0)))
    assert measurement.speaking_rate * measurement.duration == pytest.approx(syllables)


def test_a_burst_of_noise_has_no_pitch(tmp_path: Path):
    burst = 0.1 * np.random.default_rng(0).standard_normal(RATE // 10)
    measurement = measure(write(tmp_path / "burst.wav", burst))
    assert (measurement.pitch, measurement.pitch_range) == (None, None)
    assert measurement.duration == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "no samples"),
        (np.zeros(RATE), "silence"),
        (1e-6 * np.sin(np.arange(RATE)), "silent"),
        (np.full(RATE, np.nan), "not finite"),
        (np.ones(100), "shorter than 0.1 s"),
    ],
)
def test_recordings_without_speech_are_refused_by_name(tmp_path: Path, samples: np.ndarray, reason: str):
    path = write(tmp_path / "bad.wav", samples)
    with pytest.raises(AudioError, match=reason) as raised:
        measure(path)
    assert str(path) in str(raised.value)


def test_unreadable_and_missing_files_are_refused_by_name(tmp_path: Path):
    path = tmp_path / "text.wav"
    path.write_text("not audio")
    with pytest.raises(AudioError, match=r"text\.wav: not a readable"):
        measure(path)
    with pytest.raises(AudioError, match=r"absent\.wav: no such"):
        measure(tmp_path / "absent.wav")


def test_measure_all_keeps_order_in_one_process_and_in_several(tmp_path: Path):
    pitches = np.linspace(100, 400, 70)
    paths = [write(tmp_path / f"{row:02d}.wav", harmonic(p, 0.3)) for row, p in enumerate(pitches)]
    counts = [None] * len(paths)
    alone = measure_all(paths, counts, workers=1)
    assert np.allclose([measurement.pitch for measurement in alone], pitches, rtol=0.02)
    assert measure_all(paths, counts, workers=2) == alone


def test_a_stretch_is_measured_as_if_it_were_alone(tmp_path: Path):
    whole = write(tmp_path / "whole.wav", np.concatenate([harmonic(120, 1.0), harmonic(300, 1.0), np.zeros(RATE)]))
    alone = write(tmp_path / "alone.wav", harmonic(300, 1.0))
    assert measure(whole, 5, start=1.0, end=2.0) == measure(alone, 5)
    assert measure(whole, end=1.0).pitch == pytest.approx(120, rel=0.01)
    stretches = [(1.0, 2.0), (None, 1.0), (None, None)]
    pitches = [found.pitch for found in measure_all([whole] * 3, [None] * 3, stretches=stretches)]
    assert pitches[:2] == pytest.approx([300, 120], rel=0.01)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (2.5, 3.5, "not a stretch of its 3.00 s"),
        (2.0, 1.0, "not a stretch"),
        (0.0, 0.05, "shorter than"),
        (2.0, 3.0, "silen"),
    ],
)
def test_a_stretch_that_cannot_be_measured_is_named(tmp_path: Path, start: float, end: float, reason: str):
    path = write(tmp_path / "tone.wav", np.concatenate([harmonic(120, 2.0), np.zeros(RATE)]))
    with pytest.raises(AudioError, match=reason) as raised:
        measure(path, start=start, end=end)
    assert str(raised.value).startswith(f"{path}: ")


def test_measure_all_stops_at_a_bad_recording_or_returns_its_error(tmp_path: Path):
    good, bad = write(tmp_path / "good.wav", harmonic(220, 0.5)), write(tmp_path / "bad.wav", np.zeros(RATE))
    with pytest.raises(AudioError, match=r"bad\.wav"):
        measure_all([good, bad], [None, None])
    outcomes = measure_all([bad, good], [None, None], skip_bad=True)
    assert isinstance(outcomes[0], AudioError)
    assert outcomes[1].pitch == pytest.approx(220, rel=0.01)


def test_a_bad_recording_stops_the_processes_too(tmp_path: Path):
    good, bad = write(tmp_path / "good.wav", harmonic(220, 0.3)), write(tmp_path / "bad.wav", np.zeros(RATE))
    with pytest.raises(AudioError, match=r"bad\.wav"):
        measure_all([good] * 20 + [bad] + [good] * 60, [None] * 81, workers=2)


def test_levels_are_thirds_of_the_own_group():
    values = [*range(30), *range(100, 130)]
    groups = ["male"] * 30 + ["female"] * 30
    levels = quantile_levels(values, groups)
    for group in (levels[:30], levels[30:]):
        assert group == ["low"] * 10 + ["normal"] * 10 + ["high"] * 10


def test_level_borders_come_from_the_fitted_values_alone():
    values = [1.0, 2.0, 3.0, 100.0, 2.0]
    fit_on = [True, True, True, False, False]
    with_outlier = quantile_levels(values, ["a"] * 5, fit_on)
    assert with_outlier == ["low", "normal", "high", "high", "normal"]
    assert quantile_levels([1.0, 2.0, 3.0], ["a"] * 3) == with_outlier[:3]


def test_what_lies_on_a_border_is_in_the_middle():
    borders = thirds([1.0, 2.0, 3.0, 4.0])
    assert borders == (2.0, 3.0)
    assert [third(value, borders) for value in (1.9, 2.0, 3.0, 3.1)] == ["low", "normal", "normal", "high"]


def test_levels_without_a_value_or_a_group_are_unknown():
    assert quantile_levels([None, 1.0], ["a", "b"], [True, False]) == [None, None]
    assert quantile_levels([5.0, 5.0, 5.0], ["a"] * 3, names=("slow", "normal", "fast")) == ["normal"] * 3


@pytest.mark.speech
def test_real_speech_is_measured_plausibly(speech_folder: Path):
    def of(actor: str, emotion: str) -> list:
        paths = sorted((speech_folder / "ravdess" / f"Actor_{actor}").glob(f"03-01-{emotion}-02-*"))
        return measure_all(paths, [7] * len(paths))

    angry, sad = of("05", "05"), of("05", "04")
    assert np.mean([m.level for m in angry]) > np.mean([m.level for m in sad]) + 6
    assert np.mean([m.pitch for m in of("06", "04")]) > np.mean([m.pitch for m in sad])
    for measurement in angry + sad:
        assert 65 < measurement.pitch < 400
        assert 0.3 < measurement.pitch_range < 7
        assert 1 < measurement.duration < 4
