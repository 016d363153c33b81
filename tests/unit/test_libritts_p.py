from pathlib import Path

import pytest
from corpus_fixtures import Release
from corpus_fixtures import libritts_p as fixture

from raclap.corpora import libritts_p
from raclap.corpora.listing import CorpusListing
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return fixture.make(tmp_path)


def read(release: Release, **options) -> CorpusListing:
    return CorpusListing.of(libritts_p.read(release.root, **release.options, **options))


def test_a_row_holds_five_levels_and_the_captions_of_its_key(release: Release):
    first, second = read(release, validation_share=0, test_share=0).pairs
    assert first == Pair(
        pair_id="libritts_p_84_121550_000007_000000",
        audio="LibriTTS_R/dev-clean/84/121550/84_121550_000007_000000.wav",
        # The third of the table is the first, but for its capital.
        captions=(Caption("ask a woman to be slow, with high pitch"), Caption('A "treble", slow')),
        corpus="libritts_p",
        split="train",
        transcript='"You see," she said, "nothing."',
        speaker="libritts_84",
        sex="female",
        language="en",
        attributes={"sex": "female", "pitch": "very high", "speed": "slow", "volume": "normal"},
        style_key="F_p-high_s-slow_e-normal",
        licence="CC BY 4.0",
    )
    assert second.attributes == {"sex": "male", "pitch": "low", "speed": "very fast", "volume": "very low"}
    assert second.captions[1].text == "let a man's voice be low, fast and soft"


def test_invalid_rows_and_excluded_speakers_are_counted(release: Release):
    assert read(release).skipped == [
        ("metadata_w_style_prompt_tags_v230922.csv, row 2", "marked invalid"),
        ("metadata_w_style_prompt_tags_v230922.csv, row 3", "the speaker is to be excluded"),
    ]


def test_the_list_of_speakers_is_read_and_known_where_it_is_missing(release: Release):
    path = release.table.with_name("excluded_spk_list.txt")
    path.write_text("84\n1089\n2074\n")
    assert read(release).pairs == []
    path.unlink()
    assert [where[-1] for where, _ in read(release).skipped] == ["2", "3"]


def test_the_folder_of_the_tables_can_be_the_root(release: Release):
    listing = CorpusListing.of(libritts_p.read(release.table.parent, **release.options))
    assert listing == read(release)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",very high,", ",very shrill,", "row 1: column 'pitch' is 'very shrill'; expected one of low, normal"),
        ("0.05,0.03,0\n", "0.05,0.03,yes\n", "row 1: column 'invalid' is 'yes'; expected one of 0, 1"),
        ("F_p-high_s-slow_e-normal", "F_p-high", "row 1: column 'style_prompt_key' is 'F_p-high', which style_prompt"),
        ("84_121550_000007_000000", "84-121550-7", "row 1: column 'item_name' is '84-121550-7'; expected SPEAKER_CH"),
    ],
)
def test_bad_rows_are_errors_or_counted(release: Release, old: str, new: str, message: str):
    release.table.write_text(release.table.read_text().replace(old, new, 1))
    with pytest.raises(ManifestError, match=message):
        read(release)
    assert (len(read(release, skip_bad=True).pairs), len(read(release, skip_bad=True).skipped)) == (1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("F_p-high_s-slow_e-normal;a caption", "1 fields; expected 2 .key, captions., separated by a vertical bar"),
        ("F|a caption\nF|another", "row 2: the key 'F' is there twice"),
        ("F| ; ", "row 1: no caption for the key 'F'"),
    ],
)
def test_bad_candidates_are_errors(release: Release, text: str, message: str):
    path = release.table.with_name("style_prompt_candidates_v230922.csv")
    path.write_text(text)
    with pytest.raises(ManifestError, match=message) as raised:
        read(release, skip_bad=True)
    assert str(path) in str(raised.value)
