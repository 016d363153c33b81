"""Clips in a page: what comes out is what went in, once each, within the room there is."""

import base64
import io

import numpy as np
import pytest
import soundfile

from conftest import RATE, make_corpus, tone
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest
from raclap.report.sounds import SoundShelf, encode


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = make_corpus(tmp_path_factory.mktemp("sounds"), "tones", {"validation": 4})
    return inspect_audio(read_manifest(path), RATE, progress=False)


def test_a_clip_sounds_as_before():
    clip = tone(220.0, 0.5, 1.0, np.random.default_rng(0))
    sound = encode(clip, RATE)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound.data)), dtype="float32")
    assert rate == RATE
    assert not sound.is_cut
    assert len(samples) / rate == pytest.approx(1.0, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()] == pytest.approx(220, abs=4)
    assert np.sqrt((samples[2000:14000] ** 2).mean()) == pytest.approx(np.sqrt((clip**2).mean()), rel=0.1)


def test_a_long_clip_is_cut():
    sound = encode(tone(220.0, 0.5, 3.0, np.random.default_rng(0)), RATE, longest=1.0)
    assert sound.is_cut
    assert soundfile.info(io.BytesIO(base64.b64decode(sound.data))).duration == pytest.approx(1.0, abs=0.15)


def test_a_clip_is_held_once(rows):
    shelf = SoundShelf()
    assert [shelf.add("tones", rows, row) for row in (0, 1, 0)] == [0, 1, 0]
    assert len(shelf.sounds) == 2
    assert shelf.add("other", rows, 0) == 2
    assert shelf.number("tones", 1) == 1
    assert shelf.number("tones", 3) is None


def test_there_is_only_so_much_room(rows):
    one = SoundShelf()
    one.add("tones", rows, 0)
    for room in (one.size, one.size + 100):
        shelf = SoundShelf(most_bytes=room)
        assert [shelf.add("tones", rows, row) for row in (0, 1)] == [0, None]
        assert shelf.size == one.size
    assert SoundShelf(most_bytes=0).add("tones", rows, 0) is None
