"""EmoDB, the Berlin database of emotional speech: ten actors say ten German sentences in seven emotions.

`wav/03a01Fa.wav`: speaker (2), sentence (3), emotion (1), version (1). Captions are English.
Every recording was released with its peak at full scale: how loud it was is lost, and no volume is named.

Source: Burkhardt et al. (2005).
"""

import re
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, look_up, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "CC0-1.0"

_MALE, _FEMALE = "male", "female"
# Sex and age in years.
_SPEAKERS = {
    "03": (_MALE, "31"),
    "08": (_FEMALE, "34"),
    "09": (_FEMALE, "21"),
    "10": (_MALE, "32"),
    "11": (_MALE, "26"),
    "12": (_MALE, "30"),
    "13": (_FEMALE, "32"),
    "14": (_FEMALE, "35"),
    "15": (_MALE, "25"),
    "16": (_FEMALE, "31"),
}
SPEAKERS = tuple(_SPEAKERS)

# Sentence and its number of syllables.
_SENTENCES = {
    "a01": ("Der Lappen liegt auf dem Eisschrank.", 8),
    "a02": ("Das will sie am Mittwoch abgeben.", 9),
    "a04": ("Heute Abend könnte ich es ihm sagen.", 11),
    "a05": ("Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.", 18),
    "a07": ("In sieben Stunden wird es soweit sein.", 10),
    "b01": ("Was sind denn das für Tüten, die da unter dem Tisch stehen?", 15),
    "b02": ("Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.", 20),
    "b03": ("An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.", 24),
    "b09": ("Ich will das eben wegbringen und dann mit Karl was trinken gehen.", 17),
    "b10": ("Die wird auf dem Platz sein, wo wir sie immer hinlegen.", 14),
}
_SYLLABLES = dict(_SENTENCES.values())

_EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "T": "sad",
    "F": "happy",
    "N": "neutral",
}
_NAME = re.compile(r"(\d\d)([a-z]\d\d)([A-Z])([a-z])")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ("03", "08", "09", "10", "12", "14"),
    validation_speakers: tuple[str | int, ...] = ("11", "13"),
    test_speakers: tuple[str | int, ...] = ("15", "16"),
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings. By default each split has as many women as men, and every emotion of both.

    Args:
        root: the folder that holds `wav`.
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
    paths = find_recordings(root, "wav", "wav/03a01Fa.wav and so on")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    return describe(
        listing,
        root,
        _SYLLABLES,
        measured=("pitch", "speed"),
        captions=captions,
        skip_bad=skip_bad,
        workers=workers,
    )


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ManifestError(f"{path}: expected speaker, sentence, emotion and version, as in 03a01Fa.wav")
    speaker, sentence, letter, _ = match.groups()
    sex, age = look_up(path, "speaker", speaker, _SPEAKERS)
    transcript, _ = look_up(path, "sentence", sentence, _SENTENCES)
    emotion = look_up(path, "emotion", letter, _EMOTIONS)
    if speaker not in splits:
        return f"speaker {speaker} is in no split"
    return Pair(
        pair_id=f"emodb_{path.stem}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="emodb",
        split=splits[speaker],
        transcript=transcript,
        speaker=f"emodb_{speaker}",
        sex=sex,
        age=age,
        language="de",
        emotion=emotion,
        attributes={"emotion": emotion, "sex": sex},
        licence=LICENCE,
    )
