"""Decoding: every format alike, a part as the same part of the whole, and a name for everything that is wrong."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import RATE, tone
from modeling_raclap.audio_raclap import load_audio, resample
from modeling_raclap.recording_raclap import as_float
from raclap.data import audio
from raclap.data.audio import decode, open_audio, read_header
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.sound import Resampled, Samples
from raclap.errors import AudioError

# Suffix, libsndfile's format and subtype.
SNDFILE = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "24.flac": ("FLAC", "PCM_24"),
    "aiff": ("AIFF", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip
# Suffix, FFmpeg's format and encoder.
FFMPEG = {"m4a": ("mp4", "aac"), "webm": ("webm", "libopus"), "mka": ("matroska", "flac"), "aac": ("adts", "aac")}
LOSSY = ("ogg", "opus", "mp3", "m4a", "webm", "aac")


def speech(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Something with a moving pitch and level: (S,) float32."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(180 + 60 * np.sin(2 * np.pi * 0.7 * time)) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * np.abs(np.sin(2 * np.pi * 1.3 * time))
    return (0.15 * voice + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def record(folder: Path, kind: str, samples: np.ndarray, rate: int) -> Path:
    """Writes samples in one of the formats above."""
    path = folder / f"clip.{kind}"
    if kind in SNDFILE:
        form, subtype = SNDFILE[kind]
        soundfile.write(path, samples, rate, format=form, subtype=subtype)
        return path
    av = pytest.importorskip("av", reason="no PyAV: pip install 'raclap[formats]'")
    form, codec = FFMPEG[kind]
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        for first in range(0, len(samples), 1024):
            planes = np.ascontiguousarray(samples[None, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", [*SNDFILE, *FFMPEG])
def test_every_format_sounds_like_what_was_written(tmp_path, kind):
    samples = speech(2.0, 24_000)
    path = record(tmp_path, kind, samples, 24_000)
    clip = decode(path, RATE)
    expected = resample(samples, 24_000, RATE)
    # FFmpeg's encoders fill up the last block, and not every container says by how much.
    assert len(expected) <= len(clip) <= len(expected) + 2100
    assert read_header(path) == pytest.approx(len(clip) / RATE, abs=1e-3)
    delay = np.correlate(clip, expected[8000:16_000], "valid").argmax() - 8000
    shifted = clip[8000 + delay : 16_000 + delay]
    if kind in LOSSY:
        assert abs(delay) <= (1024 if kind == "aac" else 2), "bare AAC does not say what its encoder put before"
        assert np.corrcoef(shifted, expected[8000:16_000])[0, 1] > 0.98
    else:
        assert delay == 0
        np.testing.assert_allclose(clip, expected, atol=2**-14)
    np.testing.assert_array_equal(load_audio(path, RATE), clip)
    np.testing.assert_array_equal(load_audio(path.read_bytes(), RATE), clip)


@pytest.mark.parametrize("kind", [*SNDFILE, *FFMPEG])
@pytest.mark.parametrize("rate", [8000, RATE, 44_100, 48_000])
def test_a_part_is_the_same_part_of_the_whole(tmp_path, kind, rate):
    if (kind, rate) in (("opus", 44_100), ("webm", 44_100)):
        pytest.skip("Opus has no such rate")
    path = record(tmp_path, kind, speech(3.0, rate), rate)
    whole = decode(path, RATE)
    rng = np.random.default_rng(0)
    for _ in range(12):
        first, last = sorted(rng.integers(0, len(whole) + 1, 2).tolist())
        with open_audio(path, RATE) as sound:
            assert len(sound) == len(whole)
            part = as_float(sound.read(first, max(last, first + 1)))
        if rate == RATE and kind not in LOSSY:
            np.testing.assert_array_equal(part, whole[first : max(last, first + 1)])
        else:
            np.testing.assert_allclose(part, whole[first : max(last, first + 1)], atol=1e-4)


@pytest.mark.parametrize("rates", [(24_000, 16_000), (44_100, 16_000), (22_050, 16_000), (11_025, 16_000),
                                   (96_000, 16_000), (16_160, 16_000), (22_051, 16_000)])  # fmt: skip
def test_parts_at_another_rate_are_those_of_the_whole(rates):
    samples = np.random.default_rng(0).standard_normal(2 * rates[0] + 17).astype(np.float32)
    whole = resample(samples, *rates)
    sound = Resampled(Samples(samples), *rates)
    assert len(sound) == len(whole)
    rng = np.random.default_rng(1)
    for first, last in [
        (0, len(whole)),
        (0, 5),
        (len(whole) - 1, len(whole)),
        *np.sort(rng.integers(0, len(whole), (20, 2))),
    ]:
        np.testing.assert_allclose(sound.read(first, last), whole[first:last], atol=2e-5)


def test_only_the_part_is_decoded(tmp_path, monkeypatch):
    path = record(tmp_path, "flac", speech(60.0, 24_000), 24_000)
    read = []
    original = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, frames=-1, **more: read.append(frames) or original(self, frames, **more),
    )
    with open_audio(path, RATE) as sound:
        sound.read(400_000, 400_000 + RATE)
    assert 24_000 <= sum(read) < 27_000


def test_a_stretch_hears_nothing_of_what_lies_around_it(tmp_path):
    samples = speech(3.0, 24_000)
    soundfile.write(tmp_path / "whole.wav", samples, 24_000, subtype="FLOAT")
    soundfile.write(tmp_path / "alone.wav", samples[24_000:48_000], 24_000, subtype="FLOAT")
    np.testing.assert_array_equal(decode(tmp_path / "whole.wav", RATE, 1.0, 2.0), decode(tmp_path / "alone.wav", RATE))


def test_times_of_tables_are_rounded(tmp_path):
    path = record(tmp_path, "flac", speech(1.0, RATE), RATE)
    assert len(decode(path, RATE, 0.5, 1.005)) == RATE // 2
    with pytest.raises(AudioError, match=r"0\.5 to 1\.02 s is not a stretch of its 1\.00 s"):
        decode(path, RATE, 0.5, 1.02)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_channels_are_averaged(tmp_path, channels, rate):
    planes = np.stack([speech(1.0, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", planes, rate, subtype="FLOAT")
    expected = resample(planes.mean(axis=1), rate, RATE)
    np.testing.assert_allclose(decode(tmp_path / "a.wav", RATE), expected, atol=1e-6)


def write_bad(folder: Path, kind: str) -> Path:
    """A recording that is bad in one way."""
    path = folder / f"{kind}.wav"
    samples = speech(2.0, RATE)
    if kind == "folder":
        path.mkdir()
    elif kind == "nothing":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("these are words", encoding="utf-8")
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(50_000))
    elif kind == "short":
        soundfile.write(path, samples[:160], RATE)
    elif kind == "silent":
        soundfile.write(path, np.zeros(RATE), RATE)
    elif kind == "nan":
        samples[17_000] = np.nan
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    elif kind == "channels":
        soundfile.write(path, np.zeros((2000, 40)), RATE)
    elif kind == "rate":
        soundfile.write(path, samples, 50)
    elif kind == "empty":
        soundfile.write(path, samples[:0], RATE)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such audio file"),
        ("folder", "a folder, not an audio file"),
        ("nothing", "an empty file (0 bytes)"),
        ("pipe", "not a regular file"),
        ("text", "not a readable audio file"),
        ("noise", "not a readable audio file"),
        ("short", "shorter than 0.1 s (0.010 s)"),
        ("empty", "no samples"),
        ("channels", "its header says 40 channels; at most 16 are read"),
        ("rate", "its header says 50 Hz"),
        ("silent", "every sample is zero"),
        ("nan", "samples are not finite"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, kind, reason):
    path = write_bad(tmp_path, kind)
    with pytest.raises(AudioError) as caught:
        decode(path, RATE)
    assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)
    if kind not in ("silent", "nan"):  # a header does not show it
        with pytest.raises(AudioError, match="^" + str(path)):
            read_header(path)


def test_no_permission_is_said(tmp_path, monkeypatch):
    path = record(tmp_path, "wav", speech(1.0, RATE), RATE)
    monkeypatch.setattr(audio.os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(AudioError, match="no permission to read it"):
        decode(path, RATE)


@pytest.mark.parametrize("kind", ["wav", "flac", "24.flac", "aiff", "mp3", "m4a"])
def test_what_is_cut_off_is_refused(tmp_path, kind):
    path = record(tmp_path, kind, speech(4.0, RATE), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=rf"clip\.{kind}: (cut off|damaged or cut off|not a readable audio file)"):
        decode(path, RATE)


def patched(path: Path, at: int, value: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)


def test_a_wave_header_that_lies_about_its_length_is_refused(tmp_path):
    path = record(tmp_path, "wav", speech(2.0, RATE), RATE)
    size = path.read_bytes().index(b"data") + 4
    patched(path, size, struct.pack("<I", 3 * 2 * RATE))
    with pytest.raises(AudioError, match=r"cut off: it holds 2\.00 s of the 3\.00 s that its header promises"):
        decode(path, RATE)
    with pytest.raises(AudioError, match="cut off"):
        read_header(path)
    # A few milliseconds are rounding, not loss.
    patched(path, size, struct.pack("<I", 2 * 2 * RATE + 600))
    assert len(decode(path, RATE)) == 2 * RATE


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1, 2**31 - 36])
def test_a_wave_header_that_was_never_filled_in_is_read(tmp_path, size):
    """Programs that write to a pipe leave the largest number there is."""
    path = record(tmp_path, "wav", speech(2.0, RATE), RATE)
    patched(path, path.read_bytes().index(b"data") + 4, struct.pack("<I", size))
    assert len(decode(path, RATE)) == 2 * RATE


def set_flac_length(path: Path, frames: int) -> None:
    place = 8 + 10  # STREAMINFO: 20 bits rate, 3 channels, 5 depth, 36 frames
    fields = int.from_bytes(path.read_bytes()[place : place + 8], "big")
    patched(path, place, (fields >> 36 << 36 | frames).to_bytes(8, "big"))


def test_a_flac_header_that_lies_about_its_length_is_refused(tmp_path):
    path = record(tmp_path, "flac", speech(2.0, RATE), RATE)
    set_flac_length(path, 5 * RATE)
    with pytest.raises(AudioError, match="cut off"):
        decode(path, RATE)


def test_a_flac_header_without_a_length_is_read_by_ffmpeg(tmp_path):
    pytest.importorskip("av", reason="no PyAV: pip install 'raclap[formats]'")
    path = record(tmp_path, "flac", speech(2.0, RATE), RATE)
    expected = decode(path, RATE)
    set_flac_length(path, 0)
    np.testing.assert_array_equal(decode(path, RATE), expected)


def test_a_format_of_ffmpeg_names_the_extra_where_there_is_none(tmp_path, monkeypatch):
    path = tmp_path / "clip.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(AudioError, match=r"clip\.m4a: .* need PyAV: pip install 'raclap\[formats\]'"):
        decode(path, RATE)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    path = record(tmp_path, "m4a", speech(1.0, RATE), RATE).rename(tmp_path / "http:a b.m4a")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(decode(Path(path.name), RATE), decode(path, RATE))


def test_a_playlist_opens_no_other_file(tmp_path):
    """FFmpeg reads lists of files too; paths from data never leave their root."""
    pytest.importorskip("av", reason="no PyAV: pip install 'raclap[formats]'")
    record(tmp_path, "wav", speech(2.0, RATE), RATE)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.wav\n#EXT-X-ENDLIST\n", encoding="utf-8")
    with pytest.raises(AudioError, match="not a readable audio file"):
        decode(path, RATE)


@pytest.fixture
def ten_hours(tmp_path) -> Path:
    """A recording that says that it is ten hours long, and is: its samples take no room on the disk."""
    path = tmp_path / "long.wav"
    soundfile.write(path, speech(1.0, 8000), 8000)
    header, size = path.read_bytes()[:44], 2 * 8000 * 36_000
    path.write_bytes(header[:4] + struct.pack("<I", size + 36) + header[8:40] + struct.pack("<I", size))
    with path.open("r+b") as file:
        file.truncate(44 + size)
        file.seek(44 + 2 * 8000 * 20_000)
        file.write((speech(30.0, 8000) * 2**15).astype(np.int16).tobytes())
    return path


def long_manifest(path: Path, **stretch: float):
    pairs = [Pair("long", path.name, (Caption("a voice"),), "c", "train", **stretch)]
    write_manifest(path.parent / "m.parquet", pairs, path.parent)
    return read_manifest(path.parent / "m.parquet")


def test_ten_hours_are_read_in_parts_alone(ten_hours):
    assert read_header(ten_hours) == 36_000
    with pytest.raises(
        AudioError, match=r"long\.wav: 10\.0 h long; at most 10 min are decoded at once.* start and end"
    ):
        decode(ten_hours, RATE)
    np.testing.assert_allclose(decode(ten_hours, 8000, 20_001, 20_011), speech(30.0, 8000)[8000:88_000], atol=2**-14)
    for check in ("header", "decode"):
        with pytest.raises(AudioError, match=r"row long: .*10\.0 h long"):
            inspect_audio(long_manifest(ten_hours), 8000, check=check, progress=False)


def test_crops_of_ten_hours_are_checked_and_read(ten_hours):
    found = inspect_audio(long_manifest(ten_hours), 8000, check="header", in_parts=True, progress=False)
    assert found.seconds.tolist() == [36_000]
    with found.open(0) as sound:
        crop = sound.read(8000 * 20_001, 8000 * 20_011)
    np.testing.assert_allclose(as_float(crop), speech(30.0, 8000)[8000:88_000], atol=2**-14)
    with pytest.raises(AudioError, match=r"row long: .*10\.0 h long"):
        found.waveform(0)
    with pytest.raises(AudioError, match=r"10\.0 h long"):
        inspect_audio(long_manifest(ten_hours), 8000, lambda clip: clip[:100], in_parts=True, progress=False)


def test_long_recordings_are_checked_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "LONGEST_SECONDS", 3.0)
    monkeypatch.setattr(audio, "_BLOCK_SECONDS", 1.0)
    samples = speech(5.0, RATE)
    samples[:RATE] = 0  # a pause is none of it
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    manifest = long_manifest(tmp_path / "a.wav")
    assert inspect_audio(manifest, RATE, in_parts=True, progress=False).seconds.tolist() == [5.0]
    samples[4 * RATE] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"row long: .*a\.wav: samples are not finite"):
        inspect_audio(manifest, RATE, in_parts=True, progress=False)


def test_a_silent_part_of_a_clip_is_no_error(tmp_path):
    samples = tone(200, 0.3, 2.0, np.random.default_rng(0))
    samples[:RATE] = 0
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    with open_audio(tmp_path / "a.flac", RATE) as sound:
        assert not sound.read(0, RATE).any()
