"""IEMOCAP: ten actors in five sessions of two talk, by script and freely; emotions and ratings of every utterance.

`Session1/dialog/EmoEvaluation/Ses01F_impro01.txt` has a line `[start - end] utterance emotion [V, A, D]` for each
utterance, means of ratings from 1 to 5. The last token of the utterance tells who speaks: in `Ses01F_impro01_M003`
the man of session 1, though the woman (`Ses01F`) wears the markers. Sentences are in `dialog/transcriptions`.

Utterances are read from `sentences/wav/Ses01F_impro01/Ses01F_impro01_M003.wav` where a session has that folder. Where
it has not, they are stretches of `dialog/wav/Ses01F_impro01.wav`: that is a stereo file with a microphone for each of
the two, and a stretch holds whatever the other says meanwhile.

Emotions: ang, hap, sad, neu, exc excited, fru frustrated, fea, sur, dis disgusted; `xxx` (raters do not agree) and
`oth` are no emotion, and captions then speak of ratings and of what was measured. Many works count excited as happy;
`emotions` does it (excited=happy).

Source: Busso et al. (2008), IEMOCAP: interactive emotional dyadic motion capture database, Language Resources and
Evaluation 42.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from raclap.corpora.composition import EMOTIONS, MEASURED, RATED
from raclap.corpora.listing import CorpusListing, Entry, LeftOut, describe, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError, RecipeError

LICENCE = "IEMOCAP: for research only"
SESSIONS = ("1", "2", "3", "4", "5")
_EMOTIONS = {
    "ang": "angry",
    "hap": "happy",
    "sad": "sad",
    "neu": "neutral",
    "exc": "excited",
    "fru": "frustrated",
    "fea": "fearful",
    "sur": "surprised",
    "dis": "disgusted",
    "oth": None,
    "xxx": None,
}
_SEXES = {"F": "female", "M": "male"}
_SCALE = (1.0, 5.0)
# Session, and the sex of who speaks, in the name of an utterance.
_UTTERANCE = re.compile(r"Ses0([1-5])[FM]_\w+_([FM])\d{3}")
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_LINE = re.compile(rf"\[{_NUMBER}\s*-\s*{_NUMBER}\]\s+(\S+)\s+(\S+)\s+\[{_NUMBER},\s*{_NUMBER},\s*{_NUMBER}\]")
_SENTENCE = re.compile(r"(\S+)\s+\[[^\]]*\]:\s*(.*?)\s*")


class _Line(NamedTuple):
    """What a line of an evaluation says."""

    start: float
    end: float
    utterance: str
    emotion: str
    valence: float
    arousal: float
    dominance: float


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_sessions: tuple[str | int, ...] = ("1", "2", "3"),
    validation_sessions: tuple[str | int, ...] = ("4",),
    test_sessions: tuple[str | int, ...] = ("5",),
    emotions: Mapping[str, str] = {},
    measured: tuple[str, ...] = tuple(MEASURED),
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the utterances. They are split by session: two speakers of one hear, and are heard with, each other.

    Args:
        root: the folder that holds `Session1` and so on.
        skip_bad: list lines and recordings that cannot be used instead of stopping at the first.
        train_sessions, validation_sessions, test_sessions: of each split; a session in none is left out.
        emotions: those to be counted as others, such as excited as happy.
        measured: which of pitch, speed and volume are measured; the word none for none of them.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no evaluations, or a line or file is not as released.
        AudioError: a recording is missing or cannot be measured.
        RecipeError: a session does not exist or is in two splits, or there is no such emotion.
    """
    root = Path(root)
    splits = split_by_speaker(
        SESSIONS, "session", train=train_sessions, validation=validation_sessions, test=test_sessions
    )
    for emotion in (*emotions, *emotions.values()):
        if emotion not in EMOTIONS:
            raise RecipeError(f"emotions: no '{emotion}'; expected some of {', '.join(EMOTIONS)}")
    listing = CorpusListing.of(_entries(root, splits, emotions, skip_bad))
    return describe(
        listing, root, measured=measured, rated=tuple(RATED), captions=captions, skip_bad=skip_bad, workers=workers
    )


def _entries(root: Path, splits: dict[str, str], emotions: Mapping[str, str], skip_bad: bool) -> Iterator[Entry]:
    # Copies made on a Mac carry a hidden "._name.txt" beside each file.
    paths = sorted(path for path in root.glob("Session*/dialog/EmoEvaluation/*.txt") if not path.name.startswith("."))
    if not paths:
        raise ManifestError(
            f"{root}: no evaluations; expected Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and so on"
        )
    for path in paths:
        session = path.parents[2].name.removeprefix("Session")
        if session not in splits:
            yield LeftOut(path.relative_to(root).as_posix(), f"session {session} is in no split")
            continue
        dialog = _Dialog(root, path, splits[session], emotions)
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if not line.startswith("["):
                continue
            try:
                yield dialog.pair(f"line {number}", line.strip())
            except ManifestError as error:
                if not skip_bad:
                    raise
                place = f"{path.relative_to(root).as_posix()}, line {number}"
                yield LeftOut(place, str(error).removeprefix(f"{path}: line {number}: "))


class _Dialog:
    """One evaluation, with the sentences and the sound that belong to it.

    Args:
        root: the corpus folder.
        path: of the evaluation.
        split: of its session.
        emotions: those to be counted as others.
    """

    def __init__(self, root: Path, path: Path, split: str, emotions: Mapping[str, str]):
        self._path = path
        self._split = split
        self._emotions = emotions
        self._session = path.parents[2]
        self._folder = self._session.relative_to(root)
        self._whole = not (self._session / "sentences" / "wav").is_dir()
        self._sentences = _read_sentences(self._session / "dialog" / "transcriptions" / path.name)

    def pair(self, place: str, line: str) -> Pair:
        """One utterance.

        Raises:
            ManifestError: the line is not as released; the message says where it stands.
        """
        found = self._parse(place, line)
        match = _UTTERANCE.fullmatch(found.utterance)
        if match is None or f"Session{match[1]}" != self._session.name:
            raise self._error(
                place,
                f"utterance '{found.utterance}'; expected one of {self._session.name}, as in Ses01F_impro01_F000",
            )
        emotion = self._emotion(place, found.emotion)
        sex = _SEXES[match[2]]
        return Pair(
            pair_id=f"iemocap_{found.utterance}",
            audio=self._audio(found.utterance),
            captions=(),
            corpus="iemocap",
            split=self._split,
            start=found.start if self._whole else None,
            end=found.end if self._whole else None,
            transcript=self._sentences.get(found.utterance),
            speaker=f"iemocap_Ses0{match[1]}{match[2]}",
            sex=sex,
            language="en",
            emotion=emotion,
            valence=found.valence,
            arousal=found.arousal,
            dominance=found.dominance,
            attributes={"sex": sex} if emotion is None else {"emotion": emotion, "sex": sex},
            licence=LICENCE,
        )

    def _parse(self, place: str, line: str) -> _Line:
        match = _LINE.fullmatch(line)
        if match is None:
            raise self._error(place, f"'{line}'; expected [start - end] utterance emotion [V, A, D]")
        start, end, *ratings = map(float, match.group(1, 2, 5, 6, 7))
        if not 0 <= start < end:
            raise self._error(place, f"{start} to {end} s is not a stretch")
        if not all(_SCALE[0] <= rating <= _SCALE[1] for rating in ratings):
            raise self._error(place, f"ratings {ratings}; expected numbers from 1 to 5")
        return _Line(start, end, match[3], match[4], *ratings)

    def _emotion(self, place: str, code: str) -> str | None:
        if code not in _EMOTIONS:
            raise self._error(place, f"emotion '{code}'; expected one of {', '.join(_EMOTIONS)}")
        emotion = _EMOTIONS[code]
        return self._emotions.get(emotion, emotion) if emotion else None

    def _audio(self, utterance: str) -> str:
        dialog = utterance.rpartition("_")[0]
        if self._whole:
            return (self._folder / "dialog" / "wav" / f"{dialog}.wav").as_posix()
        return (self._folder / "sentences" / "wav" / dialog / f"{utterance}.wav").as_posix()

    def _error(self, place: str, what: str) -> ManifestError:
        return ManifestError(f"{self._path}: {place}: {what}")


def _read_sentences(path: Path) -> dict[str, str]:
    """The sentence of each utterance; none where there is no such file."""
    if not path.is_file():
        return {}
    lines = (_SENTENCE.fullmatch(line.strip()) for line in _text(path).splitlines())
    return {match[1]: match[2] for match in lines if match and match[2]}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text ({error.reason})") from error
