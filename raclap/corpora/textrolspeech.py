"""TextrolSpeech: 236,220 clips of LibriTTS, VCTK and acted emotion, each with a sentence out of 500 for its style.

`caption/random_train.csv`, `random_dev.csv` and `random_test.csv` (200 rows): num, wav_fp, item_name, gender, pitch,
tempo, energy, emotion, style_prompt, content_prompt. `wav_fp` is a path below the root, with spaces and parentheses:
`libritts/train-clean-360/...`, `VCTK-Corpus/wav48/p307/p307_129.wav`, `emotion_dataset/Emotional Speech Dataset
(ESD)/Emotion Speech Dataset/0015/Sad/0015_001348.wav`. A style is the tuple of sex, pitch, speed, volume and emotion:
clips of one tuple share the sentences, and their style key. Speakers are told by the paths.

Recordings have the sample rates and licences of the corpora that they come from.

Source: Ji et al. (2024).
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from raclap.corpora.libritts import speaker_of
from raclap.corpora.listing import Entry, parse_rows, tables_of_splits
from raclap.corpora.tables import Row, read_table
from raclap.corpora.vocabulary import EMOTIONS, PITCHES, SEXES, SPEEDS, VOLUMES, style_key
from raclap.data.manifest import Caption, Pair

_TABLES = {"train": "random_train", "validation": "random_dev", "test": "random_test"}
_COLUMNS = (
    "num", "wav_fp", "gender", "pitch", "tempo", "energy", "emotion", "style_prompt", "content_prompt",
)  # fmt: skip
# Where the paths of each corpus say who speaks.
_SPEAKERS = {
    "vctk": re.compile(r"VCTK[^/]*/.*/(p\d+|s5)_\d+[^/]*$"),
    "esd": re.compile(r"\(ESD\)/.*/(\d{4})_\d{6}\.\w+$"),
    "mead": re.compile(r"MEAD/([MW]\d{3})/"),
    "ravdess": re.compile(r"RAVDESS.*/Actor_(\d\d)/"),
    "crema_d": re.compile(r"CREMA-D/.*/(\d{4})_[A-Z]{3}_[A-Z]{3}_[A-Z]{2}\.\w+$"),
    "savee": re.compile(r"SAVEE/.*/([A-Z]{2})_[a-z]{1,2}\d\d\.\w+$"),
    "tess": re.compile(r"TESS/.*/([OY]AF)_[^/]*$"),
    "mess": re.compile(r"MESS[^/]*/[A-Z]([FM]\d)[^/]*$"),
}


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    remaps: Mapping[str, str] = {},
    splits: Mapping[str, str] = {},
    licence: str | None = None,
) -> Iterator[Entry]:
    """Reads the tables of the three splits.

    Args:
        root: the folder that holds `caption`, or the tables themselves.
        skip_bad: leave bad rows out instead of stopping at the first.
        audio_root: what `wav_fp` is relative to; None: the root.
        columns: names in the tables by the names above.
        remaps: replacements of leading folders of `wav_fp`.
        splits: for each split the names of its tables without `.csv`, separated by commas; nothing leaves it out.
        licence: of the recordings.

    Raises:
        ManifestError: a table or a row is not as released.
        RecipeError: there is no such split.
    """
    root = Path(root)
    folder = root / "caption" if (root / "caption").is_dir() else root
    for split, name in tables_of_splits(_TABLES, splits):
        rows = read_table(folder / f"{name}.csv", _COLUMNS, columns)
        yield from parse_rows(rows, partial(_parse, split, remaps, licence), skip_bad)


def speaker_of_path(path: str) -> str | None:
    """Who speaks in a recording, by its path below the root; None where that cannot be told.

    Example:
        >>> speaker_of_path("VCTK-Corpus/wav48/p307/p307_129.wav")
        'vctk_p307'
    """
    if speaker := speaker_of(PurePosixPath(path).stem):
        return speaker
    found = ((corpus, pattern.search(path)) for corpus, pattern in _SPEAKERS.items())
    return next((f"{corpus}_{match[1]}" for corpus, match in found if match), None)


def _parse(split: str, remaps: Mapping[str, str], licence: str | None, row: Row) -> Pair:
    attributes = {
        "sex": row.code("gender", SEXES),
        "pitch": row.code("pitch", PITCHES),
        "speed": row.code("tempo", SPEEDS),
        "volume": row.code("energy", VOLUMES),
    }
    if row.get("emotion"):
        attributes["emotion"] = row.code("emotion", EMOTIONS)
    return Pair(
        pair_id=f"textrolspeech_{split}_{row['num']}",
        audio=row.audio("wav_fp", remaps),
        captions=(Caption(row["style_prompt"]),),
        corpus="textrolspeech",
        split=split,
        transcript=row.get("content_prompt"),
        speaker=speaker_of_path(row.audio("wav_fp")),
        sex=attributes["sex"],
        language="en",
        emotion=attributes.get("emotion"),
        attributes=attributes,
        style_key=style_key(attributes),
        licence=licence,
    )
