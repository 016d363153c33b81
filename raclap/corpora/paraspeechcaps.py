"""ParaSpeechCaps: a million clips with rich style tags and captions made of them; also the sets of ParaSpeechCLAP.

Parquet files as on the Hub, `data/train_base-00000-of-00001.parquet`: source, relative_audio_path (`audio_path` in
older revisions), text_description[], transcription, intrinsic_tags[], situational_tags[], basic_tags[], all_tags[],
speakerid, name, duration, gender, accent, pitch, speaking_rate, noise, and measurements. Lists of tags may be null.
There is no audio: it lies at `AUDIO_ROOT/SOURCE/RELATIVE_AUDIO_PATH`, one folder for each of voxceleb, expresso, ears
and emilia.

A tag is stored with its group before it, `intrinsic:deep` (of the speaker), `situational:whispered` (of the clip) or
`basic:clean environment`, since words such as "loud" are in two groups. The tags together are the style key. Pitch
and speaking rate are bins (of the speaker, and of the clip), said as low, normal and high, and slow, normal and fast;
accent and noise are attributes in the words of the corpus.

`train_base` (made by people) and `train_scaled` (by models) are the training split, `dev` is validation and `holdout`
test. The derived sets have the same columns and the splits `train`, `test` and, for classification, one for each
kind of tag (`classification_pitch`); those are read when named, and the label to be told is then an attribute.

Source: Diwan et al. (2025), arXiv 2503.04713; ParaSpeechCLAP: Diwan et al. (2026), arXiv 2603.28737.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from raclap.corpora.listing import Entry, LeftOut, parse_rows, tables_of_splits
from raclap.corpora.tables import Row, below_root, read_table
from raclap.corpora.vocabulary import PITCHES, SEXES, SPEEDS
from raclap.data.manifest import Caption, Pair
from raclap.errors import ManifestError

LICENCE = "CC BY-NC-SA 4.0"
TAG_GROUPS = ("intrinsic", "situational", "basic")

_SPLITS = {"train": "train_base,train_scaled,train", "validation": "dev,validation", "test": "holdout,test"}
_SHARD = re.compile(r"(.+?)(?:-\d{5}-of-\d{5})?")
_CODES = {
    "sex": ("gender", SEXES),
    "pitch": ("pitch", {"low-pitched": "low", "medium-pitched": "normal", "high-pitched": "high", **PITCHES}),
    "speed": ("speaking_rate", {"slow speed": "slow", "measured speed": "normal", "fast speed": "fast", **SPEEDS}),
}
_TEXTS = ("accent", "noise", "classification_tag")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    remaps: Mapping[str, str] = {},
    splits: Mapping[str, str] = {},
) -> Iterator[Entry]:
    """Reads the Parquet files of a copy of the data set.

    Args:
        root: the folder that holds them, or has them in `data`; or one file.
        skip_bad: leave bad rows out instead of stopping at the first.
        audio_root: the folder with one folder a source; None: the root.
        columns: names in the files by the names above.
        remaps: replacements of leading folders of `SOURCE/RELATIVE_AUDIO_PATH`.
        splits: for each split the names of those that go to it, separated by commas; nothing leaves it out.

    Raises:
        ManifestError: a file or a row is not as released, or no file belongs to a split.
        RecipeError: there is no such split.
    """
    root = Path(root)
    ours = {theirs: split for split, theirs in tables_of_splits(_SPLITS, splits)}
    folder = root / "data" if (root / "data").is_dir() else root
    files = [root] if root.is_file() else sorted(folder.glob("*.parquet"))
    if not files:
        raise ManifestError(f"{root}: no Parquet files; expected data/train_base-00000-of-00001.parquet and so on")
    if not any(_split_of_file(file) in ours for file in files):
        found = sorted(set(map(_split_of_file, files)))
        raise ManifestError(
            f"{root}: nothing says where the splits {', '.join(found)} go; --splits does, as in test={found[0]}"
        )
    for file in files:
        theirs = _split_of_file(file)
        if theirs not in ours:
            yield LeftOut(file.name, f"nothing says where the split '{theirs}' goes (--splits)")
            continue
        rows = read_table(file, ("source", "text_description"), columns)
        yield from parse_rows(rows, partial(_parse, ours[theirs], remaps), skip_bad)


def _split_of_file(file: Path) -> str:
    return _SHARD.fullmatch(file.stem)[1]


def _parse(split: str, remaps: Mapping[str, str], row: Row) -> Pair:
    source, audio = row["source"], _audio(row, remaps)
    attributes = {name: row.code(column, codes) for name, (column, codes) in _CODES.items() if row.get(column)}
    attributes |= {name: text for name in _TEXTS if (text := row.get(name))}
    tags = tuple(f"{group}:{tag}" for group in TAG_GROUPS for tag in row.texts(f"{group}_tags"))
    speaker = row.get("speakerid")
    return Pair(
        pair_id=f"paraspeechcaps_{PurePosixPath(_path(row)).with_suffix('')}",
        audio=audio,
        captions=_captions(row),
        corpus="paraspeechcaps",
        split=split,
        transcript=row.get("transcription"),
        speaker=f"{source}_{speaker}" if speaker else None,
        sex=attributes.get("sex"),
        language="en",
        attributes=attributes,
        tags=tags,
        style_key="|".join(sorted(tags)) or None,
        licence=LICENCE,
    )


def _path(row: Row) -> str:
    older = row.has("audio_path") and not row.has("relative_audio_path")
    return f"{row['source']}/{row['audio_path' if older else 'relative_audio_path']}"


def _audio(row: Row, remaps: Mapping[str, str]) -> str:
    path = below_root(_path(row), remaps)
    if path is None:
        raise row.error(f"the path '{_path(row)}' leaves the audio root")
    return path


def _captions(row: Row) -> tuple[Caption, ...]:
    texts = (
        (row["text_description"],) if isinstance(row.raw("text_description"), str) else row.texts("text_description")
    )
    if not texts:
        raise row.error("column 'text_description' is empty")
    return tuple(map(Caption, dict.fromkeys(texts)))
