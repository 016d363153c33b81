"""CREMA-D: 91 actors of many ages say twelve sentences in six emotions, some of them at three intensities.

`AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, intensity (LO, MD, HI, or XX where none was asked for). Age
and sex are in `VideoDemographics.csv`, which lies beside `AudioWAV` in the release but not in every copy of it.

One file of the release has a shorter name than the others, `1040_ITH_SAD_X.wav`, and four are damaged: they are left
out.

Source: Cao et al. (2014), IEEE Transactions on Affective Computing 5(4); github.com/CheyneyComputerScience/CREMA-D.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, look_up, split_by_speaker
from raclap.corpora.tables import read_table
from raclap.corpora.vocabulary import SEXES, age_word
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "ODbL 1.0 and DbCL 1.0"
ACTORS = tuple(str(actor) for actor in range(1001, 1092))

_TABLE = "VideoDemographics.csv"
# Sentence and its number of syllables.
_SENTENCES = {
    "IEO": ("It's eleven o'clock.", 6),
    "TIE": ("That is exactly what happened.", 8),
    "IOM": ("I'm on my way to the meeting.", 8),
    "IWW": ("I wonder what this is about.", 8),
    "TAI": ("The airplane is almost full.", 7),
    "MTI": ("Maybe tomorrow it will be cold.", 9),
    "IWL": ("I would like a new alarm clock.", 8),
    "ITH": ("I think I have a doctor's appointment.", 10),
    "DFA": ("Don't forget a jacket.", 6),
    "ITS": ("I think I've seen this before.", 7),
    "TSI": ("The surface is slick.", 5),
    "WSI": ("We'll stop in a couple of minutes.", 9),
}
_SYLLABLES = dict(_SENTENCES.values())
_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_INTENSITIES = {"LO": "mild", "MD": "normal", "HI": "strong", "XX": None, "X": None}
_DAMAGED = {
    "1064_IEO_DIS_MD": "damaged in the release: a minute with every emotion of the sentence",
    "1064_TIE_SAD_XX": "damaged in the release: nearly empty",
    "1076_MTI_NEU_XX": "damaged in the release: nearly empty",
    "1076_MTI_SAD_XX": "damaged in the release: nearly empty",
}

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ACTORS[:63],
    validation_speakers: tuple[str | int, ...] = ACTORS[63:77],
    test_speakers: tuple[str | int, ...] = ACTORS[77:],
    columns: Mapping[str, str] = {},
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings. By default each split has both sexes in nearly equal parts, and actors over sixty.

    Args:
        root: the folder that holds `AudioWAV` and `VideoDemographics.csv`.
        skip_bad: list misnamed and unusable recordings instead of stopping at the first.
        train_speakers, validation_speakers, test_speakers: of each split; an actor in none is left out.
        columns: names of columns in the table of actors, by the names of the release.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no recordings, one is not named as released, or the table of actors is missing or
            not as released.
        AudioError: a recording cannot be measured.
        RecipeError: an actor does not exist or is in two splits.
    """
    root = Path(root)
    splits = split_by_speaker(ACTORS, train=train_speakers, validation=validation_speakers, test=test_speakers)
    paths = find_recordings(root, "AudioWAV", "AudioWAV/1001_DFA_ANG_XX.wav and so on")
    parse = partial(_parse, root, splits, _read_actors(root / _TABLE, columns))
    return describe(
        collect(root, paths, parse, skip_bad), root, _SYLLABLES, captions=captions, skip_bad=skip_bad, workers=workers
    )


def _read_actors(path: Path, columns: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Sex and age in years of each actor."""
    if not path.is_file():
        raise ManifestError(
            f"{path}: no such table of age and sex; it lies beside AudioWAV in the release "
            "(github.com/CheyneyComputerScience/CREMA-D)"
        )
    actors = {}
    for row in read_table(path, ("ActorID", "Age", "Sex"), columns):
        row.number("Age")
        actors[row["ActorID"]] = (row.code("Sex", SEXES), row.get("Age"))
    return actors


def _parse(root: Path, splits: dict[str, str], actors: dict[str, tuple[str, str | None]], path: Path) -> Pair | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ManifestError(f"{path}: expected actor, sentence, emotion and intensity, as in 1001_DFA_ANG_XX.wav")
    actor, sentence, emotion_code, level = match.groups()
    transcript, _ = look_up(path, "sentence", sentence, _SENTENCES)
    emotion = look_up(path, "emotion", emotion_code, _EMOTIONS)
    intensity = look_up(path, "intensity", level, _INTENSITIES)
    if actor not in actors:
        raise ManifestError(f"{path}: actor '{actor}' is not in {_TABLE}")
    if path.stem in _DAMAGED:
        return _DAMAGED[path.stem]
    if actor not in splits:
        return f"actor {actor} is in no split"
    sex, age = actors[actor]
    known = {"emotion": emotion, "intensity": intensity, "sex": sex, "age": age and age_word(float(age))}
    return Pair(
        pair_id=f"crema_d_{path.stem}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="crema_d",
        split=splits[actor],
        transcript=transcript,
        speaker=f"crema_d_{actor}",
        sex=sex,
        age=age,
        language="en",
        emotion=emotion,
        intensity=intensity,
        attributes={name: value for name, value in known.items() if value is not None},
        licence=LICENCE,
    )
