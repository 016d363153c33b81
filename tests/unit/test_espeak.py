"""The espeak-ng binding: requests are heard, and nothing but the request decides the samples."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from raclap.corpora.espeak import SAMPLE_RATE, Synthesiser
from raclap.errors import RaClapError

pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: pip install 'raclap[demo]'")

TEXT = "My neighbour painted the garden fence on Monday."
# Flutter, roughness and breath are what espeak-ng keeps in static variables or takes from a random generator.
RESTLESS = "pitch 100 140\nflutter 40\nroughness 6\nbreath 30 30 30 20 20 20\nbreathw 150 150 200 200 400 400"


@pytest.fixture(scope="module")
def synthesiser():
    with Synthesiser() as opened:
        yield opened


def fundamental(samples: np.ndarray) -> float:
    """Median pitch in Hz by the first high peak of the autocorrelation of 40 ms frames."""
    size, shortest, longest = 882, SAMPLE_RATE // 600, SAMPLE_RATE // 60
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), size)[::441]
    energy = (frames**2).mean(1)
    pitches = []
    for frame in frames[energy > 0.1 * energy.max()]:
        spectrum = np.abs(np.fft.rfft(frame - frame.mean(), 2 * size)) ** 2
        lags = np.fft.irfft(spectrum)[:size] / np.arange(size, 0, -1)
        peak = lags[shortest:longest].max()
        if peak > 0.5 * lags[0]:
            good = np.flatnonzero(lags[shortest:longest] > 0.9 * peak)
            pitches.append(SAMPLE_RATE / (shortest + good[0]))
    return float(np.median(pitches))


def digest(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def test_speech_is_int16_and_sounds(synthesiser):
    samples = synthesiser.speak(TEXT)
    assert samples.dtype == np.int16
    assert len(samples) > SAMPLE_RATE
    assert np.abs(samples).max() > 1000


def test_same_request_same_samples_whatever_was_said_before(synthesiser):
    alone = digest(synthesiser.speak(TEXT, RESTLESS))
    synthesiser.speak("Something else, quite loud.", "pitch 200 300\necho 60 60", volume=200, rate=300, word_gap=9)
    assert digest(synthesiser.speak(TEXT, RESTLESS)) == alone
    with Synthesiser() as other:
        assert digest(other.speak(TEXT, RESTLESS)) == alone


def test_same_samples_in_another_process(synthesiser):
    program = (
        "import hashlib, sys; from raclap.corpora.espeak import Synthesiser\n"
        "with Synthesiser() as s: print(hashlib.sha256(s.speak(*sys.argv[1:]).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", program, TEXT, RESTLESS]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest(synthesiser.speak(TEXT, RESTLESS))


@pytest.mark.parametrize("hertz", [90, 130, 200, 300])
def test_voice_lines_set_the_pitch(synthesiser, hertz):
    samples = synthesiser.speak(TEXT, f"pitch {hertz} {hertz + 10}")
    assert fundamental(samples) == pytest.approx(hertz, rel=0.15)


def test_rate_shortens_and_volume_raises(synthesiser):
    lengths = [len(synthesiser.speak(TEXT, rate=rate)) for rate in (110, 175, 260)]
    assert lengths == sorted(lengths, reverse=True)
    levels = [np.abs(synthesiser.speak(TEXT, volume=volume)).mean() for volume in (20, 50, 100)]
    assert levels == sorted(levels)


def test_whisper_has_no_voice(synthesiser):
    def periodicity(samples: np.ndarray) -> float:
        frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 882)[::441]
        strong = frames[(frames**2).mean(1) > 0.3 * (frames**2).mean(1).max()]
        spectrum = np.abs(np.fft.rfft(strong - strong.mean(1, keepdims=True), 1764)) ** 2
        lags = np.fft.irfft(spectrum)[:, :882]
        return float(np.median(lags[:, 100:300].max(1) / lags[:, 0]))

    voiced = synthesiser.speak(TEXT, "pitch 110 150")
    whispered = synthesiser.speak(TEXT, "voicing 0\nbreath 75 75 60 50 30 20\nbreathw 150 150 200 200 400 400")
    assert periodicity(whispered) < 0.4
    assert periodicity(voiced) > 0.6


def test_unknown_accent_is_named(synthesiser):
    with pytest.raises(RaClapError, match="'klingon'"):
        synthesiser.speak(TEXT, accent="klingon")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(RaClapError, match=r"raclap\[demo\]"):
        Synthesiser()
