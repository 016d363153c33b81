"""TESS: two actresses of Toronto, 26 and 64 years old, say "Say the word ..." with 200 words in seven emotions.

`OAF_back_angry.wav`: the older (OAF) or the younger (YAF) talker, the word, the emotion; `ps` is pleasant surprise.
Copies sort the files into folders whose names vary (`OAF_Fear`, `YAF_pleasant_surprised`): the file name is what
counts, at any depth. The release has one slip, `OA_bite_neutral.wav`, which is of OAF. Some copies hold everything
twice, one inside the other: give the inner folder.

Two speakers make no three splits: by default the older trains, the younger is the test, and nothing validates.

Source: Dupuis and Pichora-Fuller (2010), Toronto emotional speech set, University of Toronto.
"""

import re
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, look_up, split_by_speaker
from raclap.corpora.vocabulary import age_word
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "CC BY-NC-ND 4.0"
# Age in years.
_AGES = {"OAF": "64", "YAF": "26"}
SPEAKERS = tuple(_AGES)
_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",
    "sad": "sad",
}
# Every word has one syllable.
_SYLLABLES = 4

_NAME = re.compile(r"(OAF|YAF|OA)_([A-Za-z]+)_([A-Za-z]+)")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ("OAF",),
    validation_speakers: tuple[str | int, ...] = (),
    test_speakers: tuple[str | int, ...] = ("YAF",),
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings.

    Args:
        root: the folder that holds them, in folders or not.
        skip_bad: list misnamed and unusable recordings instead of stopping at the first.
        train_speakers, validation_speakers, test_speakers: of each split; a speaker in none is left out.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no recordings, or a file is not named as released.
        AudioError: a recording cannot be measured.
        RecipeError: a speaker does not exist or is in two splits.
    """
    root = Path(root)
    splits = split_by_speaker(SPEAKERS, train=train_speakers, validation=validation_speakers, test=test_speakers)
    paths = find_recordings(root, "**", "OAF_back_angry.wav and so on")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    syllables = {pair.transcript: _SYLLABLES for pair in listing.pairs if pair.transcript}
    return describe(listing, root, syllables, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ManifestError(f"{path}: expected talker, word and emotion, as in OAF_back_angry.wav")
    talker, word, code = match.groups()
    speaker = "OAF" if talker == "OA" else talker
    emotion = look_up(path, "emotion", code.lower(), _EMOTIONS)
    if speaker not in splits:
        return f"speaker {speaker} is in no split"
    return Pair(
        pair_id=f"tess_{speaker}_{word}_{code.lower()}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="tess",
        split=splits[speaker],
        transcript=f"Say the word {word}.",
        speaker=f"tess_{speaker}",
        sex="female",
        age=_AGES[speaker],
        language="en",
        emotion=emotion,
        attributes={"emotion": emotion, "sex": "female", "age": age_word(float(_AGES[speaker]))},
        licence=LICENCE,
    )
