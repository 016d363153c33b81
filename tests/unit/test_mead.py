from pathlib import Path

import numpy as np
import pytest
from corpus_fixtures import FIXTURES, write_tone

from raclap.corpora import mead
from raclap.errors import AudioError, ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["mead"](tmp_path / "mead").root


def test_every_layout_is_read(root: Path):
    found = {p.pair_id: (p.audio, p.emotion, p.intensity, p.sex, p.split) for p in mead.read(root).pairs}
    assert found == {
        "mead_M003_happy_2_020": ("M003/audio/happy/level_2/020.wav", "happy", "normal", "male", "train"),
        "mead_M003_neutral_1_020": ("M003/audio/neutral/level_1/020.wav", "neutral", None, "male", "train"),
        "mead_W028_contempt_3_001": (
            "W028/audio/contempt/level_3/001.wav", "contemptuous", "strong", "female", "train",
        ),
        "mead_W028_sad_1_001": ("W028/wav/sad/level_1/001.wav", "sad", "mild", "female", "train"),
        "mead_W009_fear_1_002": ("W009/audio/front/fear_level_1/002.flac", "fearful", "mild", "female", "train"),
        "mead_M032_angry_3_030": ("M032/audio/angry/level_3/030.wav", "angry", "strong", "male", "validation"),
        "mead_W040_surprised_2_007": ("W040/audio/surprised/level_2/007.wav", "surprised", "normal", "female", "test"),
    }  # fmt: skip


def test_default_splits_share_no_speaker_and_cover_all():
    splits = [mead.read.__kwdefaults__[f"{name}_speakers"] for name in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [33, 7, 8]
    assert len(set(sum(splits, ()))) == len(mead.SPEAKERS) == 48
    assert sum(speaker.startswith("M") for speaker in mead.SPEAKERS) == 27


def test_the_release_is_read_where_nothing_was_converted(root: Path):
    path = root / "W028" / "audio" / "happy" / "level_1" / "003.m4a"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"003\.m4a"):
        mead.read(root)
    listing = mead.read(root, skip_bad=True)
    assert [place for place, _ in listing.skipped] == ["W028/audio/happy/level_1/003.m4a"]


def test_released_sound_is_measured_where_pyav_is_installed(root: Path):
    av = pytest.importorskip("av")
    path = root / "W028" / "audio" / "happy" / "level_1" / "003.m4a"
    path.parent.mkdir(parents=True)
    tone = 0.3 * np.sin(2 * np.pi * 230 * np.arange(16_000) / 16_000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        for first in range(0, len(tone), 1024):
            block = tone[None, first : first + 1024].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pair = {pair.pair_id: pair for pair in mead.read(root).pairs}["mead_W028_happy_1_003"]
    assert pair.audio == "W028/audio/happy/level_1/003.m4a"
    assert "pitch" in pair.attributes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("M003/audio/joy/level_1/001.wav", "emotion 'joy'; expected one of angry, contempt"),
        ("M003/audio/happy/level_4/001.wav", "level '4'; expected one of 1, 2, 3"),
        ("M003/audio/happy/001.wav", "expected speaker, emotion, level and recording"),
        ("X003/audio/happy/level_1/001.wav", "expected speaker, emotion, level and recording"),
    ],
)
def test_misplaced_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write_tone(root / name)
    with pytest.raises(ManifestError, match=message) as raised:
        mead.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    assert mead.read(root, skip_bad=True).skipped[0].where == name


def test_a_speaker_of_no_split_is_left_out(root: Path):
    write_tone(root / "M099" / "audio" / "happy" / "level_1" / "001.wav")
    assert ("M099/audio/happy/level_1/001.wav", "speaker M099 is in no split") in mead.read(root).skipped
