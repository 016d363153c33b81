from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES
from corpus_fixtures.iemocap import LINES

from raclap.corpora import iemocap
from raclap.corpora import listing as listing_module
from raclap.corpora.measurement import Measurement
from raclap.data.manifest import Pair
from raclap.errors import AudioError, ManifestError, RecipeError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["iemocap"](tmp_path / "iemocap").root


def pairs(root: Path, **options: object) -> dict[str, Pair]:
    return {pair.pair_id.removeprefix("iemocap_"): pair for pair in iemocap.read(root, **options).pairs}


def spoil(root: Path, dialog: str, old: str, new: str) -> Path:
    path = root / f"Session{dialog[4]}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
    path.write_text(path.read_text().replace(old, new))
    return path


def test_an_utterance_of_its_own_file(root: Path):
    pair = pairs(root)["Ses01F_impro01_M001"]
    assert pair.audio == "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav"
    assert (pair.start, pair.end) == (None, None)
    assert (pair.emotion, pair.split, pair.language) == ("frustrated", "train", "en")
    assert (pair.valence, pair.arousal, pair.dominance) == (1.5, 4.0, 4.5)
    assert pair.transcript == "Is there: a problem?"


def test_the_last_token_tells_the_speaker_and_not_who_wears_the_markers(root: Path):
    found = pairs(root)
    assert (found["Ses01F_impro01_M001"].speaker, found["Ses01F_impro01_M001"].sex) == ("iemocap_Ses01M", "male")
    assert (found["Ses01F_impro01_F000"].speaker, found["Ses01F_impro01_F000"].sex) == ("iemocap_Ses01F", "female")


def test_an_utterance_of_a_dialogue_is_a_stretch_and_measured_as_one(root: Path, monkeypatch: pytest.MonkeyPatch):
    pair = pairs(root)["Ses02M_script01_1_M000"]
    assert pair.audio == "Session2/dialog/wav/Ses02M_script01_1.wav"
    assert (pair.start, pair.end, pair.transcript) == (1.0, 1.8, None)
    measured: list[Measurement] = []
    measure_all = listing_module.measure_all

    def watch(*arguments: object) -> list:
        measured.extend(measure_all(*arguments))
        return measured

    monkeypatch.setattr(listing_module, "measure_all", watch)
    names = list(pairs(root))
    pitches = {name: measurement.pitch for name, measurement in zip(names, measured, strict=True)}
    # Each second of the dialogue has its own pitch.
    assert pitches["Ses02M_script01_1_F000"] == pytest.approx(120, rel=0.02)
    assert pitches["Ses02M_script01_1_M000"] == pytest.approx(240, rel=0.02)
    assert pitches["Ses02M_script01_1_M001"] == pytest.approx(360, rel=0.02)


def test_no_agreement_and_other_are_no_emotion_and_still_have_captions(root: Path):
    for name in ("Ses01F_impro01_F001", "Ses02M_script01_1_M000"):
        pair = pairs(root)[name]
        assert pair.emotion is None
        assert "emotion" not in pair.attributes
        assert pair.captions and all("emotion" not in caption.names for caption in pair.captions)
    assert pairs(root)["Ses02M_script01_1_F000"].emotion == "disgusted"


def test_excited_is_happy_only_where_asked_for(root: Path):
    assert pairs(root)["Ses01F_impro01_M002"].emotion == "excited"
    merged = pairs(root, emotions={"excited": "happy"})["Ses01F_impro01_M002"]
    assert (merged.emotion, merged.attributes["emotion"]) == ("happy", "happy")
    with pytest.raises(RecipeError, match="emotions: no 'exc'; expected some of neutral"):
        iemocap.read(root, emotions={"exc": "happy"})


def test_ratings_become_levels_with_borders_from_training(root: Path):
    found = pairs(root)
    # Of the seven valences of training, 1 1.5 2 2.5 3 3.5 4.5, the borders of the thirds are 2 and 3.
    levels = {name: pair.attributes["valence_level"] for name, pair in found.items()}
    assert levels["Ses02M_script01_1_M001"] == levels["Ses01F_impro01_M001"] == "low"
    assert levels["Ses02M_script01_1_F000"] == levels["Ses01F_impro01_F000"] == "normal"
    assert levels["Ses01F_impro01_F001"] == levels["Ses04F_impro02_M000"] == "high"
    assert found["Ses05M_script03_2b_F000"].attributes["arousal_level"] == "high"


def test_captions_can_do_without_measuring(root: Path):
    (root / "Session5" / "sentences" / "wav" / "Ses05M_script03_2b" / "Ses05M_script03_2b_F000.wav").unlink()
    found = pairs(root, measured=("none",))
    assert len(found) == 10
    assert not {"pitch", "speed", "volume"} & found["Ses05M_script03_2b_F000"].attributes.keys()
    with pytest.raises(RecipeError, match="measured: no 'loudness'; expected some of pitch, speed, volume, or none"):
        iemocap.read(root, measured=("loudness",))


def test_sessions_are_split_as_a_whole(root: Path):
    found = iemocap.read(root, train_sessions=(1, "5"), validation_sessions=(), test_sessions=(2,))
    assert {pair.audio[:8]: pair.split for pair in found.pairs} == {
        "Session1": "train", "Session5": "train", "Session2": "test",
    }  # fmt: skip
    assert found.skipped == [
        ("Session4/dialog/EmoEvaluation/Ses04F_impro02.txt", "session 4 is in no split"),
    ]
    with pytest.raises(RecipeError, match="test_sessions: session '1' is already in split 'train'"):
        iemocap.read(root, test_sessions=(1,))
    with pytest.raises(RecipeError, match="train_sessions: no session '6'"):
        iemocap.read(root, train_sessions=(6,))


def test_recordings_may_be_kept_as_flac(root: Path):
    import soundfile

    path = root / "Session4" / "sentences" / "wav" / "Ses04F_impro02" / "Ses04F_impro02_M000.wav"
    samples, rate = soundfile.read(path)
    path.unlink()
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    assert len(pairs(root)) == 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tneu\t", "\tmeh\t", "emotion 'meh'; expected one of ang, hap"),
        ("[2.5000, 2.5000, 2.5000]", "[2.5000, 2.5000]", r"expected \[start - end\] utterance emotion \[V, A, D\]"),
        (
            "[2.5000, 2.5000, 2.5000]",
            "[2.5000, 6.5000, 2.5000]",
            r"ratings \[2.5, 6.5, 2.5\]; expected numbers from 1",
        ),
        ("[6.2901 - 8.2357]", "[8.2901 - 6.2357]", "8.2901 to 6.2357 s is not a stretch"),
        ("Ses01F_impro01_F000", "Ses02F_impro01_F000", "utterance 'Ses02F_impro01_F000'; expected one of Session1"),
        ("Ses01F_impro01_F000", "../../Ses01F_F000", "utterance '../../Ses01F_F000'; expected one of Session1"),
    ],
)
def test_bad_lines_are_errors_or_skipped(root: Path, old: str, new: str, message: str):
    path = spoil(root, "Ses01F_impro01", old, new)
    with pytest.raises(ManifestError, match=message) as raised:
        iemocap.read(root)
    assert str(raised.value).startswith(f"{path}: line 3: ")
    listing = iemocap.read(root, skip_bad=True)
    assert len(listing.pairs) == 9
    assert listing.skipped[0].where == "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt, line 3"
    assert str(path) not in listing.skipped[0].reason


def test_a_stretch_outside_its_dialogue_is_named(root: Path):
    spoil(root, "Ses02M_script01_1", "[2.0000 - 2.9000]", "[2.0000 - 9.9000]")
    with pytest.raises(AudioError, match=r"Ses02M_script01_1\.wav: 2.0 to 9.9 s is not a stretch"):
        iemocap.read(root)
    (left_out,) = iemocap.read(root, skip_bad=True).skipped
    assert left_out.where == "Session2/dialog/wav/Ses02M_script01_1.wav, iemocap_Ses02M_script01_1_M001"


def test_text_that_is_no_text_is_named(root: Path):
    path = spoil(root, "Ses01F_impro01", "", "")
    path.write_bytes(b"\xff\xfe[1")
    with pytest.raises(ManifestError, match=r"Ses01F_impro01\.txt: not UTF-8 text"):
        iemocap.read(root)


def test_every_line_of_the_fixture_is_read(root: Path):
    assert pairs(root).keys() == {line.split("\t")[1] for lines in LINES.values() for line in lines}
