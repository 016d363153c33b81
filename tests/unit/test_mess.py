from pathlib import Path

import pytest
from corpus_fixtures import FIXTURES, write_tone

from raclap.corpora import mess
from raclap.errors import ManifestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FIXTURES["mess"](tmp_path / "mess").root


def test_a_row_holds_what_the_name_says(root: Path):
    pairs = {pair.pair_id: pair for pair in mess.read(root).pairs}
    pair = pairs["mess_AF1M12"]
    assert (pair.audio, pair.emotion, pair.sex, pair.speaker) == ("AF1M12_SCR.wav", "angry", "female", "mess_F1")
    assert {name[5]: found.emotion for name, found in pairs.items()} == {
        "A": "angry",
        "C": "calm",
        "H": "happy",
        "S": "sad",
    }
    assert {found.speaker for found in pairs.values() if found.split == "test"} == {"mess_F3", "mess_M3"}
    assert pairs["mess_HM3V30"].sex == "male"


@pytest.mark.parametrize("name", ["NF1M12_SCR.wav", "AF4M12_SCR.wav", "AF1M12_X.wav", "AF1M1_SCR.wav"])
def test_misnamed_files_are_errors_or_skipped(root: Path, name: str):
    path = write_tone(root / name)
    with pytest.raises(ManifestError, match=r"expected emotion \(A, C, H, S\), sex, talker, cue") as raised:
        mess.read(root)
    assert str(raised.value).startswith(f"{path}: ")
    assert mess.read(root, skip_bad=True).skipped[0].where == name
