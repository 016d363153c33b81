"""SAVEE: four British men say fifteen TIMIT sentences in each of seven emotions, thirty of them neutral.

`AudioData/DC/d08.wav`, or `DC_d08.wav` where all lie in one folder: speaker, emotion, sentence. The letters are a
anger, d disgust, f fear, h happiness, n neutral, sa sadness, su surprise. The sentences are not numbered in the
release: there are no transcripts.

Source: Haq and Jackson (2010), Surrey Audio-Visual Expressed Emotion database.
"""

import re
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "SAVEE: for research only"
SPEAKERS = ("DC", "JE", "JK", "KL")
_EMOTIONS = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}

# The codes of two letters come first: no sadness or surprise is to be read as an emotion of one.
_NAME = re.compile(rf"(?:({'|'.join(SPEAKERS)})_?)?({'|'.join(sorted(_EMOTIONS, key=len, reverse=True))})(\d\d)")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ("DC", "JE"),
    validation_speakers: tuple[str | int, ...] = ("JK",),
    test_speakers: tuple[str | int, ...] = ("KL",),
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings.

    Args:
        root: the folder that holds them, in folders of speakers or not.
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
    paths = find_recordings(root, "**", "DC/a01.wav or DC_a01.wav and so on")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    return describe(listing, root, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ManifestError(
            f"{path}: expected emotion ({', '.join(_EMOTIONS)}) and sentence, as in DC/d08.wav or DC_d08.wav"
        )
    named, code, sentence = match.groups()
    folder = path.parent.name if path.parent.name in SPEAKERS else None
    speaker = named or folder
    if speaker is None:
        raise ManifestError(f"{path}: no speaker in its name or its folder; expected one of {', '.join(SPEAKERS)}")
    if folder not in (None, speaker):
        raise ManifestError(f"{path}: speaker '{speaker}'; expected the one of folder {folder}")
    if speaker not in splits:
        return f"speaker {speaker} is in no split"
    emotion = _EMOTIONS[code]
    return Pair(
        pair_id=f"savee_{speaker}_{code}{sentence}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="savee",
        split=splits[speaker],
        speaker=f"savee_{speaker}",
        sex="male",
        language="en",
        emotion=emotion,
        attributes={"emotion": emotion, "sex": "male"},
        licence=LICENCE,
    )
