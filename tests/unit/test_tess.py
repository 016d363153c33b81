from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, write_tone

from raclap.corpora import tess
from raclap.corpora.preparation import prepare
from raclap.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["tess"](tmp_path / "tess").root


def test_a_row_holds_what_the_name_says(root: Path):
    pairs = {pair.pair_id: pair for pair in tess.read(root).pairs}
    pair = pairs["tess_OAF_back_ps"]
    assert pair.audio == "TESS Toronto emotional speech set data/OAF_Pleasant_surprise/OAF_back_ps.wav"
    assert (pair.emotion, pair.sex, pair.age, pair.transcript) == ("surprised", "female", "64", "Say the word back.")
    assert (pair.split, pair.speaker, pair.licence) == ("train", "tess_OAF", "CC BY-NC-ND 4.0")
    assert pair.attributes["age"] == "elderly"
    young = pairs["tess_YAF_goose_disgust"]
    assert (young.emotion, young.age, young.attributes["age"]) == ("disgusted", "26", "young adult")
    assert young.split == "test"


def test_the_slip_of_the_release_is_of_the_older_talker(root: Path):
    (pair,) = [pair for pair in tess.read(root).pairs if "bite" in pair.audio]
    assert (pair.pair_id, pair.speaker, pair.emotion) == ("tess_OAF_bite_neutral", "tess_OAF", "neutral")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OAF_back_calm.wav", "emotion 'calm'; expected one of angry, disgust"),
        ("MAF_back_sad.wav", "expected talker, word and emotion"),
        ("OAF_back.wav", "expected talker, word and emotion"),
    ],
)
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write_tone(root / name)
    with pytest.raises(ManifestError, match=message) as raised:
        tess.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    assert tess.read(root, skip_bad=True).skipped[0].where == name


def test_a_copy_inside_the_copy_is_named(root: Path, tmp_path: Path):
    write_tone(root / "inner" / "OAF_back_angry.wav")
    with pytest.raises(ManifestError, match="'tess_OAF_back_angry' stands in more than one row"):
        prepare("tess", root, tmp_path / "manifest.parquet")
