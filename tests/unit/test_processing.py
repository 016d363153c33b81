"""The processor: whatever a user holds, one clip or many; and the errors for what cannot be embedded."""

import numpy as np
import pytest
import soundfile
import torch

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
