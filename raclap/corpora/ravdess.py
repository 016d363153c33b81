"""RAVDESS: 24 actors say two sentences in eight emotions; everything is told by the file name.

`Actor_NN/03-01-EE-II-SS-RR-AA.wav`: modality, channel, emotion, intensity, statement, repetition, actor.

Source: Livingstone and Russo (2018), Zenodo record 1188976.
"""

from functools import partial
from pathlib import Path

from raclap.corpora.listing import CorpusListing, collect, describe, find_recordings, split_by_speaker
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "CC BY-NC-SA 4.0"
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))

_CODES = {
    "modality": {"01": "audio-video", "02": "video only", "03": "audio only"},
    "channel": {"01": "speech", "02": "song"},
    "emotion": {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgusted",
        "08": "surprised",
    },
    "intensity": {"01": "normal", "02": "strong"},
    "statement": {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"},
    "repetition": {"01": "first", "02": "second"},
    "actor": {actor: "male" if int(actor) % 2 else "female" for actor in ACTORS},
}
_SYLLABLES = dict.fromkeys(_CODES["statement"].values(), 7)


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = ACTORS[:15],
    validation_speakers: tuple[str | int, ...] = ACTORS[15:18],
    test_speakers: tuple[str | int, ...] = ACTORS[18:],
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the speech recordings; song and other modalities are listed as left out.

    Args:
        root: the folder that holds `Actor_01` and so on.
        skip_bad: list misnamed and unusable recordings instead of stopping at the first.
        train_speakers, validation_speakers, test_speakers: of each split; an actor in none is left out.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no recordings, or a file is not named as released.
        AudioError: a recording cannot be measured.
        RecipeError: an actor does not exist or is in two splits.
    """
    root = Path(root)
    splits = split_by_speaker(ACTORS, train=train_speakers, validation=validation_speakers, test=test_speakers)
    paths = find_recordings(root, "Actor_*", "Actor_NN/03-01-EE-II-SS-RR-AA.wav")
    listing = collect(root, paths, partial(_parse, root, splits), skip_bad)
    return describe(listing, root, _SYLLABLES, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(root: Path, splits: dict[str, str], path: Path) -> Pair | str:
    codes = _codes(path)
    modality, channel, emotion, intensity, transcript, _, sex = (_CODES[f][codes[f]] for f in _CODES)
    actor = codes["actor"]
    if codes["modality"] != "03":
        return f"modality {codes['modality']} ({modality})"
    if codes["channel"] != "01":
        return f"channel {codes['channel']} ({channel})"
    if actor not in splits:
        return f"actor {actor} is in no split"
    return Pair(
        pair_id=f"ravdess_{path.stem}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="ravdess",
        split=splits[actor],
        transcript=transcript,
        speaker=f"ravdess_{actor}",
        sex=sex,
        language="en",
        emotion=emotion,
        intensity=intensity,
        attributes={"emotion": emotion, "intensity": intensity, "sex": sex},
        licence=LICENCE,
    )


def _codes(path: Path) -> dict[str, str]:
    parts = path.stem.split("-")
    if len(parts) != len(_CODES):
        raise ManifestError(f"{path}: expected seven codes ({', '.join(_CODES)}), as in 03-01-06-01-02-01-12.wav")
    codes = dict(zip(_CODES, parts, strict=True))
    for field, code in codes.items():
        if code not in _CODES[field]:
            expected = ", ".join(f"{known} ({meaning})" for known, meaning in _CODES[field].items())
            raise ManifestError(f"{path}: {field} '{code}'; expected one of {expected}")
    if path.parent.name != f"Actor_{codes['actor']}":
        raise ManifestError(f"{path}: actor '{codes['actor']}'; expected the one of folder {path.parent.name}")
    if codes["emotion"] == "01" and codes["intensity"] == "02":
        raise ManifestError(f"{path}: intensity '02' (strong); expected 01 (normal) for emotion 01 (neutral)")
    return codes
