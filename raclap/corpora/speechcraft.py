"""SpeechCraft (English): a million clips of GigaSpeech-M and LibriTTS-R, labels and captions made by models.

JSON objects `{key: {"labels": "age:Elderly\\tgender:male\\tpitch:low\\tvolume:normal\\tspeed:fast\\temotion:sad\\t
transcription: ...", "llama-instruction": caption}}`; in other files of the release the caption is `text_style_target`.
The order of the labels was shuffled when captions were made. `unknown` and `other` emotions are none. Emphasis and
topic, which some files have, are not taken.

A key ends with the name of the recording; the annotation pipeline puts the name of its folder before it. Recordings of
LibriTTS-R are found by their speakers and chapters; those of GigaSpeech, as cut on the Hub
(`m_chunks_0000/POD0000000094_S0000000.wav`), by going once through the audio root. The long recordings that GigaSpeech
was first released with are not cut here. Who speaks in GigaSpeech is not known: its recordings, not its segments, are
divided among the splits.

Source: Jin et al. (2024).
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from raclap.corpora.libritts import LibriTTS, speaker_of, utterance_at_end
from raclap.corpora.listing import Entry, audio_folder, parse_rows, split_of_speaker
from raclap.corpora.tables import NULLS, Row, read_table
from raclap.corpora.vocabulary import EMOTIONS, PITCHES, SEXES, SPEEDS, VOLUMES, style_key
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError

_CAPTIONS = ("llama-instruction", "text_style_target")
_NULLS = NULLS | {"unknown", "<unk>", "other"}
AGES = {
    "child": "child",
    "teenager": "teenager",
    "youth": "young adult",
    "youth adult": "young adult",
    "young adult": "young adult",
    "adult": "adult",
    "middle-aged": "middle-aged",
    "elderly": "elderly",
}
# Attributes, the labels they come from, and what the codes mean.
_LABELS = {
    "sex": ("gender", SEXES),
    "age": ("age", AGES),
    "pitch": ("pitch", PITCHES),
    "volume": ("volume", VOLUMES),
    "speed": ("speed", SPEEDS),
    "emotion": ("emotion", EMOTIONS),
}
_SEGMENT = re.compile(r"(?:^|_)(([A-Z]{3}\d{10})_S\d{7})$")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    validation_share: float = 0.03,
    test_share: float = 0.03,
    licence: str | None = None,
) -> Iterator[Entry]:
    """Reads annotations, entry by entry: a million of them need no more memory than one.

    Args:
        root: a JSON file, or a folder whose JSON files are all read; a clip may be in one of them only.
        skip_bad: leave bad entries out instead of stopping at the first.
        audio_root: a folder with LibriTTS-R and GigaSpeech-M below it; None: the root.
        columns: what `labels` and the captions are called, by the names above.
        validation_share, test_share: of the speakers, or recordings of GigaSpeech.
        licence: of the recordings.

    Raises:
        ManifestError: a file or an entry is not as released.
    """
    root = Path(root)
    files = sorted(root.glob("*.json")) if root.is_dir() else [root]
    if not files:
        raise ManifestError(f"{root}: no JSON file; expected annotations of SpeechCraft")
    folder = audio_folder(root, audio_root)
    libritts, segments = LibriTTS(folder), Segments(folder)

    def parse(row: Row) -> Pair:
        captions = dict.fromkeys(filter(None, map(row.get, _CAPTIONS)))
        if not captions:
            raise row.error(f"no caption; expected {' or '.join(_CAPTIONS)}")
        labels = _labels(row)
        attributes = {name: labels.code(label, codes) for name, (label, codes) in _LABELS.items() if labels.get(label)}
        name, speaker, recording = _recording(row)
        return Pair(
            pair_id=f"speechcraft_{row['key']}",
            audio=libritts.audio(name) if speaker else segments.audio(name),
            captions=tuple(map(Caption, captions)),
            corpus="speechcraft",
            split=split_of_speaker(speaker or recording, validation_share, test_share),
            transcript=labels.get("transcription"),
            speaker=speaker,
            sex=attributes.get("sex"),
            age=attributes.get("age"),
            language="en",
            emotion=attributes.get("emotion"),
            attributes=attributes,
            style_key=style_key(attributes),
            licence=licence,
        )

    for file in files:
        yield from parse_rows(read_table(file, ("labels",), columns), parse, skip_bad)


class Segments:
    """Finds segments of GigaSpeech by their names, in whatever folders they lie.

    Args:
        root: the audio root; it is gone through once, when the first segment is asked for.
    """

    def __init__(self, root: Path):
        self._root = Path(root)

    def audio(self, name: str) -> str:
        """The path of a segment below the root; one at which nothing lies where it is not there."""
        return f"{self._folders.get(name, '')}{name}.wav"

    @cached_property
    def _folders(self) -> dict[str, str]:
        """The folder of each, with a slash at its end."""
        folders: dict[str, str] = {}
        for folder, inner, names in os.walk(self._root):
            inner.sort()
            below = Path(folder).relative_to(self._root).as_posix().removeprefix(".")
            below = below and f"{below}/"
            for name in names:
                stem = name.partition(".")[0]
                if _SEGMENT.fullmatch(stem):
                    folders.setdefault(stem, below)
        return folders


def _labels(row: Row) -> Row:
    """The labels of an entry as a row of their own."""
    labels = {}
    for label in row["labels"].split("\t"):
        name, colon, value = label.partition(":")
        if not colon:
            raise row.error(f"the label '{label}'; expected NAME:VALUE, with tabs between labels")
        labels[name.strip().lower()] = value
    for name in ("gender", "pitch", "volume", "speed"):
        if name not in labels:
            raise row.error(f"no label '{name}'; the labels are {', '.join(labels)}")
    return Row(row.file, row.place, labels, nulls=_NULLS)


def _recording(row: Row) -> tuple[str, str | None, str]:
    """The name of a recording, who speaks it where that is known, and what it was cut from."""
    key = row["key"]
    if name := utterance_at_end(key):
        return name, speaker_of(name), name
    if match := _SEGMENT.search(key):
        return match[1], None, match[2]
    raise row.error("expected a key that ends with the name of a recording of LibriTTS or GigaSpeech")
