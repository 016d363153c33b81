from pathlib import Path

import pytest
from corpus_fixtures import Release
from corpus_fixtures import textrolspeech as fixture

from raclap.corpora import textrolspeech
from raclap.corpora.listing import CorpusListing
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(release: Release, **options) -> CorpusListing:
    return CorpusListing.of(textrolspeech.read(release.root, **options))


def test_a_row_holds_what_the_table_says(release: Release):
    pair = read(release).pairs[1]
    assert pair == Pair(
        pair_id="textrolspeech_train_7",
        audio="emotion_dataset/Emotional Speech Dataset (ESD)/Emotion Speech Dataset/0015/Sad/0015_001348.wav",
        captions=(Caption("She sounds sad (and slow)."),),
        corpus="textrolspeech",
        split="train",
        transcript="Tom could not hear her.",
        speaker="esd_0015",
        sex="female",
        language="en",
        emotion="sad",
        attributes={"sex": "female", "pitch": "normal", "speed": "slow", "volume": "low", "emotion": "sad"},
        style_key="emotion=sad|pitch=normal|sex=female|speed=slow|volume=low",
    )
    assert (release.root / pair.audio).is_file()


def test_quoted_commas_and_quotes_are_kept(release: Release):
    pair = read(release).pairs[0]
    assert pair.captions == (Caption("With a deep, energetic voice, he speaks."),)
    assert pair.transcript == '"I, too," he said.'


def test_an_empty_emotion_is_none(release: Release):
    pair = read(release).pairs[2]
    assert pair.emotion is None
    assert pair.style_key == "pitch=high|sex=female|speed=fast|volume=normal"


def test_splits_are_as_released(release: Release):
    assert [(pair.split, pair.speaker) for pair in read(release).pairs] == [
        ("train", "libritts_459"),
        ("train", "esd_0015"),
        ("train", "vctk_p307"),
        ("validation", "mead_W028"),
        ("test", "crema_d_1060"),
    ]


def test_tables_can_be_chosen(release: Release):
    pairs = read(release, splits={"train": "random_dev", "validation": "", "test": "random_test, random_train"}).pairs
    assert [pair.split for pair in pairs] == ["train", "test", "test", "test", "test"]
    with pytest.raises(RecipeError, match="splits: 'dev'; expected one of train, validation, test"):
        read(release, splits={"dev": "random_dev"})
    with pytest.raises(RecipeError, match="splits: 'random_test' is given to validation and to test"):
        read(release, splits={"validation": "random_test"})
    with pytest.raises(ManifestError, match=r"random_val\.csv: no such table"):
        read(release, splits={"validation": "random_val"})


def test_prefixes_can_be_replaced_without_losing_the_speaker(release: Release):
    pairs = read(release, remaps={"libritts": "LibriTTS", "emotion_dataset/MEAD": "mead"}, licence="mixed").pairs
    assert pairs[0].audio == "LibriTTS/train-clean-360/459/127522/459_127522_000002_000000.wav"
    assert pairs[3].audio == "mead/W028/audio/happy/level_2/020.wav"
    assert (pairs[3].speaker, pairs[3].licence) == ("mead_W028", "mixed")


@pytest.mark.parametrize(
    ("path", "speaker"),
    [
        ("libritts/train-clean-100/84/121550/84_121550_000007_000000.wav", "libritts_84"),
        ("VCTK-Corpus/wav48/s5/s5_001.wav", "vctk_s5"),
        ("VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac", "vctk_p225"),
        ("emotion_dataset/RAVDESS/Actor_13/03-01-07-02-02-02-13.wav", "ravdess_13"),
        ("emotion_dataset/SAVEE/ALL/DC_sa08.wav", "savee_DC"),
        ("emotion_dataset/TESS/TESS Toronto emotional speech set data/OAF_disgust/OAF_hurl_disgust.wav", "tess_OAF"),
        ("emotion_dataset/MESS compressed/CM3T07_SCR.wav", "mess_M3"),
        ("somewhere/else.wav", None),
    ],
)
def test_paths_tell_the_speaker(path: str, speaker: str | None):
    assert textrolspeech.speaker_of_path(path) == speaker


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",sad,", ",gloomy,", "row 2: column 'emotion' is 'gloomy'; expected one of angry, anger"),
        (",F,normal,low,", ",F,normal,swift,", "row 2: column 'tempo' is 'swift'"),
        (fixture.ESD, "../0015_001348.wav", "row 2: column 'wav_fp' is '../0015_001348.wav', which leaves"),
        (fixture.ESD, "/data/0015_001348.wav", "row 2: column 'wav_fp' is '/data/0015_001348.wav', which leaves"),
    ],
)  # fmt: skip
def test_bad_rows_are_errors_or_counted(release: Release, old: str, new: str, message: str):
    release.table.write_text(release.table.read_text().replace(old, new, 1))
    with pytest.raises(ManifestError, match=message):
        read(release)
    listing = read(release, skip_bad=True)
    assert (len(listing.pairs), [where for where, _ in listing.skipped]) == (4, ["random_train.csv, row 2"])
