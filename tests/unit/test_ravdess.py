import csv
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from raclap.corpora import listing as listing_module
from raclap.corpora import ravdess
from raclap.corpora.measurement import Measurement
from raclap.corpora.preparation import prepare
from raclap.data.manifest import read_manifest
from raclap.errors import AudioError, ManifestError, RecipeError

RATE = 16_000


def write(root: Path, name: str, actor: str | None = None, pitch: float = 200.0, volume: float = 0.3) -> Path:
    """A tone under a released name; the folder is that of the actor in the name unless given."""
    path = root / f"Actor_{actor or Path(name).stem[-2:]}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(RATE // 2) / RATE
    soundfile.write(path, volume * np.sin(2 * np.pi * pitch * time), RATE)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two actors of training, one of validation and one of test, in both suffixes."""
    for actor in ("01", "02", "16", "19"):
        for row, emotion in enumerate(("03", "04", "05")):
            suffix = ".wav" if emotion == "03" else ".flac"
            name = f"03-01-{emotion}-01-01-01-{actor}{suffix}"
            write(tmp_path, name, pitch=150.0 + 50 * row, volume=0.05 * 3**row)
    return tmp_path


def test_a_row_holds_what_the_name_says(root: Path):
    write(root, "03-01-06-02-02-01-02.wav")
    pairs = {pair.pair_id: pair for pair in ravdess.read(root).pairs}
    pair = pairs["ravdess_03-01-06-02-02-01-02"]
    assert pair.audio == "Actor_02/03-01-06-02-02-01-02.wav"
    assert (pair.emotion, pair.intensity, pair.sex, pair.age) == ("fearful", "strong", "female", None)
    assert (pair.speaker, pair.corpus, pair.language) == ("ravdess_02", "ravdess", "en")
    assert pair.transcript == "Dogs are sitting by the door"
    assert pair.licence == "CC BY-NC-SA 4.0"
    assert (pair.valence, pair.arousal, pair.dominance) == (None, None, None)
    assert pairs["ravdess_03-01-03-01-01-01-01"].transcript == "Kids are talking by the door"
    assert pairs["ravdess_03-01-03-01-01-01-01"].sex == "male"


def test_named_attributes_hold(root: Path):
    for pair in ravdess.read(root).pairs:
        assert pair.attributes.keys() == {"emotion", "intensity", "sex", "pitch", "speed", "volume"}
        assert pair.attributes["emotion"] == pair.emotion
        assert len(pair.captions) == 6
        for caption in pair.captions:
            assert set(caption.names) <= pair.attributes.keys()


def test_style_keys_are_equal_where_all_attributes_are(root: Path):
    pairs = ravdess.read(root).pairs
    for one in pairs:
        for other in pairs:
            assert (one.style_key == other.style_key) == (one.attributes == other.attributes)


def test_measured_levels_follow_the_sound(root: Path):
    for pair in ravdess.read(root).pairs:
        expected = {"happy": "low", "sad": "normal", "angry": "high"}[pair.emotion]
        assert (pair.attributes["pitch"], pair.attributes["volume"]) == (expected, expected)


def test_borders_come_from_training_alone(root: Path):
    before = {pair.pair_id: pair for pair in ravdess.read(root).pairs}
    for row in range(3):
        write(root, f"03-01-08-01-01-01-{19 + row}.wav", pitch=500, volume=0.9)
    after = {pair.pair_id: pair for pair in ravdess.read(root).pairs}
    assert {name: after[name] for name in before} == before


def test_default_splits_share_no_speaker(root: Path):
    speakers = {}
    for pair in ravdess.read(root).pairs:
        speakers.setdefault(pair.split, set()).add(pair.speaker)
    assert speakers == {
        "train": {"ravdess_01", "ravdess_02"},
        "validation": {"ravdess_16"},
        "test": {"ravdess_19"},
    }


def test_splits_can_be_chosen(root: Path):
    listing = ravdess.read(root, train_speakers=(1, "16"), validation_speakers=(), test_speakers=(19,))
    assert Counter(pair.split for pair in listing.pairs) == {"train": 6, "test": 3}
    assert Counter(reason for _, reason in listing.skipped) == {"actor 02 is in no split": 3}


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ({"train_speakers": (25,)}, "train_speakers: no speaker '25'"),
        ({"test_speakers": (1,)}, "test_speakers: speaker '01' is already in split 'train'"),
    ],
)
def test_impossible_splits_are_refused(root: Path, speakers: dict, message: str):
    with pytest.raises(RecipeError, match=message):
        ravdess.read(root, **speakers)


def test_levels_need_training_speakers(root: Path):
    with pytest.raises(ManifestError, match="no recording of the train split"):
        ravdess.read(root, train_speakers=())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("03-02-03-01-01-01-01.wav", "channel 02 (song)"),
        ("01-01-03-01-01-01-01.wav", "modality 01 (audio-video)"),
        ("02-01-03-01-01-01-01.wav", "modality 02 (video only)"),
    ],
)
def test_song_and_video_are_left_out_with_the_reason(root: Path, name: str, reason: str):
    write(root, name)
    listing = ravdess.read(root)
    assert len(listing.pairs) == 12
    assert listing.skipped == [(f"Actor_01/{name}", reason)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("04-01-03-01-01-01-01.wav", "modality '04'; expected one of 01 .audio-video., 02"),
        ("03-03-03-01-01-01-01.wav", "channel '03'; expected one of 01 .speech., 02 .song."),
        ("03-01-09-01-01-01-01.wav", "emotion '09'; expected one of 01 .neutral., 02 .calm."),
        ("03-01-03-03-01-01-01.wav", "intensity '03'; expected one of 01 .normal., 02 .strong."),
        ("03-01-03-01-03-01-01.wav", "statement '03'; expected one of 01 .Kids"),
        ("03-01-03-01-01-03-01.wav", "repetition '03'; expected one of 01"),
        ("03-01-03-01-01-01-25.wav", "actor '25'; expected one of 01 .male., 02 .female."),
        ("03-01-3-01-01-01-01.wav", "emotion '3'"),
        ("03-01-01-02-01-01-01.wav", "intensity '02' .strong.; expected 01 .normal. for emotion 01"),
        ("03-01-03-01-01-01.wav", "expected seven codes"),
        ("notes.wav", "expected seven codes"),
    ],
)
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write(root, name, actor="01")
    with pytest.raises(ManifestError, match=message) as raised:
        ravdess.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    listing = ravdess.read(root, skip_bad=True)
    assert len(listing.pairs) == 12
    assert [skipped for skipped, _ in listing.skipped] == [f"Actor_01/{name}"]
    assert str(path) not in listing.skipped[0][1]


def test_a_file_in_the_folder_of_another_actor_is_an_error(root: Path):
    write(root, "03-01-03-01-01-01-03.wav", actor="04")
    with pytest.raises(ManifestError, match="actor '03'; expected the one of folder Actor_04"):
        ravdess.read(root)


def test_a_recording_in_both_suffixes_is_an_error(root: Path):
    write(root, "03-01-03-01-01-01-01.flac")
    with pytest.raises(ManifestError, match=r"there twice, also as 03-01-03-01-01-01-01\.flac"):
        ravdess.read(root)


def test_hidden_and_other_files_are_passed_over(root: Path):
    (root / "Actor_01" / "._03-01-03-01-01-01-01.wav").write_bytes(b"Mac OS X")
    (root / "Actor_01" / "readme.txt").write_text("speech")
    assert len(ravdess.read(root).pairs) == 12


@pytest.mark.parametrize("folder", [".", "absent"])
def test_an_empty_or_absent_root_names_what_was_expected(tmp_path: Path, folder: str):
    with pytest.raises(ManifestError, match=r"no recordings; expected Actor_NN/03-01-EE-II-SS-RR-AA\.wav"):
        ravdess.read(tmp_path / folder)


def test_bad_audio_is_an_error_or_skipped(root: Path):
    path = write(root, "03-01-08-01-01-01-01.wav", volume=0.0)
    with pytest.raises(AudioError, match="silence"):
        ravdess.read(root)
    listing = ravdess.read(root, skip_bad=True)
    assert len(listing.pairs) == 12
    assert listing.skipped == [(path.relative_to(root).as_posix(), "every sample is zero (silence)")]


def test_reading_twice_gives_the_same(root: Path):
    assert ravdess.read(root) == ravdess.read(root)


def test_prepare_writes_a_manifest_and_accounts_for_it(root: Path, tmp_path: Path):
    write(root, "03-02-03-01-01-01-01.wav")
    (root / "Actor_02" / "03-01-08-01-01-01-02.wav").write_text("not audio")
    printed = StringIO()
    output = tmp_path / "out" / "ravdess.parquet"
    summary = prepare("ravdess", root, output, skip_bad=True, console=Console(file=printed, width=200))
    manifest = read_manifest(output)
    assert list(manifest) == ravdess.read(root, skip_bad=True).pairs
    assert manifest.audio_path(manifest[0]).is_file()
    assert {name: split.pairs for name, split in summary.splits.items()} == {
        "train": 6,
        "validation": 3,
        "test": 3,
    }
    assert summary.splits["train"].speakers == 2
    assert summary.splits["train"].hours == pytest.approx(6 * 0.5 / 3600)
    assert summary.splits["train"].captions == 36
    assert summary.licences == ("CC BY-NC-SA 4.0",)
    left_out = list(csv.DictReader(summary.left_out_list.open()))
    assert [row["where"] for row in left_out] == [
        "Actor_01/03-02-03-01-01-01-01.wav",
        "Actor_02/03-01-08-01-01-01-02.wav",
    ]
    assert summary.left_out["channel 02 (song)"] == (1, ("Actor_01/03-02-03-01-01-01-01.wav",))
    for said in (
        "validation",
        "CC BY-NC-SA 4.0",
        "Left out, channel 02 (song): Actor_01/03-02",
        "not a readable",
    ):
        assert said in printed.getvalue()


def test_prepare_counts_captions_that_repeat(root: Path, tmp_path: Path):
    summary = prepare("ravdess", root, tmp_path / "m.parquet", console=Console(file=StringIO()))
    texts = Counter(
        caption.text for pair in ravdess.read(root).pairs if pair.split == "train" for caption in pair.captions
    )
    assert summary.splits["train"].repeated_captions == sum(n for n in texts.values() if n > 1)


def test_prepare_passes_options_on_and_knows_its_corpora(root: Path, tmp_path: Path):
    silent = Console(file=StringIO())
    summary = prepare("ravdess", root, tmp_path / "m.parquet", console=silent, captions=2, test_speakers=())
    assert summary.splits["train"].captions == 12
    assert "test" not in summary.splits
    with pytest.raises(RecipeError, match=r"no corpus 'ravdes'; known are .*emodb.*, ravdess"):
        prepare("ravdes", root, tmp_path / "m.parquet")


@pytest.mark.speech
def test_the_released_recordings_are_all_read(speech_folder: Path, monkeypatch: pytest.MonkeyPatch):
    def unmeasured(paths: list, syllables: list, *_: object) -> list:
        assert set(syllables) == {7}
        return [Measurement(200.0, 1.0, -30.0, 4.0, 2.0)] * len(paths)

    monkeypatch.setattr(listing_module, "measure_all", unmeasured)
    listing = ravdess.read(speech_folder / "ravdess")
    assert listing.skipped == []
    by_speaker = Counter(pair.speaker for pair in listing.pairs)
    assert by_speaker == {f"ravdess_{actor:02d}": 60 for actor in range(1, 19)}
    assert Counter(pair.split for pair in listing.pairs) == {"train": 900, "validation": 180}
    emotions = Counter(pair.emotion for pair in listing.pairs)
    assert emotions.pop("neutral") == 72
    assert set(emotions.values()) == {144}


@pytest.mark.speech
def test_real_anger_is_louder_and_higher_than_real_sadness(speech_folder: Path, tmp_path: Path):
    for actor in ("Actor_03", "Actor_04"):
        (tmp_path / actor).mkdir()
        for path in (speech_folder / "ravdess" / actor).glob("03-01-0[45]-*"):
            (tmp_path / actor / path.name).symlink_to(path)
    levels = {"angry": Counter(), "sad": Counter()}
    for pair in ravdess.read(tmp_path).pairs:
        levels[pair.emotion].update([pair.attributes["volume"]])
    assert levels["angry"]["high"] > 2 * levels["sad"]["high"]
    assert levels["sad"]["low"] > 2 * levels["angry"]["low"]
