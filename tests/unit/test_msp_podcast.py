from pathlib import Path

import numpy as np
import pytest
from corpus_fixtures import FIXTURES
from corpus_fixtures.msp_podcast import ROWS, TABLE

from raclap.corpora import msp_podcast
from raclap.corpora.listing import LeftOut
from raclap.data.manifest import Pair
from raclap.errors import AudioError, ManifestError, RecipeError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["msp_podcast"](tmp_path / "msp").root


def pairs(root: Path, **options: object) -> dict[str, Pair]:
    found = [entry for entry in msp_podcast.read(root, **options) if isinstance(entry, Pair)]
    return {pair.pair_id.removeprefix("msp_podcast_"): pair for pair in found}


def replace(root: Path, old: str, new: str) -> None:
    (root / TABLE).write_text((root / TABLE).read_text().replace(old, new))


def test_a_row_holds_what_the_table_says(root: Path):
    pair = pairs(root)["0001_0001"]
    assert pair.audio == "Audios/MSP-PODCAST_0001_0001.wav"
    assert (pair.emotion, pair.sex, pair.speaker, pair.language) == ("angry", "male", "msp_podcast_30", "en")
    # In the table arousal comes first.
    assert (pair.valence, pair.arousal, pair.dominance) == (1.5, 6.5, 6.0)
    assert (pair.split, pair.corpus, pair.transcript) == ("train", "msp_podcast", "And he \u2014 he just left.")
    assert pair.attributes == {
        "emotion": "angry", "sex": "male", "valence_level": "low", "arousal_level": "high", "dominance_level": "high",
    }  # fmt: skip


def test_every_class(root: Path):
    assert {name: pair.emotion for name, pair in pairs(root).items()} == {
        "0001_0001": "angry",
        "0001_0002": "happy",
        "0001_0003": "neutral",
        "0001_0004": None,
        "0001_0005": "sad",
        "1023_0235": "contemptuous",
        "0002_0001": "surprised",
        "0002_0002": "disgusted",
        "0003_0001": "fearful",
        "0003_0002": None,
    }


def test_unknown_speakers_and_sexes_are_unknown_and_no_agreement_still_has_captions(root: Path):
    pair = pairs(root)["0001_0004"]
    assert (pair.speaker, pair.sex, pair.emotion) == (None, None, None)
    assert pair.attributes.keys() == {"valence_level", "arousal_level", "dominance_level"}
    assert pair.captions


def test_what_has_neither_class_nor_ratings_is_left_out(root: Path):
    replace(root, "X,4.0,4.2,4.1", "X,,,")
    left_out = [entry for entry in msp_podcast.read(root) if isinstance(entry, LeftOut)]
    assert ("Audios/MSP-PODCAST_0001_0004.wav" in [place for place, _ in left_out]) and len(left_out) == 3


def test_levels_are_thirds_of_training(root: Path):
    rows = [row.split(",") for row in ROWS]
    training = [float(row[3]) for row in rows if row[-1] == "Train"]
    lower, upper = np.quantile(training, [1 / 3, 2 / 3])
    for pair in pairs(root).values():
        expected = "low" if pair.valence < lower else "high" if pair.valence > upper else "normal"
        assert pair.attributes["valence_level"] == expected


def test_splits_are_those_of_the_release(root: Path):
    assert {name: pair.split for name, pair in pairs(root).items() if pair.split != "train"} == {
        "0002_0001": "validation",
        "0002_0002": "validation",
        "0003_0001": "test",
        "0003_0002": "test",
    }
    left_out = [entry for entry in msp_podcast.read(root) if isinstance(entry, LeftOut)]
    assert [reason for _, reason in left_out] == ["Split_Set Test2 is in no split", "Split_Set Test3 is in no split"]


def test_other_test_sets_can_be_taken(root: Path):
    found = pairs(root, splits={"test": "Test2,Test3"})
    assert {name for name, pair in found.items() if pair.split == "test"} == {"0004_0001", "0005_0001"}
    with pytest.raises(RecipeError, match="splits: 'dev'"):
        msp_podcast.read(root, splits={"dev": "Test2"})


@pytest.mark.parametrize("table", msp_podcast._TABLES)
def test_the_table_is_found_under_both_spellings(root: Path, table: str):
    (root / TABLE).rename(root / table)
    assert len(pairs(root)) == 10


def test_measuring_is_asked_for(root: Path):
    plain = pairs(root)
    assert not any("pitch" in pair.attributes for pair in plain.values())
    measured = pairs(root, measured=("pitch", "volume"))
    assert all({"pitch", "volume"} <= pair.attributes.keys() for pair in measured.values())
    for name, pair in plain.items():
        assert pair.attributes.items() <= measured[name].attributes.items()
        assert (pair.transcript, pair.valence) == (measured[name].transcript, measured[name].valence)


def test_recordings_are_opened_only_to_be_measured(root: Path):
    (root / "Audios" / "MSP-PODCAST_0001_0001.wav").write_bytes(b"no sound")
    assert len(pairs(root)) == 10
    with pytest.raises(AudioError, match=r"MSP-PODCAST_0001_0001\.wav"):
        msp_podcast.read(root, measured=("pitch",))
    assert len(pairs(root, measured=("pitch",), skip_bad=True)) == 9


def test_audio_may_lie_elsewhere(root: Path, tmp_path: Path):
    (root / "Audios").rename(tmp_path / "wavs")
    found = pairs(root, audio_root=tmp_path, remaps={"Audios": "wavs"}, measured=("pitch",))
    assert found["0001_0001"].audio == "wavs/MSP-PODCAST_0001_0001.wav"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0001.wav,A,", "0001.wav,Z,", "row 1: column 'EmoClass' is 'Z'; expected one of A, H, N"),
        ("6.5,1.5,6.0", "6.5,8.5,6.0", "row 1: EmoVal is 8.5; expected a number from 1 to 7"),
        ("6.5,1.5,6.0", "high,1.5,6.0", "row 1: column 'EmoAct' is 'high'; expected a number"),
        (
            "30,Male,Train\nMSP-PODCAST_0001_0002",
            "30,Robot,Train\nMSP-PODCAST_0001_0002",
            "column 'Gender' is 'Robot'",
        ),
        ("Male,Train\nMSP-PODCAST_0001_0002", "Male,Dev\nMSP-PODCAST_0001_0002", "row 1: Split_Set is 'Dev'"),
        (
            "MSP-PODCAST_0001_0001.wav",
            "../../secret.wav",
            "row 1: column 'FileName' is '../../secret.wav', which leaves",
        ),
    ],
)
def test_bad_rows_are_errors_or_skipped(root: Path, old: str, new: str, message: str):
    replace(root, old, new)
    with pytest.raises(ManifestError, match=message):
        pairs(root)
    assert len(pairs(root, skip_bad=True)) == 9
    left_out = [entry for entry in msp_podcast.read(root, skip_bad=True) if isinstance(entry, LeftOut)]
    assert left_out[0].where == "labels_consensus.csv, row 1"


def test_without_training_rows_there_are_no_borders(root: Path):
    replace(root, ",Train", ",Test3")
    with pytest.raises(ManifestError, match="no recording of the train split"):
        pairs(root)


def test_a_transcript_that_is_no_text_is_named(root: Path):
    (root / "Transcripts" / "MSP-PODCAST_0001_0002.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ManifestError, match=r"MSP-PODCAST_0001_0002\.txt: not UTF-8 text"):
        pairs(root)
    assert len(pairs(root, skip_bad=True)) == 9
