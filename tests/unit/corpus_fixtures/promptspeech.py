"""PromptSpeech beside LibriTTS, which has one recording as FLAC."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

TABLE = """item_name,spk_id,gender,pitch,speaking_speed,energy,style_prompt
84_121550_000007_000000,84,F,high,normal,low,"A woman speaks with high pitch, and her volume is low"
84_121550_000008_000001,84,F,normal,slow,high,Let a lady speak slowly and loudly
1089_134686_000001_000001,1089,M,low,fast,normal,"His voice is ""deep"", he talks fast"
5105_28233_000000_000000,5105,M,normal,normal,normal,A man speaks normally
"""
RECORDINGS = (
    "LibriTTS/dev-clean/84/121550/84_121550_000007_000000.wav",
    "LibriTTS/dev-clean/84/121550/84_121550_000008_000001.wav",
    "LibriTTS/test-clean/1089/134686/1089_134686_000001_000001.flac",
    "LibriTTS/test-clean/5105/28233/5105_28233_000000_000000.wav",
)


def make(folder: Path) -> Release:
    """The table in one folder, LibriTTS in another."""
    for recording in RECORDINGS:
        write_tone(folder / "audio" / recording, rate=24_000)
    table = folder / "promptspeech" / "Real_training.csv"
    table.parent.mkdir()
    table.write_text(TABLE, encoding="utf-8")
    return Release(
        root=table.parent,
        recording=folder / "audio" / RECORDINGS[0],
        pairs=4,
        options={"audio_root": folder / "audio"},
        table=table,
    )


def write_lists(folder: Path) -> dict[str, str]:
    """Split lists as of StyleCap, which know all but the last utterance."""
    listed = {"train": RECORDINGS[:1], "validation": RECORDINGS[1:2], "test": RECORDINGS[2:3]}
    for split, recordings in listed.items():
        rows = [f"{Path(recording).stem},{Path(recording).with_suffix('.wav')}" for recording in recordings]
        path = folder / f"{split}_set.csv"
        path.write_text("\n".join(["file_id,relative_path_within_libritts", *rows]))
    return {split: str(folder / f"{split}_set.csv") for split in listed}
