from pathlib import Path

import pytest
from corpus_fixtures import Release, write_tone
from corpus_fixtures import vccm as fixture

from raclap.corpora import vccm
from raclap.corpora.listing import CorpusListing
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(release: Release, **options) -> CorpusListing:
    return CorpusListing.of(vccm.read(release.root, **{**release.options, **options}))


def test_rows_hold_what_the_table_says(release: Release):
    libritts, esd = read(release).pairs[:2]
    assert libritts == Pair(
        pair_id="vccm_5082_34548_000111_000001",
        audio="LibriTTS/train-clean-360/5082/34548/5082_34548_000111_000001.wav",
        captions=(Caption("Slow, with a deep pitch"),),
        corpus="vccm",
        split="train",
        transcript='"There\'s rain in the air."',
        speaker="libritts_5082",
        sex="female",
        language="en",
        attributes={"sex": "female", "pitch": "low", "speed": "slow", "volume": "normal"},
        style_key="pitch=low|sex=female|speed=slow|volume=normal",
    )
    assert (esd.emotion, esd.speaker, esd.attributes["emotion"]) == ("happy", "esd_0020", "happy")


def test_both_words_for_no_emotion_are_none(release: Release):
    assert [pair.emotion for pair in read(release).pairs if pair.speaker.startswith("libritts")] == [None, None]


def test_names_lead_to_recordings_through_hyphens_of_folders_and_files(release: Release):
    found = [pair.audio.removesuffix(".wav") for pair in read(release).pairs]
    expected = {str(Path(recording).with_suffix("")) for recording in fixture.RECORDINGS[:-1]}
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_folder_whose_name_another_begins_with_is_not_mistaken(release: Release):
    write_tone(release.options["audio_root"] / "CREMA" / "D" / "AudioWAV" / "other.wav")
    write_tone(release.options["audio_root"] / "emotion_dataset" / "MEAD" / "M026-audio" / "other.wav")
    audio = {pair.pair_id: pair.audio for pair in read(release).pairs}
    assert audio[f"vccm_{fixture.CREMA_D}"] == "CREMA-D/AudioWAV/1060_IWL_FEA_XX.wav"
    assert audio[f"vccm_{fixture.MEAD}"] == "emotion_dataset/MEAD/M026/audio/contempt/level_3/018.wav"


def test_a_name_that_leads_nowhere_gets_a_path_with_nothing_there(release: Release):
    (release.options["audio_root"] / fixture.RECORDINGS[5]).unlink()
    assert f"{fixture.RAVDESS}.wav" in [pair.audio for pair in read(release).pairs]


def test_splits_are_as_released_and_validation_is_of_training_speakers(release: Release):
    def splits(**options) -> dict[str, str]:
        return {pair.speaker: pair.split for pair in read(release, **options).pairs}

    assert splits(validation_share=0.0) == {
        **dict.fromkeys(("libritts_5082", "esd_0020", "tess_YAF", "mess_M3", "libritts_7387"), "train"),
        **dict.fromkeys(("ravdess_01", "crema_d_1060", "mead_M026", "savee_DC"), "test"),
    }
    assert sorted(splits(validation_share=0.5).values()) == ["test"] * 4 + ["train"] * 2 + ["validation"] * 3


def test_other_tables_can_be_named(release: Release):
    pairs = read(release, splits={"validation": "test_prompt"}, validation_share=0.9).pairs
    assert [pair.split for pair in pairs].count("validation") == 1
    with pytest.raises(RecipeError, match="splits: 'dev'"):
        read(release, splits={"dev": "test_prompt"})
    with pytest.raises(ManifestError, match=r"controlspeech_valid\.csv: no such table"):
        read(release, splits={"validation": "valid"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",happy,", ",elated,", "row 2: column 'emotion' is 'elated'; expected one of angry"),
        (",low,normal,low,M,happy", ",slowish,normal,low,M,happy", "row 2: column 'dur' is 'slowish'"),
        (fixture.ESD, "../secret", "row 2: column 'item_name' is '../secret', which leaves the audio root"),
        ("ESD-0020", "", "row 2: column 'spk' is empty"),
    ],
)
def test_bad_rows_are_errors_or_counted(release: Release, old: str, new: str, message: str):
    release.table.write_text(release.table.read_text().replace(old, new, 1))
    with pytest.raises(ManifestError, match=message):
        read(release)
    listing = CorpusListing.of(vccm.read(release.root, True, **release.options))
    assert (len(listing.pairs), [where for where, _ in listing.skipped]) == (8, ["controlspeech_train.csv, row 2"])
