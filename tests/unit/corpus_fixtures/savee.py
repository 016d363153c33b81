"""SAVEE: in folders of speakers, and one speaker's with the speaker in the names."""

from pathlib import Path

from corpus_fixtures import Release, write_tone


def make(root: Path) -> Release:
    for row, name in enumerate(("a01", "d02", "f03", "h04", "n30", "sa15", "su15")):
        write_tone(root / "AudioData" / ("DC" if row % 2 else "JE") / f"{name}.wav", pitch=100.0 + 20 * row)
    write_tone(root / "AudioData" / "JK" / "sa01.wav", pitch=90.0)
    write_tone(root / "AudioData" / "KL_su08.wav", pitch=240.0)
    write_tone(root / "AudioData" / "KL_d08.wav", pitch=140.0)
    (root / "AudioData" / "Info.txt").write_text("Speakers")
    return Release(root, root / "AudioData" / "JE" / "a01.wav", pairs=10)
