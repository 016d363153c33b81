"""The processor: whatever a user holds, one clip or many; and the errors for what cannot be embedded."""

import numpy as np
import pytest
import soundfile
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from conftest import RATE, make_tokenizer, tone
from modeling_raclap import RaClapFeatureExtractor, RaClapProcessor
from modeling_raclap.audio_raclap import load_audio, resample, to_mono, trim_silence


@pytest.fixture
def processor() -> RaClapProcessor:
    return RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())


@pytest.fixture
def clip() -> np.ndarray:
    return tone(220.0, 0.4, 0.5, np.random.default_rng(0))


def test_path_bytes_array_and_tensor_are_the_same_clip(processor, clip, tmp_path):
    path = tmp_path / "a clip (1).wav"
    soundfile.write(path, clip, RATE, subtype="FLOAT")
    expected = processor(audio=clip, sampling_rate=RATE)["input_values"]
    for source in (path, str(path), path.read_bytes()):
        torch.testing.assert_close(processor(audio=source)["input_values"], expected)
    torch.testing.assert_close(processor(audio=torch.from_numpy(clip), sampling_rate=RATE)["input_values"], expected)
    torch.testing.assert_close(processor(audio=clip.tolist(), sampling_rate=RATE)["input_values"], expected)
    torch.testing.assert_close(processor(audio={"array": clip, "sampling_rate": RATE})["input_values"], expected)


def test_integers_are_scaled_to_full_range(processor):
    samples = np.array([16384, -16384, 0, 8192] * 1000, np.int16)
    values = processor(audio=samples, sampling_rate=RATE)["input_values"]
    torch.testing.assert_close(values[0, :4], torch.tensor([0.5, -0.5, 0.0, 0.25]))
    unsigned = ((samples.astype(int) // 256) + 128).astype(np.uint8)
    torch.testing.assert_close(
        processor(audio=unsigned, sampling_rate=RATE)["input_values"][0, :4],
        torch.tensor([0.5, -0.5, 0.0, 0.25]),
    )


@pytest.mark.parametrize("channels_first", [True, False])
def test_stereo_is_averaged(processor, clip, channels_first):
    stereo = np.stack([clip, 0.5 * clip], axis=0 if channels_first else 1)
    values = processor(audio=stereo, sampling_rate=RATE)["input_values"]
    torch.testing.assert_close(values[0], torch.from_numpy(0.75 * clip))


def test_any_rate_is_resampled_and_keeps_its_frequency(processor):
    time = np.arange(44_100) / 44_100
    values = processor(audio=np.sin(2 * np.pi * 1000 * time), sampling_rate=44_100)["input_values"][0]
    assert len(values) == RATE
    assert torch.fft.rfft(values).abs().argmax().item() == 1000


def test_resampling_removes_what_the_new_rate_cannot_hold():
    time = np.arange(48_000) / 48_000
    above = resample(np.sin(2 * np.pi * 12_000 * time).astype(np.float32), 48_000, RATE)
    assert np.abs(above[1000:-1000]).max() < 1e-3


def test_many_clips_are_padded_and_masked(processor, clip):
    batch = processor(text=["a low voice", "a loud voice speaks"], audio=[clip, clip[:3000]], sampling_rate=RATE)
    assert batch["input_values"].shape == (2, len(clip))
    assert batch["audio_attention_mask"].sum(1).tolist() == [len(clip), 3000]
    assert batch["input_values"][1, 3000:].abs().max() == 0
    assert batch["attention_mask"].sum(1).tolist() == [5, 6]


def test_log_mel_of_a_clip_alone_and_in_a_batch(clip):
    extractor = RaClapFeatureExtractor(features="log_mel")
    alone = extractor(clip[:3000], sampling_rate=RATE)["input_features"][0]
    batch = extractor([clip, clip[:3000]], sampling_rate=RATE)
    assert batch["audio_attention_mask"][1].sum() == len(alone) == (3000 - 400) // 160 + 1
    torch.testing.assert_close(batch["input_features"][1, : len(alone)], alone, rtol=1e-5, atol=1e-5)
    assert batch["input_features"][1, len(alone) :].abs().max() == 0


def test_log_mel_follows_loudness_and_pitch():
    """Ten times the amplitude adds ln 100 to every log energy; a pure tone peaks in the filter of its frequency."""
    extractor = RaClapFeatureExtractor(features="log_mel", log_mel_mean=0.0, log_mel_std=1.0)
    time = np.arange(RATE) / RATE
    quiet = 0.01 * np.sin(2 * np.pi * 1000 * time)
    low, high = (extractor(c, sampling_rate=RATE)["input_features"][0] for c in (quiet, 10 * quiet))
    peak = int(low.mean(0).argmax())
    assert (high - low)[:, peak].mean().item() == pytest.approx(np.log(100), abs=1e-3)
    louder = extractor(0.01 * np.sin(2 * np.pi * 2000 * time), sampling_rate=RATE)["input_features"][0]
    assert int(louder.mean(0).argmax()) > peak


PUBLISHED_FRONT_ENDS = {
    "speechbrain": {"front_end": "speechbrain", "low_hz": 0.0, "normalize": "utterance"},
    "kaldi": {"front_end": "kaldi", "normalize": "utterance"},
}
FRONT_ENDS = {"raclap": {}, **PUBLISHED_FRONT_ENDS}


def loud_then_silent() -> np.ndarray:
    """0.2 s in which every part of a front end has something to do: an offset, noise, a tone and digital silence."""
    time = np.arange(3200) / RATE
    samples = 0.6 * np.sin(2 * np.pi * 440 * time) + 0.02 * np.random.default_rng(1).standard_normal(3200) + 0.05
    return np.where(time < 0.13, samples, 0.0).astype(np.float32)


def naive_power(frames: np.ndarray, length: int) -> np.ndarray:
    """(F, W) to (F, length / 2 + 1): the definition of the discrete Fourier transform, squared."""
    bins, samples = np.arange(length // 2 + 1), np.arange(frames.shape[1])
    return np.abs(frames @ np.exp(-2j * np.pi * np.outer(samples, bins) / length)) ** 2


def triangles_over_mel(length: int, low_hz: float) -> np.ndarray:
    """(length / 2 + 1, 80): up to a centre and down again along the mel axis, which is 1127 ln(1 + f / 700)."""
    points = np.linspace(*(1127 * np.log(1 + hz / 700) for hz in (low_hz, RATE / 2)), 82)
    filters = np.zeros((length // 2 + 1, 80))
    for frequency in range(length // 2 + 1):
        mel = 1127 * np.log(1 + frequency * RATE / length / 700)
        for index, (left, centre, right) in enumerate(zip(points, points[1:], points[2:], strict=False)):
            if left < mel < right:
                rising = mel <= centre
                filters[frequency, index] = (mel - left if rising else right - mel) / (
                    centre - left if rising else right - centre
                )
    return filters


def raclap_reference(samples: np.ndarray) -> np.ndarray:
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([samples[start : start + 400] * window for start in range(0, len(samples) - 399, 160)])
    energies = np.log(naive_power(frames, 400) @ triangles_over_mel(400, 20.0) + 1e-8)
    return (energies + 6.0) / 4.0


def kaldi_reference(samples: np.ndarray) -> np.ndarray:
    """Kaldi's fbank with a Hamming window, without dither and energy, less the mean of each bin."""
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    frames = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400] * 2.0**15
        frame = frame - frame.mean()
        emphasised = frame.copy()
        for index in range(400):
            emphasised[index] = frame[index] - 0.97 * frame[max(0, index - 1)]
        frames.append(emphasised * window)
    energies = naive_power(np.stack(frames), 512) @ triangles_over_mel(512, 20.0)
    features = np.log(np.maximum(energies, 2.0**-23))
    return features - features.mean(0)


def speechbrain_reference(samples: np.ndarray) -> np.ndarray:
    """SpeechBrain's Fbank, less the mean of each bin."""
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    extended = np.concatenate([np.zeros(200), samples, np.zeros(200)])
    frames = np.stack([extended[160 * t : 160 * t + 400] * window for t in range(len(samples) // 160 + 1)])
    points = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), 82) / 2595) - 1)
    filters = np.zeros((201, 80))
    for index in range(80):
        centre, width = points[index + 1], points[index + 1] - points[index]
        for frequency in range(201):
            filters[frequency, index] = max(0.0, 1 - abs(40.0 * frequency - centre) / width)
    decibels = 10 * np.log10(np.maximum(naive_power(frames, 400) @ filters, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    return decibels - decibels.mean(0)


REFERENCES = {"raclap": raclap_reference, "kaldi": kaldi_reference, "speechbrain": speechbrain_reference}


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_front_end_equals_its_definition(front_end):
    extractor = RaClapFeatureExtractor(features="log_mel", **FRONT_ENDS[front_end])
    features = extractor(loud_then_silent(), sampling_rate=RATE)["input_features"][0]
    expected = REFERENCES[front_end](loud_then_silent().astype(np.float64))
    assert features.shape == expected.shape == ((21 if front_end == "speechbrain" else 18), 80)
    np.testing.assert_allclose(features.numpy(), expected, rtol=0, atol=2e-3)


def test_references_tell_the_front_ends_apart():
    kaldi, speechbrain, raclap = (REFERENCES[name](loud_then_silent()) for name in ("kaldi", "speechbrain", "raclap"))
    decibels = speechbrain[:18] * np.log(10) / 10
    assert np.abs(decibels - kaldi).max() > 1 and np.abs(kaldi - (raclap - raclap.mean(0)) * 4).max() > 1
    floor = speechbrain.min(0)
    assert (speechbrain == floor).sum() > 80, "frames of silence lie at 80 dB under the loudest"


def test_kaldi_front_end_equals_the_one_of_transformers():
    filters = mel_filter_bank(257, 80, 20.0, RATE / 2, RATE, mel_scale="kaldi", triangularize_in_mel_space=True)
    expected = spectrogram(
        loud_then_silent() * 2.0**15, window_function(400, "hamming", periodic=False), 400, 160, fft_length=512,
        power=2.0, center=False, preemphasis=0.97, mel_filters=filters, log_mel="log",
        mel_floor=1.192092955078125e-07, remove_dc_offset=True,
    ).T  # fmt: skip
    extractor = RaClapFeatureExtractor(features="log_mel", **PUBLISHED_FRONT_ENDS["kaldi"])
    features = extractor(loud_then_silent(), sampling_rate=RATE)["input_features"][0]
    np.testing.assert_allclose(features.numpy(), expected - expected.mean(0), rtol=0, atol=2e-3)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_front_end_in_a_batch_and_saved(front_end, clip, tmp_path):
    extractor = RaClapFeatureExtractor(features="log_mel", **FRONT_ENDS[front_end])
    extractor.save_pretrained(tmp_path)
    loaded = RaClapFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict() and loaded.front_end == front_end
    clips = [clip, loud_then_silent(), 0.001 * clip[:1700]]
    batch = loaded(clips, sampling_rate=RATE)
    for features, mask, samples in zip(batch["input_features"], batch["audio_attention_mask"], clips, strict=True):
        alone = extractor(samples, sampling_rate=RATE)["input_features"][0]
        assert mask.sum() == len(alone)
        torch.testing.assert_close(features[: len(alone)], alone, rtol=1e-5, atol=1e-5)
        assert not features[len(alone) :].any()


def test_front_end_is_one_of_three():
    with pytest.raises(ValueError, match="front_end 'librosa' is not one of raclap, kaldi, speechbrain"):
        RaClapFeatureExtractor(features="log_mel", front_end="librosa")


def test_utterance_normalisation_uses_real_samples_only(clip):
    extractor = RaClapFeatureExtractor(normalize="utterance")
    values = extractor([clip, clip[:3000] + 0.2], sampling_rate=RATE)["input_values"]
    real = values[1, :3000]
    assert real.mean().abs() < 1e-5 and real.std(correction=0).item() == pytest.approx(1, abs=1e-3)


def test_trimming_cuts_both_ends_only(clip):
    silence = np.zeros(8000, np.float32)
    middle = np.concatenate([clip, silence, clip])
    trimmed = trim_silence(np.concatenate([silence, middle, silence]), RATE, 40.0)
    assert abs(len(trimmed) - len(middle)) <= 640
    extractor = RaClapFeatureExtractor(trim_silence_db=40.0)
    mask = extractor(np.concatenate([silence, clip, silence]), sampling_rate=RATE)["audio_attention_mask"]
    assert abs(int(mask.sum()) - len(clip)) <= 640


def test_a_blip_becomes_a_whole_frame(processor):
    assert processor(audio=np.ones(5, np.float32), sampling_rate=RATE)["input_values"].shape == (1, 1600)


def test_array_without_rate_is_an_error(processor, clip):
    with pytest.raises(ValueError, match="pass sampling_rate"):
        processor(audio=clip)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros(1000, np.float32), "every sample is zero"),
        (np.full(1000, np.nan, np.float32), "not finite"),
        (np.array([0.1, np.inf]), "not finite"),
        (np.zeros((20, 20, 20), np.float32), "not one clip"),
        (np.array(["a"]), "must be numbers"),
    ],
)
def test_what_has_no_sound_is_refused(processor, samples, message):
    with pytest.raises(ValueError, match=message):
        processor(audio=samples, sampling_rate=RATE)


def test_files_are_named_in_errors(processor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        processor(audio=tmp_path / "gone.wav")
    (tmp_path / "noise.wav").write_bytes(b"no audio at all")
    with pytest.raises(ValueError, match=r"noise\.wav: not a readable"):
        processor(audio=tmp_path / "noise.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), RATE)
    with pytest.raises(ValueError, match=r"silent\.wav: every sample is zero"):
        processor(audio=tmp_path / "silent.wav")


@pytest.mark.parametrize("text", ["", "   ", ["fine", ""], [None]])
def test_empty_captions_are_refused(processor, text):
    with pytest.raises(ValueError, match="caption"):
        processor(text=text)
    with pytest.raises(ValueError, match="text, audio or both"):
        processor()


def test_captions_are_cut_to_what_the_tower_reads(processor):
    assert processor(text="a " * 500)["input_ids"].shape == (1, 32)


def test_saved_processor_is_the_same(processor, clip, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = RaClapProcessor.from_pretrained(tmp_path)
    for name, value in processor(text="a low voice", audio=clip, sampling_rate=RATE).items():
        torch.testing.assert_close(loaded(text="a low voice", audio=clip, sampling_rate=RATE)[name], value)


def test_load_audio_refuses_what_is_no_audio():
    with pytest.raises(ValueError, match="not NoneType"):
        load_audio(None, RATE)
    assert to_mono(np.ones((2, 50), np.float64)).dtype == np.float32
