from pathlib import Path

import pytest
from corpus_fixtures import Release, write_tone
from corpus_fixtures import promptspeech as fixture

from raclap.corpora import promptspeech
from raclap.corpora.listing import CorpusListing, split_of_speaker
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(release: Release, **options) -> CorpusListing:
    return CorpusListing.of(promptspeech.read(release.root, **{**release.options, **options}))


def set_row(release: Release, row: int, text: str) -> None:
    lines = release.table.read_text().splitlines()
    lines[row] = text
    release.table.write_text("\n".join(lines))


def test_a_row_holds_what_the_table_says(release: Release):
    assert read(release).pairs[0] == Pair(
        pair_id="promptspeech_84_121550_000007_000000",
        audio="LibriTTS/dev-clean/84/121550/84_121550_000007_000000.wav",
        captions=(Caption("A woman speaks with high pitch, and her volume is low"),),
        corpus="promptspeech",
        split="train",
        speaker="libritts_84",
        sex="female",
        language="en",
        attributes={"sex": "female", "pitch": "high", "speed": "normal", "volume": "low"},
        style_key="pitch=high|sex=female|speed=normal|volume=low",
        licence="CC BY 4.0",
    )
    assert read(release).pairs[2].captions[0].text == 'His voice is "deep", he talks fast'


def test_splits_without_lists_are_of_speakers_and_take_the_shares(release: Release):
    assert {pair.split for pair in read(release, validation_share=0, test_share=0).pairs} == {"train"}
    for pair in read(release, validation_share=0.4, test_share=0.4).pairs:
        assert pair.split == split_of_speaker(pair.speaker, 0.4, 0.4)


def test_split_lists_settle_the_splits(release: Release, tmp_path: Path):
    listing = read(release, split_lists=fixture.write_lists(tmp_path))
    assert [pair.split for pair in listing.pairs] == ["train", "validation", "test"]
    assert listing.skipped == [("Real_training.csv, row 4", "in none of the split lists")]


def test_split_lists_that_disagree_are_errors(release: Release, tmp_path: Path):
    lists = fixture.write_lists(tmp_path)
    with pytest.raises(ManifestError, match=r"train_set.csv: row 1: '84_.*' is in the list for train, too"):
        read(release, split_lists={"train": lists["train"], "test": lists["train"]})
    with pytest.raises(RecipeError, match="split_lists: 'dev'; expected one of train, validation, test"):
        read(release, split_lists={"dev": lists["validation"]})
    with pytest.raises(ManifestError, match=r"absent\.csv: no such table"):
        read(release, split_lists={"test": str(tmp_path / "absent.csv")})


def test_the_table_itself_can_be_the_root(release: Release):
    assert CorpusListing.of(promptspeech.read(release.table, **release.options)) == read(release)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("84_121550_000007_000000,84,X,high,slow,low,A voice", "row 1: column 'gender' is 'X'; expected one of m"),
        ("84_121550_000007_000000,84,F,shrill,slow,low,A voice", "row 1: column 'pitch' is 'shrill'; expected one of"),
        ("84_121550_000007_000000,84,F,high,,low,A voice", "row 1: column 'speaking_speed' is empty"),
        ("84_121550_000007_000000,84,F,high,slow,low,", "row 1: column 'style_prompt' is empty"),
        ("../84_121550_000007,84,F,high,slow,low,A voice", "row 1: column 'item_name' is '../84_121550_000007'"),
    ],
)  # fmt: skip
def test_bad_rows_are_errors_or_counted(release: Release, row: str, message: str):
    set_row(release, 1, row)
    with pytest.raises(ManifestError, match=message) as raised:
        read(release)
    assert str(raised.value).startswith(f"{release.table}: ")
    listing = CorpusListing.of(promptspeech.read(release.root, True, **release.options))
    assert len(listing.pairs) == 3
    assert [where for where, _ in listing.skipped] == ["Real_training.csv, row 1"]


def test_other_columns_can_be_named_as_for_the_synthetic_part(tmp_path: Path):
    write_tone(tmp_path / "wavs" / "0001 (a).wav")
    table = tmp_path / "synthetic.csv"
    table.write_text(
        "id,speaker,gender,pitch,speaking_speed,energy,emotion,style_prompt,content_prompt,wav\n"
        "1,Guy,M,low,fast,high,sad,A sad man,Hello,old/wavs/0001 (a).wav\n"
    )
    columns = {"item_name": "id", "spk_id": "speaker", "audio": "wav"}
    (pair,) = promptspeech.read(table, columns=columns, remaps={"old": ""}, test_share=0, validation_share=0)
    assert (pair.audio, pair.speaker, pair.transcript) == ("wavs/0001 (a).wav", "promptspeech_Guy", "Hello")
    assert (pair.emotion, pair.attributes["emotion"], pair.licence) == ("sad", "sad", None)
    table.write_text(table.read_text().replace("old/", "../"))
    with pytest.raises(
        ManifestError, match=r"row 1: column 'wav' is '../wavs/0001 \(a\).wav', which leaves the audio"
    ):
        list(promptspeech.read(table, columns=columns))


def test_libritts_that_is_not_there_or_there_twice_is_said_so(release: Release, tmp_path: Path):
    with pytest.raises(ManifestError, match="no LibriTTS below it, expected SPLIT/SPEAKER/CHAPTER"):
        read(release, audio_root=release.root)
    write_tone(release.recording.parents[4] / "copy" / "LibriTTS" / "84" / "121550" / release.recording.name)
    with pytest.raises(ManifestError, match="there twice, in LibriTTS/dev-clean and copy/LibriTTS"):
        read(release)


def test_an_utterance_whose_chapter_is_missing_gets_a_path_with_nothing_there(release: Release):
    set_row(release, 4, "7021_79730_000000_000000,7021,M,normal,normal,normal,A man speaks")
    assert read(release).pairs[3].audio == "7021/79730/7021_79730_000000_000000.wav"


def test_a_split_of_libritts_can_be_the_audio_root(release: Release):
    set_row(release, 3, "")
    set_row(release, 4, "")
    pairs = read(release, audio_root=release.options["audio_root"] / "LibriTTS" / "dev-clean").pairs
    assert [pair.audio for pair in pairs] == [
        "84/121550/84_121550_000007_000000.wav",
        "84/121550/84_121550_000008_000001.wav",
    ]
