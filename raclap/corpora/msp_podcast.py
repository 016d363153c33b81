"""MSP-Podcast: hundreds of hours of podcasts in English, with emotions and ratings that listeners agreed on.

`Labels/labels_consensus.csv` (in some releases `labels_concensus.csv`): FileName, EmoClass, EmoAct, EmoVal, EmoDom,
SpkrID, Gender, Split_Set; `Audios/MSP-PODCAST_0001_0008.wav`; in later releases
`Transcripts/MSP-PODCAST_0001_0008.txt`. Ratings go from 1 to 7, arousal comes before valence. One file is stereo at
44.1 kHz, the others mono at 16 kHz.

Classes: A angry, H happy, N neutral, S sad, C contemptuous, U surprised, D disgusted, F fearful; X (no agreement) and
O (other) are no emotion. Speakers and sexes may be Unknown. Of the released test sets, Test1 is the test split; the
others are left out unless `splits` names them (test=Test1,Test2).

The releases hold up to 265,000 clips. By default nothing is measured, for that would decode all of them: captions are
composed of class, sex and thirds of the ratings, and rows pass through without being held. `measured` adds pitch,
speed and volume.

Source: Lotfian and Busso (2019), IEEE Transactions on Affective Computing 10(4); Busso et al. (2025),
arXiv:2509.09791.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from raclap.corpora.composition import RATED
from raclap.corpora.listing import (
    CorpusListing,
    Entry,
    LeftOut,
    audio_folder,
    check_measured,
    describe,
    describe_by_ratings,
    parse_rows,
    tables_of_splits,
)
from raclap.corpora.tables import NULLS, Row, below_root, read_table
from raclap.corpora.vocabulary import SEXES
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "MSP-Podcast: licence agreement of The University of Texas at Dallas"
_TABLES = (
    "Labels/labels_consensus.csv",
    "Labels/labels_concensus.csv",
    "labels_consensus.csv",
    "labels_concensus.csv",
)
_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_EMOTIONS = {
    "A": "angry",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
    "C": "contemptuous",
    "U": "surprised",
    "D": "disgusted",
    "F": "fearful",
    "X": None,
    "O": None,
}
_SCALE = (1.0, 7.0)
_SPLITS = {"train": "Train", "validation": "Development,Validation", "test": "Test1"}
_RELEASED = ("Train", "Development", "Validation", "Test1", "Test2", "Test3")
_NULLS = NULLS | {"unknown"}


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    splits: Mapping[str, str] = {},
    measured: tuple[str, ...] = (),
    audio_root: Path | None = None,
    columns: Mapping[str, str] = {},
    remaps: Mapping[str, str] = {},
    captions: int = 6,
    workers: int | None = None,
) -> Iterable[Entry]:
    """Reads the table of labels.

    Args:
        root: the folder that holds `Labels` and `Audios`.
        skip_bad: list rows and recordings that cannot be used instead of stopping at the first.
        splits: names in the table by those of the manifest, where not Train, Development or Validation, and Test1;
            several are separated by commas.
        measured: which of pitch, speed and volume are measured.
        audio_root: the folder that holds `Audios`, where it is another one.
        columns: names of columns in the table, by the names of the release.
        remaps: replacements of the leading folder `Audios`.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there is no table, or it is not as released.
        AudioError: a recording cannot be measured.
        RecipeError: there is no such split or attribute.
    """
    root = Path(root)
    table = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if table is None:
        raise ManifestError(f"{root}: no table of labels; expected {_TABLES[0]} (or labels_concensus.csv) below it")
    parse = partial(_parse, {theirs: ours for ours, theirs in tables_of_splits(_SPLITS, splits)}, remaps)
    rows = partial(_rows, table, columns, parse, skip_bad)
    measured = check_measured(measured)
    if measured:
        entries: Iterable[Entry] = describe(
            CorpusListing.of(rows()),
            audio_folder(root, audio_root),
            measured=measured,
            rated=tuple(RATED),
            captions=captions,
            skip_bad=skip_bad,
            workers=workers,
        )
    else:
        entries = describe_by_ratings(rows, root, tuple(RATED), captions)
    folder = root / "Transcripts"
    return _with_transcripts(entries, folder, skip_bad) if folder.is_dir() else entries


def _rows(table: Path, columns: Mapping[str, str], parse: partial, skip_bad: bool) -> Iterator[Entry]:
    return parse_rows(read_table(table, _COLUMNS, columns, nulls=_NULLS), parse, skip_bad)


def _parse(splits: Mapping[str, str], remaps: Mapping[str, str], row: Row) -> Pair | str:
    named = row["Split_Set"]
    if named not in splits:
        if named in _RELEASED:
            return f"Split_Set {named} is in no split"
        raise row.error(f"Split_Set is '{named}'; expected one of {', '.join({**splits, **dict.fromkeys(_RELEASED)})}")
    emotion = row.code("EmoClass", _EMOTIONS)
    sex = row.code("Gender", SEXES) if row.get("Gender") else None
    speaker, audio = row.get("SpkrID"), row.audio("FileName")
    path = below_root(f"Audios/{audio}", remaps)
    if path is None:
        raise row.error(f"FileName is '{audio}', which leaves the audio root")
    known = {"emotion": emotion, "sex": sex}
    return Pair(
        pair_id=f"msp_podcast_{PurePosixPath(audio).stem.removeprefix('MSP-PODCAST_')}",
        audio=path,
        captions=(),
        corpus="msp_podcast",
        split=splits[named],
        speaker=speaker and f"msp_podcast_{speaker}",
        sex=sex,
        language="en",
        emotion=emotion,
        valence=_rating(row, "EmoVal"),
        arousal=_rating(row, "EmoAct"),
        dominance=_rating(row, "EmoDom"),
        attributes={name: value for name, value in known.items() if value is not None},
        licence=LICENCE,
    )


def _rating(row: Row, column: str) -> float | None:
    value = row.number(column)
    if value is not None and not _SCALE[0] <= value <= _SCALE[1]:
        raise row.error(f"{column} is {value:g}; expected a number from 1 to 7")
    return value


def _with_transcripts(entries: Iterable[Entry], folder: Path, skip_bad: bool) -> Iterator[Entry]:
    """Adds what is said, where a file says it."""
    for entry in entries:
        path = folder / f"{PurePosixPath(entry.audio).stem}.txt" if isinstance(entry, Pair) else None
        if path is None or not path.is_file():
            yield entry
            continue
        try:
            yield replace(entry, transcript=path.read_text(encoding="utf-8-sig").strip() or None)
        except UnicodeDecodeError as error:
            if not skip_bad:
                raise ManifestError(f"{path}: not UTF-8 text ({error.reason})") from error
            yield LeftOut(entry.audio, "its transcript is not UTF-8 text")
