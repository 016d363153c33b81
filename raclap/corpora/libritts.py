"""LibriTTS, whose recordings other corpora describe: where an utterance lies and who speaks it, told by its name.

`SPLIT/SPEAKER/CHAPTER/SPEAKER_CHAPTER_PARAGRAPH_SENTENCE.wav`; LibriTTS-R lies alike. Speakers are called
`libritts_84` in every corpus, so that equal shares of speakers send one to the same split everywhere.

Source: Zen et al. (2019), OpenSLR 60; Koizumi et al. (2023), OpenSLR 141.
"""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from raclap.corpora.tables import Row
from raclap.errors import ManifestError

LICENCE = "CC BY 4.0"
EXAMPLE = "84_121550_000007_000000"

_NAME = re.compile(r"(\d+)_(\d+)_\d{6}_\d{6}")
# AUDIO_ROOT/data/LibriTTS/train-clean-100/SPEAKER is the deepest that is looked for.
_DEEPEST = 4


def speaker_of(name: str) -> str | None:
    """Who speaks an utterance; None where the name is not one of LibriTTS.

    Example:
        >>> speaker_of("84_121550_000007_000000"), speaker_of("0015_001348")
        ('libritts_84', None)
    """
    match = _NAME.fullmatch(name)
    return f"libritts_{match[1]}" if match else None


def utterance_at_end(key: str) -> str | None:
    """The name that a key ends with, whatever stands before it; None where it is none.

    Example:
        >>> utterance_at_end("121550_84_121550_000007_000000")
        '84_121550_000007_000000'
    """
    name = "_".join(key.split("_")[-4:])
    return name if _NAME.fullmatch(name) else None


class LibriTTS:
    """Finds utterances; folders are listed once, when the first is asked for.

    Args:
        root: a folder with LibriTTS, or a part of it, somewhere below.
    """

    def __init__(self, root: Path):
        self._root = Path(root)
        self._chapters: dict[tuple[str, str], str] = {}

    def audio_of(self, row: Row, column: str) -> str:
        """The path below the root of the utterance that a column names.

        Raises:
            ManifestError: the name is not one of LibriTTS; else as `audio`.
        """
        if speaker_of(row[column]) is None:
            raise row.error(
                f"column '{column}' is '{row[column]}'; expected SPEAKER_CHAPTER_PARAGRAPH_SENTENCE, as in {EXAMPLE}"
            )
        return self.audio(row[column])

    def audio(self, name: str) -> str:
        """The path of an utterance below the root; one at which nothing lies where its chapter is not there.

        Args:
            name: one for which `speaker_of` knows the speaker.

        Raises:
            ManifestError: there is no LibriTTS below the root, or there are two.
        """
        speaker, chapter = name.split("_")[:2]
        folder = self._chapters.get((speaker, chapter))
        if folder is None:
            folder = self._chapters[speaker, chapter] = self._find(speaker, chapter)
        return f"{folder}/{name}.wav"

    def _find(self, speaker: str, chapter: str) -> str:
        if not self._speakers:
            raise ManifestError(
                f"{self._root}: no LibriTTS below it, expected SPLIT/SPEAKER/CHAPTER/{EXAMPLE}.wav; --audio-root says "
                "where it lies"
            )
        found = [
            folder for folder in self._speakers.get(speaker, ()) if (self._root / folder / speaker / chapter).is_dir()
        ]
        if len(found) > 1:
            raise ManifestError(
                f"{self._root}: LibriTTS is there twice, in {found[0]} and {found[1]}; --audio-root says which"
            )
        return "/".join(filter(None, (*found, speaker, chapter)))

    @cached_property
    def _speakers(self) -> Mapping[str, list[str]]:
        """The folders that hold a folder of each speaker."""
        speakers: dict[str, list[str]] = {}
        for folder, inner, _ in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            for name in sorted(filter(str.isdecimal, inner)):
                speakers.setdefault(name, []).append("" if below == Path() else below.as_posix())
            deep = len(below.parts) + 1 >= _DEEPEST
            inner[:] = [] if deep else sorted(name for name in inner if not name.isdecimal())
        return speakers
