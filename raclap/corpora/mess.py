"""MESS, the Morgan emotional speech set: six actors say ninety sentences angrily, calmly, happily and sadly.

`AF1M12_SCR.wav`: emotion (A angry, C calm, H happy, S sad), sex, talker (1-3), cue (M, T or V) and sentence (01-30).
The table of the release calls the letter "Cue" and does not explain it; the sentences are not part of the release. Of
2,160 recordings 1,800 were released.

Six speakers make no three splits with both sexes: by default four train, two are the test, and nothing validates.

Source: Morgan (2019), Journal of Speech, Language, and Hearing Research 62(11); Zenodo records 3813437 and 7378320.
"""

import re
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

SPEAKERS = ("F1", "F2", "F3", "M1", "M2", "M3")
_EMOTIONS = {"A": "angry", "C": "calm", "H": "happy", "S": "sad"}
_SEXES = {"F": "female", "M": "male"}

_NAME = re.compile(r"([ACHS])([FM][123])([A-Z])(\d\d)(?:_SCR)?")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ("F1", "F2", "M1", "M2"),
    validation_speakers: tuple[str | int, ...] = (),
    test_speakers: tuple[str | int, ...] = ("F3", "M3"),
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings.

    Args:
        root: the folder that holds them.
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
    paths = find_recordings(root, "**", "AF1M01_SCR.wav and so on")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    return describe(listing, root, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ManifestError(
            f"{path}: expected emotion ({', '.join(_EMOTIONS)}), sex, talker, cue and sentence, as in AF1M12_SCR.wav"
        )
    code, speaker, cue, sentence = match.groups()
    if speaker not in splits:
        return f"speaker {speaker} is in no split"
    emotion, sex = _EMOTIONS[code], _SEXES[speaker[0]]
    return Pair(
        pair_id=f"mess_{code}{speaker}{cue}{sentence}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="mess",
        split=splits[speaker],
        speaker=f"mess_{speaker}",
        sex=sex,
        language="en",
        emotion=emotion,
        attributes={"emotion": emotion, "sex": sex},
    )
