from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, write_tone
from corpus_fixtures.crema_d import ACTORS, HEADER

from raclap.corpora import crema_d
from raclap.corpora.vocabulary import age_word
from raclap.data.manifest import Pair
from raclap.errors import ManifestError, RecipeError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["crema_d"](tmp_path / "crema_d").root


def pairs(root: Path, **options: object) -> dict[str, Pair]:
    return {pair.pair_id: pair for pair in crema_d.read(root, **options).pairs}


def test_a_row_holds_what_name_and_table_say(root: Path):
    pair = pairs(root)["crema_d_1064_IEO_ANG_HI"]
    assert pair.audio == "AudioWAV/1064_IEO_ANG_HI.wav"
    assert (pair.emotion, pair.intensity, pair.sex, pair.age) == ("angry", "strong", "male", "53")
    assert (pair.speaker, pair.corpus, pair.language) == ("crema_d_1064", "crema_d", "en")
    assert (pair.transcript, pair.licence) == ("It's eleven o'clock.", "ODbL 1.0 and DbCL 1.0")
    assert pair.split == "validation"
    named = {name: pair.attributes[name] for name in ("emotion", "intensity", "sex", "age")}
    assert named == {"emotion": "angry", "intensity": "strong", "sex": "male", "age": "middle-aged"}
    assert pair.attributes.keys() == {*named, "pitch", "speed", "volume"}


@pytest.mark.parametrize(
    ("name", "intensity"),
    [
        ("1002_IEO_SAD_LO", "mild"),
        ("1002_DFA_FEA_MD", "normal"),
        ("1002_IEO_ANG_HI", "strong"),
        ("1002_IEO_NEU_XX", None),
    ],
)
def test_intensities(root: Path, name: str, intensity: str | None):
    pair = pairs(root)[f"crema_d_{name}"]
    assert (pair.intensity, pair.attributes.get("intensity")) == (intensity, intensity)


def test_the_slip_of_the_release_is_read_and_its_damaged_files_are_not(root: Path):
    pair = pairs(root)["crema_d_1040_ITH_SAD_X"]
    assert (pair.intensity, pair.transcript) == (None, "I think I have a doctor's appointment.")
    for name in ("1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX"):
        (root / "AudioWAV" / f"{name}.wav").write_bytes(b"damaged")
    with (root / "VideoDemographics.csv").open("a") as file:
        file.write('1076,25,"Female","Caucasian","Not Hispanic"\n')
    skipped = crema_d.read(root).skipped
    assert len(skipped) == 4
    assert all(reason.startswith("damaged in the release") for _, reason in skipped)


def test_default_splits_share_no_actor_and_cover_all():
    read = crema_d.read.__kwdefaults__
    splits = [read[f"{name}_speakers"] for name in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [63, 14, 14]
    assert sorted(sum(splits, ())) == sorted(crema_d.ACTORS)


def test_splits_can_be_chosen(root: Path):
    listing = crema_d.read(root, train_speakers=(1040, "1064"), validation_speakers=(), test_speakers=("1002",))
    assert {pair.speaker[-4:]: pair.split for pair in listing.pairs} == {
        "1040": "train",
        "1064": "train",
        "1002": "test",
    }
    assert ("AudioWAV/1091_IEO_SAD_LO.wav", "actor 1091 is in no split") in listing.skipped
    with pytest.raises(RecipeError, match="train_speakers: no speaker '1092'"):
        crema_d.read(root, train_speakers=(1092,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1002_ABC_SAD_LO.wav", "sentence 'ABC'; expected one of IEO, TIE"),
        ("1002_IEO_SUR_LO.wav", "emotion 'SUR'; expected one of ANG, DIS"),
        ("1002_IEO_SAD_YY.wav", "intensity 'YY'; expected one of LO, MD, HI, XX"),
        ("1003_IEO_SAD_LO.wav", "actor '1003' is not in VideoDemographics.csv"),
        ("notes.wav", "expected actor, sentence, emotion and intensity, as in 1001_DFA_ANG_XX"),
    ],
)
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write_tone(root / "AudioWAV" / name)
    with pytest.raises(ManifestError, match=message) as raised:
        crema_d.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    listing = crema_d.read(root, skip_bad=True)
    assert len(listing.pairs) == 14
    assert f"AudioWAV/{name}" in [place for place, _ in listing.skipped]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((HEADER, *ACTORS[:-1], '1091,29,"Other","Asian","Not Hispanic"'), "row 4: column 'Sex' is 'Other'"),
        ((HEADER, *ACTORS[:-1], '1091,young,"Male","Asian","Not Hispanic"'), "row 4: column 'Age' is 'young'"),
        ((HEADER.replace("Sex", "Gender"), *ACTORS), "no column 'Sex'"),
        ((HEADER,), "no rows"),
    ],
)
def test_a_bad_table_of_actors_is_named(root: Path, lines: tuple[str, ...], message: str):
    (root / "VideoDemographics.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ManifestError, match=rf"VideoDemographics\.csv: {message}"):
        crema_d.read(root)


def test_the_table_of_actors_is_needed_and_its_columns_can_be_renamed(root: Path):
    table = root / "VideoDemographics.csv"
    table.write_text("\n".join((HEADER.replace("Sex", "Gender"), *ACTORS)) + "\n")
    assert pairs(root, columns={"Sex": "Gender"})["crema_d_1002_IEO_SAD_LO"].sex == "female"
    table.unlink()
    with pytest.raises(ManifestError, match=r"VideoDemographics\.csv: no such table of age and sex; it lies beside"):
        crema_d.read(root)


@pytest.mark.parametrize(
    ("years", "word"), [(12, "child"), (13, "teenager"), (20, "young adult"), (44, "adult"), (74, "elderly")]
)
def test_age_words(years: int, word: str):
    assert age_word(years) == word
