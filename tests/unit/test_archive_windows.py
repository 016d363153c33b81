"""Windows cover a recording, overlap and end where it ends; read in blocks they are what the whole is."""

import itertools
import random

import numpy as np
import pytest

from conftest import tone
from raclap.archive import windows
from raclap.archive.windows import Span, cut, is_silent, read_spans
from raclap.data.sound import Samples


class Counting(Samples):
    """Counts the samples that are read."""

    def __init__(self, samples: np.ndarray):
        super().__init__(samples)
        self.read_samples, self.most = 0, 0

    def read(self, first: int, last: int) -> np.ndarray:
        self.read_samples += last - first
        self.most = max(self.most, last - first)
        return super().read(first, last)


def test_windows_of_any_recording_cover_it_in_order_and_end_where_it_ends() -> None:
    rng = random.Random(0)
    for _ in range(2_000):
        window = rng.randint(2, 200)
        hop, samples = rng.randint(1, window), rng.randint(1, 2_000)
        spans = cut(samples, window, hop)
        covered = np.zeros(samples, bool)
        for span in spans:
            covered[span.first : span.last] = True
        assert covered.all() and spans[0].first == 0 and spans[-1].last == samples
        assert all(a.first < b.first and a.last < b.last for a, b in itertools.pairwise(spans))
        assert all(b.first - a.first <= hop for a, b in itertools.pairwise(spans))
        assert all(span.last - span.first == min(window, samples) for span in spans[:-1])
        assert spans[-1].last - spans[-1].first < window + max(1, hop / 4)
        longest = cut(samples, window, hop, longest=window)
        assert all(span.last - span.first <= window for span in longest) and longest[-1].last == samples


@pytest.mark.parametrize(("samples", "expected"), [(100, [(0, 100)]), (109, [(0, 109)]), (150, [(0, 100), (50, 150)])])
def test_a_short_rest_joins(samples: int, expected: list[tuple[int, int]]) -> None:
    assert cut(samples, 100, 50) == [Span(*span) for span in expected]


def test_blocks_are_decoded_once_and_give_the_samples_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_BLOCK_SECONDS", 3.0)
    samples = np.random.default_rng(0).standard_normal(100 * 40 + 17).astype(np.float32)
    sound = Counting(samples)
    spans = cut(len(samples), 1_000, 300)
    read = list(read_spans(sound, spans, rate=100))
    for (first, last), waveform in zip(spans, read, strict=True):
        assert np.array_equal(waveform, samples[first:last])
    assert sound.read_samples == len(samples)
    assert sound.most <= 1_000 + 300


def test_a_window_does_not_keep_its_block_in_memory() -> None:
    samples = np.ones(10_000, np.float32)
    read = list(read_spans(Samples(samples), cut(10_000, 100, 50), rate=16_000))
    assert all(waveform.base is None for waveform in read)


def test_sixteen_bits_become_floats() -> None:
    (whole,) = read_spans(Samples(np.array([0, -(2**15), 2**14], np.int16)), [Span(0, 3)], rate=16_000)
    assert whole.dtype == np.float32 and whole.tolist() == [0.0, -1.0, 0.5]


def test_silence_is_what_no_voice_could_be() -> None:
    rng = np.random.default_rng(0)
    assert is_silent(np.zeros(1_600, np.float32))
    assert is_silent(rng.uniform(-1e-4, 1e-4, 1_600).astype(np.float32))
    assert not is_silent(tone(220.0, 0.003, 0.2, rng))
    assert not is_silent(np.array([0.0, -0.1, 0.0], np.float32))
