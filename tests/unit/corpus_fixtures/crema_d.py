"""CREMA-D: two actors of training, one of validation, one of test; the slip and a damaged file of the release."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

HEADER = '"ActorID","Age","Sex","Race","Ethnicity"'
ACTORS = (
    '1002,21,"Female","Caucasian","Not Hispanic"',
    '1040,42,"Male","African American","Not Hispanic"',
    '1064,53,"Male","Caucasian","Not Hispanic"',
    '1091,29,"Female","Asian","Not Hispanic"',
)


def make(root: Path) -> Release:
    root.mkdir(parents=True)
    (root / "VideoDemographics.csv").write_text("\n".join((HEADER, *ACTORS)) + "\n")
    for actor in ("1002", "1040", "1064", "1091"):
        for row, code in enumerate(("SAD_LO", "NEU_XX", "ANG_HI")):
            write_tone(root / "AudioWAV" / f"{actor}_IEO_{code}.wav", pitch=150.0 + 50 * row)
    write_tone(root / "AudioWAV" / "1040_ITH_SAD_X.wav", pitch=180.0)
    write_tone(root / "AudioWAV" / "1002_DFA_FEA_MD.flac", pitch=210.0)
    write_tone(root / "AudioWAV" / "1064_IEO_DIS_MD.wav")
    (root / "AudioMP3").mkdir()
    (root / "AudioMP3" / "1002_IEO_SAD_LO.mp3").write_bytes(b"not looked at")
    return Release(root, root / "AudioWAV" / "1002_IEO_SAD_LO.wav", pairs=14, left_out=1)
