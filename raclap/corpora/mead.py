"""MEAD: 48 actors say some thirty sentences in eight emotions, seven of them at three intensities.

`W028/audio/happy/level_2/020.m4a`: speaker (M man, W woman), emotion, intensity from 1 (weak) to 3 (strong),
recording; neutral has level 1 alone. Copies keep the sound as .wav, in other folders below the speaker
(`W028/wav/...`, `W028/audio/front/...`) or join emotion and level in one name (`happy_level_2`): all of these are
read, and where a recording lies there in its released form and converted, the converted one is taken. The release has
no transcripts.

The default splits are those of 3DMEAD's users, by speaker; W017, whom they leave out, is added to training.

Source: Wang et al. (2020), MEAD: A large-scale audio-visual dataset for emotional talking-face generation, ECCV; the
splits as in Daněček et al. (2023), Emotional speech-driven animation, SIGGRAPH Asia.
"""

import re
from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, look_up, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "MEAD: for research only"
# fmt: off
_TRAIN = (
    "M003", "M005", "M007", "M009", "M011", "M012", "M013", "M019", "M022", "M023", "M024", "M025", "M026", "M027",
    "M028", "M029", "M030", "M031", "W009", "W011", "W014", "W015", "W016", "W017", "W018", "W019", "W021", "W023",
    "W024", "W025", "W026", "W028", "W029",
)
# fmt: on
_VALIDATION = ("M032", "M033", "M034", "M035", "W033", "W035", "W036")
_TEST = ("M037", "M039", "M040", "M041", "M042", "W037", "W038", "W040")
SPEAKERS = tuple(sorted(_TRAIN + _VALIDATION + _TEST))
_SEXES = {"M": "male", "W": "female"}
_EMOTIONS = {
    "angry": "angry",
    "contempt": "contemptuous",
    "disgusted": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprised": "surprised",
}
_INTENSITIES = {"1": "mild", "2": "normal", "3": "strong"}

# Speaker, emotion, level and recording in a path below the root.
_PATH = re.compile(r"(?:.*/)?([MW]\d{3})/(?:.*/)?([a-z]+)[/_]level_(\d)/(\d{3})")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = _TRAIN,
    validation_speakers: tuple[str | int, ...] = _VALIDATION,
    test_speakers: tuple[str | int, ...] = _TEST,
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings.

    Args:
        root: the folder that holds `M003` and so on.
        skip_bad: list misnamed and unusable recordings instead of stopping at the first.
        train_speakers, validation_speakers, test_speakers: of each split; a speaker in none is left out.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no recordings, or a path is not as released.
        AudioError: a recording cannot be measured; those as released (.m4a) need PyAV.
        RecipeError: a speaker does not exist or is in two splits.
    """
    root = Path(root)
    splits = split_by_speaker(SPEAKERS, train=train_speakers, validation=validation_speakers, test=test_speakers)
    paths = find_recordings(root, "**", "W028/audio/happy/level_2/020.m4a, or as .wav", released=".m4a")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    return describe(listing, root, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    match = _PATH.fullmatch(path.relative_to(root).with_suffix("").as_posix())
    if match is None:
        raise ManifestError(
            f"{path}: expected speaker, emotion, level and recording, as in W028/audio/happy/level_2/020.m4a"
        )
    speaker, code, level, recording = match.groups()
    emotion = look_up(path, "emotion", code, _EMOTIONS)
    intensity = look_up(path, "level", level, _INTENSITIES)
    if speaker not in splits:
        return f"speaker {speaker} is in no split"
    sex = _SEXES[speaker[0]]
    known = {"emotion": emotion, "intensity": None if emotion == "neutral" else intensity, "sex": sex}
    return Pair(
        pair_id=f"mead_{speaker}_{code}_{level}_{recording}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="mead",
        split=splits[speaker],
        speaker=f"mead_{speaker}",
        sex=sex,
        language="en",
        emotion=emotion,
        intensity=known["intensity"],
        attributes={name: value for name, value in known.items() if value is not None},
        licence=LICENCE,
    )
