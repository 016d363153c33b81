"""MESS: all in one folder."""

from pathlib import Path

from corpus_fixtures import Release, write_tone


def make(root: Path) -> Release:
    for row, emotion in enumerate("ACHS"):
        write_tone(root / f"{emotion}F1M12_SCR.wav", pitch=200.0 + 20 * row)
        write_tone(root / f"{emotion}M2T01_SCR.wav", pitch=100.0 + 20 * row)
    write_tone(root / "SF3V30_SCR.wav", pitch=150.0)
    write_tone(root / "HM3V30_SCR.wav", pitch=190.0)
    return Release(root, root / "AF1M12_SCR.wav", pairs=10)
