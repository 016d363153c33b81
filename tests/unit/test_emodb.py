from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from raclap.corpora import emodb
from raclap.corpora import listing as listing_module
from raclap.corpora.measurement import Measurement
from raclap.corpora.preparation import prepare
from raclap.data.manifest import read_manifest
from raclap.errors import ManifestError, RecipeError

RATE = 16_000


def write(root: Path, name: str, pitch: float = 200.0) -> Path:
    path = root / "wav" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.9 * np.sin(2 * np.pi * pitch * np.arange(RATE // 2) / RATE), RATE)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One happy, one sad and one neutral sentence of each speaker, in both suffixes."""
    for row, speaker in enumerate(emodb.SPEAKERS):
        write(tmp_path, f"{speaker}a01Ta.wav", pitch=120.0 + row)
        write(tmp_path, f"{speaker}a02Nb.flac", pitch=180.0 + row)
        write(tmp_path, f"{speaker}b03Fc.flac", pitch=260.0 + row)
    return tmp_path


def test_a_row_holds_what_the_name_says(root: Path):
    pair = {pair.pair_id: pair for pair in emodb.read(root).pairs}["emodb_08b03Fc"]
    assert pair.audio == "wav/08b03Fc.flac"
    assert (pair.emotion, pair.intensity, pair.sex, pair.age) == ("happy", None, "female", "34")
    assert (pair.speaker, pair.corpus, pair.language) == ("emodb_08", "emodb", "de")
    assert pair.transcript.startswith("An den Wochenenden")
    assert pair.licence == "CC0-1.0"
    assert (pair.valence, pair.arousal, pair.dominance) == (None, None, None)


@pytest.mark.parametrize(
    ("letter", "emotion"),
    [
        ("W", "angry"),
        ("L", "bored"),
        ("E", "disgusted"),
        ("A", "fearful"),
        ("T", "sad"),
        ("F", "happy"),
        ("N", "neutral"),
    ],
)
def test_emotion_letters_are_german(tmp_path: Path, letter: str, emotion: str):
    write(tmp_path, f"03a04{letter}d.wav")
    (pair,) = emodb.read(tmp_path).pairs
    assert pair.emotion == pair.attributes["emotion"] == emotion


def test_sexes(root: Path):
    men = {pair.speaker[-2:] for pair in emodb.read(root).pairs if pair.sex == "male"}
    assert men == {"03", "10", "11", "12", "15"}


def test_volume_is_not_named_since_every_peak_was_set_to_full_scale(root: Path):
    for pair in emodb.read(root).pairs:
        assert pair.attributes.keys() == {"emotion", "sex", "pitch", "speed"}
        for caption in pair.captions:
            assert set(caption.names) <= pair.attributes.keys()


def test_measured_levels_follow_the_sound(root: Path):
    for pair in emodb.read(root).pairs:
        assert pair.attributes["pitch"] == {"sad": "low", "neutral": "normal", "happy": "high"}[pair.emotion]
        # The clips are of one length, so the speed is in the number of syllables.
        assert pair.attributes["speed"] == {"sad": "slow", "neutral": "normal", "happy": "fast"}[pair.emotion]


def test_default_splits_share_no_speaker_and_balance_the_sexes(root: Path):
    splits: dict[str, set] = {}
    for pair in emodb.read(root).pairs:
        splits.setdefault(pair.split, set()).add((pair.speaker, pair.sex))
    assert {split: len(own) for split, own in splits.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len(set.union(*splits.values())) == len(emodb.SPEAKERS)
    for own in splits.values():
        assert 2 * sum(sex == "male" for _, sex in own) == len(own)


def test_splits_can_be_chosen(root: Path):
    listing = emodb.read(root, train_speakers=(3, 8), validation_speakers=("09",), test_speakers=())
    assert Counter(pair.split for pair in listing.pairs) == {"train": 6, "validation": 3}
    assert len(listing.skipped) == 21
    assert ("wav/10a01Ta.wav", "speaker 10 is in no split") in listing.skipped
    with pytest.raises(RecipeError, match="train_speakers: no speaker '01'"):
        emodb.read(root, train_speakers=(1,))


def test_a_level_without_training_speakers_of_the_sex_is_unknown(root: Path):
    for pair in emodb.read(root, train_speakers=(3, 10)).pairs:
        assert ("pitch" in pair.attributes) == (pair.sex == "male")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("04a01Fa.wav", "speaker '04'; expected one of 03, 08"),
        ("03a03Fa.wav", "sentence 'a03'; expected one of a01, a02, a04"),
        ("03c01Fa.wav", "sentence 'c01'"),
        ("03a01Xa.wav", "emotion 'X'; expected one of W, L, E, A, T, F, N"),
        ("03a01fa.wav", "expected speaker, sentence, emotion and version, as in 03a01Fa.wav"),
        ("03a01F.wav", "expected speaker, sentence, emotion and version"),
        ("03a01Fa-copy.wav", "expected speaker, sentence, emotion and version"),
    ],
)
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write(root, name)
    with pytest.raises(ManifestError, match=message) as raised:
        emodb.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    listing = emodb.read(root, skip_bad=True)
    assert len(listing.pairs) == 30
    assert [skipped for skipped, _ in listing.skipped] == [f"wav/{name}"]


def test_an_empty_root_names_what_was_expected(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"no recordings; expected wav/03a01Fa\.wav"):
        emodb.read(tmp_path)


def test_prepare_writes_the_manifest(root: Path, tmp_path: Path):
    summary = prepare("emodb", root, tmp_path / "emodb.parquet", console=Console(file=StringIO()))
    manifest = read_manifest(tmp_path / "emodb.parquet")
    assert list(manifest) == emodb.read(root).pairs
    assert summary.licences == ("CC0-1.0",)
    assert {name: split.speakers for name, split in summary.splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }


@pytest.mark.speech
def test_the_released_recordings_are_all_read(speech_folder: Path, monkeypatch: pytest.MonkeyPatch):
    def unmeasured(paths: list, syllables: list, *_: object) -> list:
        assert None not in syllables
        return [Measurement(200.0, 1.0, -30.0, 4.0, 2.0)] * len(paths)

    monkeypatch.setattr(listing_module, "measure_all", unmeasured)
    listing = emodb.read(speech_folder / "emodb")
    assert listing.skipped == []
    assert len(listing.pairs) == 535
    assert Counter(pair.emotion for pair in listing.pairs) == {
        "angry": 127,
        "bored": 81,
        "disgusted": 46,
        "fearful": 69,
        "happy": 71,
        "neutral": 79,
        "sad": 62,
    }
    for split in ("train", "validation", "test"):
        assert len({pair.emotion for pair in listing.pairs if pair.split == split}) == 7


@pytest.mark.speech
def test_real_anger_is_higher_and_real_sadness_slower(speech_folder: Path, tmp_path: Path):
    (tmp_path / "wav").mkdir()
    for path in (speech_folder / "emodb" / "wav").glob("0[38]a*"):
        if path.stem[5] in "WTN":
            (tmp_path / "wav" / path.name).symlink_to(path)
    by_emotion = {"angry": [], "sad": [], "neutral": []}
    for pair in emodb.read(tmp_path).pairs:
        by_emotion[pair.emotion].append(pair.attributes)
    assert all(attributes["pitch"] != "low" for attributes in by_emotion["angry"])
    assert Counter(a["speed"] for a in by_emotion["sad"]).most_common(1)[0][0] == "slow"
