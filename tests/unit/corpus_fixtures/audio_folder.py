"""The AudioFolder layout: metadata in the folder of each split, recordings in sub-folders."""

from pathlib import Path

from corpus_fixtures import Release, write_tone


def make(folder: Path) -> Release:
    """Two recordings to train on and one to test."""
    recording = write_tone(folder / "train" / "one" / "a.wav")
    write_tone(folder / "train" / "b.mp3")
    write_tone(folder / "test" / "c.flac")
    rows = 'file_name,caption\none/a.wav,A calm voice.\nb.mp3,"An angry, loud voice."\n'
    (folder / "train" / "metadata.csv").write_text(rows, encoding="utf-8")
    (folder / "test" / "metadata.jsonl").write_text('{"file_name": "c.flac", "caption": "Sad."}\n', encoding="utf-8")
    return Release(folder, recording, pairs=3)
