"""MEAD: converted to .wav in the released folders and in others."""

from pathlib import Path

from corpus_fixtures import Release, write_tone


def make(root: Path) -> Release:
    write_tone(root / "M003" / "audio" / "happy" / "level_2" / "020.wav", pitch=150.0)
    write_tone(root / "M003" / "audio" / "neutral" / "level_1" / "020.wav", pitch=110.0)
    write_tone(root / "W028" / "audio" / "contempt" / "level_3" / "001.wav", pitch=250.0)
    write_tone(root / "W028" / "wav" / "sad" / "level_1" / "001.wav", pitch=200.0)
    write_tone(root / "W009" / "audio" / "front" / "fear_level_1" / "002.flac", pitch=220.0)
    write_tone(root / "M032" / "audio" / "angry" / "level_3" / "030.wav", pitch=130.0)
    write_tone(root / "W040" / "audio" / "surprised" / "level_2" / "007.wav", pitch=260.0)
    # A release that was converted in its place.
    (root / "M003" / "audio" / "happy" / "level_2" / "020.m4a").write_bytes(b"not looked at")
    return Release(root, root / "W028" / "audio" / "contempt" / "level_3" / "001.wav", pairs=7)
