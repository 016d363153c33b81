"""A table of a user, with column names that nobody could guess."""

from pathlib import Path

from corpus_fixtures import Release, write_tone

_ROWS = """clip,how it sounds,who,register
"a, first/1 (x).wav","A man, calm and ""low"".",ann,low
b/2.wav,"Two
lines",bob,high
b/3.wav,A high voice.,bob,high
"""


def make(folder: Path) -> Release:
    """Three rows, with quoted commas, quotes and a line break; the third recording is kept in another format."""
    recording = write_tone(folder / "a, first" / "1 (x).wav")
    write_tone(folder / "b" / "2.wav")
    write_tone(folder / "b" / "3.flac")
    table = folder / "voices.csv"
    table.write_text(_ROWS, encoding="utf-8")
    options = {
        "columns": {"path": "clip", "caption": "how it sounds", "speaker": "who", "pitch": "register"},
        "attributes": ("pitch",),
        "split": "train",
    }
    return Release(table, recording, pairs=3, options=options, table=table)
