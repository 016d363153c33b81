from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, write_tone

from raclap.corpora import savee
from raclap.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["savee"](tmp_path / "savee").root


def test_letters_and_speakers_in_folders_and_in_names(root: Path):
    found = {pair.pair_id: (pair.speaker, pair.emotion, pair.split) for pair in savee.read(root).pairs}
    assert found == {
        "savee_JE_a01": ("savee_JE", "angry", "train"),
        "savee_DC_d02": ("savee_DC", "disgusted", "train"),
        "savee_JE_f03": ("savee_JE", "fearful", "train"),
        "savee_DC_h04": ("savee_DC", "happy", "train"),
        "savee_JE_n30": ("savee_JE", "neutral", "train"),
        "savee_DC_sa15": ("savee_DC", "sad", "train"),
        "savee_JE_su15": ("savee_JE", "surprised", "train"),
        "savee_JK_sa01": ("savee_JK", "sad", "validation"),
        "savee_KL_su08": ("savee_KL", "surprised", "test"),
        "savee_KL_d08": ("savee_KL", "disgusted", "test"),
    }
    assert {pair.sex for pair in savee.read(root).pairs} == {"male"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DC/s01.wav", r"expected emotion \(a, d, f, h, n, sa, su\) and sentence"),
        ("DC/x01.wav", "expected emotion"),
        ("a01.wav", "no speaker in its name or its folder; expected one of DC, JE, JK, KL"),
        ("DC/KL_a01.wav", "speaker 'KL'; expected the one of folder DC"),
    ],
)
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str, message: str):
    path = write_tone(root / name)
    with pytest.raises(ManifestError, match=message) as raised:
        savee.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    assert savee.read(root, skip_bad=True).skipped[0].where == name
