from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, write_tone
from corpus_fixtures.esd import SENTENCES

from raclap.corpora import esd
from raclap.data.manifest import Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["esd"](tmp_path / "esd").root


def pairs(root: Path, **options: object) -> dict[str, Pair]:
    return {pair.pair_id: pair for pair in esd.read(root, **options).pairs}


def test_a_row_holds_what_path_and_sentences_say(root: Path):
    pair = pairs(root)["esd_0011_001004"]
    assert pair.audio == "0011/Surprise/0011_001004.wav"
    assert (pair.emotion, pair.sex, pair.language, pair.speaker) == ("surprised", "male", "en", "esd_0011")
    assert pair.transcript == "The nine the eggs, I keep."
    mandarin = pairs(root)["esd_0001_001000"]
    assert (mandarin.emotion, mandarin.sex, mandarin.language) == ("angry", "female", "zh")


@pytest.mark.parametrize("speaker", SENTENCES)
def test_sentences_in_every_encoding_of_the_release(root: Path, speaker: str):
    found = {pair.transcript for pair in esd.read(root).pairs if pair.speaker == f"esd_{speaker}"}
    assert SENTENCES[speaker][1] in found


def test_lines_that_are_not_as_the_others(root: Path):
    assert pairs(root)["esd_0011_002000"].transcript == "He was happy"
    write_tone(root / "0011" / "Happy" / "0011_002001.wav")
    assert pairs(root)["esd_0011_002001"].transcript is None
    (root / "0011" / "0011.txt").unlink()
    assert pairs(root)["esd_0011_001004"].transcript is None


def test_sentences_in_a_foreign_encoding_are_named(root: Path):
    (root / "0001" / "0001.txt").write_bytes("0001_001000\tこれは\t生气".encode("shift-jis") + b"\x81\xff\xff")
    with pytest.raises(ManifestError, match=r"0001\.txt: expected UTF-8, UTF-16, GB 18030 or Windows-1252"):
        esd.read(root)
    assert len(esd.read(root, skip_bad=True).pairs) == 12


def test_default_splits_share_no_speaker_and_have_both_sexes_in_both_languages():
    read = esd.read.__kwdefaults__
    splits = [read[f"{name}_speakers"] for name in ("train", "validation", "test")]
    assert sorted(sum(splits, ())) == sorted(esd.SPEAKERS)
    for split in splits:
        assert {(speaker in esd._MEN, speaker < "0011") for speaker in split} == {
            (True, True), (True, False), (False, True), (False, False),
        }  # fmt: skip


def test_the_released_division_can_be_taken(root: Path):
    for part, number in (("train", 1), ("evaluation", 2), ("test", 3)):
        write_tone(root / "0011" / "Sad" / part / f"0011_00000{number}.wav", pitch=200.0 + number)
    found = pairs(root)
    assert {found[f"esd_0011_00000{number}"].split for number in (1, 2, 3)} == {"train"}
    assert found["esd_0011_000002"].audio == "0011/Sad/evaluation/0011_000002.wav"
    released = {"train": "train", "validation": "evaluation", "test": "test"}
    with pytest.raises(ManifestError, match=r"folder 'Angry' is no split; expected train, evaluation, test"):
        esd.read(root, splits=released)
    listing = esd.read(root, skip_bad=True, splits=released)
    assert {pair.pair_id[-1]: pair.split for pair in listing.pairs} == {"1": "train", "2": "validation", "3": "test"}
    assert {pair.transcript for pair in listing.pairs} == {None}
    with pytest.raises(RecipeError, match="splits: 'dev'"):
        esd.read(root, splits={"dev": "test"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0011/Calm/0011_000001.wav", "emotion 'Calm'; expected one of Angry, Happy"),
        ("0011/Sad/0012_000001.wav", "speaker '0012'; expected the one of folder 0011"),
        ("0021/Sad/0021_000001.wav", "speaker '0021'; expected one of 0001, 0002"),
        ("0011/Sad/000001.wav", "expected speaker, emotion and recording"),
    ],
)
def test_misplaced_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write_tone(root / name)
    with pytest.raises(ManifestError, match=message) as raised:
        esd.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    assert name in [place for place, _ in esd.read(root, skip_bad=True).skipped]
