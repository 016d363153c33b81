"""SpeechCraft: one file of each caption's name, keys with and without the name of a folder before them."""

import json
from pathlib import Path

from corpus_fixtures import Release, write_tone

ENTRIES = {
    "gigaspeech": {
        "m_chunks_0000_POD0000000094_S0000000": {
            "labels": "age:Middle-aged\tgender:male\tpitch:low\tvolume:normal\tspeed:fast\temotion:unknown\t"
            "transcription: He said: two things, really.",
            "llama-instruction": 'A middle-aged man says fast, "He said: two things, really."',
        },
        "POD0000000094_S0000001": {
            "labels": "transcription:\temotion:Angry\tspeed:slow\tvolume:high\tpitch:high\tgender:Female\t"
            "age:Youth adult",
            "llama-instruction": "A young woman is angry.",
            "text_style_target": "The speaker speaks in high pitch.",
        },
    },
    "libritts": {
        "121550_84_121550_000007_000000": {
            "labels": "gender:female\tage:Elderly\tpitch:normal\temotion:neutral\tvolume:low\tspeed:slow\t"
            "transcription: “Nothing,” she said",
            "text_style_target": "An elderly woman speaks softly, “at leisure”.",
        },
        "1089_134686_000001_000001": {
            "labels": "gender:male\tage:Child\tpitch:normal\temotion:happy\tvolume:low\tspeed:slow\ttopic:food\t"
            "transcription: Stew",
            "text_style_target": "A boy.",
        },
    },
}
RECORDINGS = (
    "GigaSpeech/m_chunks_0000/POD0000000094_S0000000.wav",
    "GigaSpeech/m_chunks_0001/POD0000000094_S0000001.flac",
    "LibriTTS_R/dev-clean/84/121550/84_121550_000007_000000.wav",
    "LibriTTS_R/test-clean/1089/134686/1089_134686_000001_000001.wav",
)


def make(folder: Path) -> Release:
    """Annotations in one folder, recordings in another."""
    for recording in RECORDINGS:
        write_tone(folder / "audio" / recording)
    root = folder / "speechcraft"
    root.mkdir()
    for name, entries in ENTRIES.items():
        text = json.dumps(entries, indent=4, ensure_ascii=False)
        (root / f"{name}.json").write_text(text, encoding="utf-8")
    return Release(
        root=root,
        recording=folder / "audio" / RECORDINGS[2],
        pairs=4,
        options={"audio_root": folder / "audio"},
    )
