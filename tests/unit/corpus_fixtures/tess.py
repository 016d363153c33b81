"""TESS: folders as copies name them, both talkers, the slip of the release."""

from pathlib import Path

from corpus_fixtures import Release, write_tone


def make(root: Path) -> Release:
    home = root / "TESS Toronto emotional speech set data"
    write_tone(home / "OAF_angry" / "OAF_back_angry.wav", pitch=300.0)
    write_tone(home / "OAF_Pleasant_surprise" / "OAF_back_ps.wav", pitch=250.0)
    write_tone(home / "OAF_neutral" / "OA_bite_neutral.wav", pitch=200.0)
    write_tone(home / "OAF_Sad" / "OAF_back_sad.flac", pitch=150.0)
    write_tone(home / "YAF_fear" / "YAF_goose_fear.wav", pitch=320.0)
    write_tone(home / "YAF_disgust" / "YAF_goose_disgust.wav", pitch=220.0)
    write_tone(home / "YAF_happy" / "YAF_goose_happy.wav", pitch=120.0)
    return Release(root, home / "OAF_angry" / "OAF_back_angry.wav", pairs=7)
