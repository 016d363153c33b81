"""IEMOCAP: sessions 1, 2, 4 and 5; session 2 without the folder of utterances, so that stretches are cut."""

from pathlib import Path

import numpy as np
import soundfile

from corpus_fixtures import Release, write_tone

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
RATERS = "C-E2:\tNeutral;\t()\nC-F1:\tNeutral; Sadness;\t(curious)\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
LINES = {
    "Ses01F_impro01": (
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]",
        "[10.0100 - 11.3925]\tSes01F_impro01_M001\tfru\t[1.5000, 4.0000, 4.5000]",
        "[14.8872 - 18.0175]\tSes01F_impro01_F001\txxx\t[3.5000, 3.0000, 3.0000]",
        "[19.2900 - 20.7875]\tSes01F_impro01_M002\texc\t[4.5000, 4.0000, 3.5000]",
    ),
    "Ses02M_script01_1": (
        "[0.2000 - 0.9000]\tSes02M_script01_1_F000\tdis\t[2.0000, 3.0000, 4.0000]",
        "[1.0000 - 1.8000]\tSes02M_script01_1_M000\toth\t[3.0000, 2.0000, 3.0000]",
        "[2.0000 - 2.9000]\tSes02M_script01_1_M001\tsad\t[1.0000, 1.0000, 1.0000]",
    ),
    "Ses04F_impro02": ("[1.0000 - 2.0000]\tSes04F_impro02_M000\thap\t[4.3333, 3.6667, 3.0000]",),
    "Ses05M_script03_2b": (
        "[1.0000 - 2.0000]\tSes05M_script03_2b_F000\tang\t[1.5000, 4.5000, 5.0000]",
        "[2.0000 - 3.0000]\tSes05M_script03_2b_F001\tfea\t[2.0000, 3.5000, 1.5000]",
    ),
}


def make(root: Path) -> Release:
    for dialog, lines in LINES.items():
        home = root / f"Session{dialog[4]}"
        evaluation = home / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        (evaluation.parent / "Categorical").mkdir(parents=True, exist_ok=True)
        (evaluation.parent / "Categorical" / f"{dialog}_e2_cat.txt").write_text(f"{dialog}_F000 :Neutral state; ()\n")
        (evaluation.parent / f"._{dialog}.txt").write_bytes(b"\x00\x05Mac OS X")
        evaluation.write_text(HEADER + "".join(f"{line}\n{RATERS}" for line in lines))
        if dialog.startswith("Ses02"):
            write_dialog(home / "dialog" / "wav" / f"{dialog}.wav")
            continue
        for row, line in enumerate(lines):
            name = line.split("\t")[1]
            write_tone(home / "sentences" / "wav" / dialog / f"{name}.wav", pitch=150.0 + 50 * row)
    transcriptions = root / "Session1" / "dialog" / "transcriptions"
    transcriptions.mkdir()
    (transcriptions / "Ses01F_impro01.txt").write_text(
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "Ses01F_impro01_MXX0 [008.0000-009.0000]: [LAUGHTER], That's what they say.\n"
        "Ses01F_impro01_M001 [010.0100-011.3925]: Is there: a problem?\n"
        "M: Yeah.\n"
    )
    utterances = root / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    return Release(root, utterances / "Ses01F_impro01_M002.wav", pairs=10)


def write_dialog(path: Path) -> None:
    """Three seconds in stereo, each at another pitch: 120, 240 and 360 Hz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(16_000) / 16_000
    tones = np.concatenate([0.3 * np.sin(2 * np.pi * pitch * time) for pitch in (120.0, 240.0, 360.0)])
    soundfile.write(path, np.stack([tones, tones], axis=1), 16_000)
