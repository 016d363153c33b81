"""What a corpus reader yields, and the steps that readers share.

A reader of a table turns each row into a `Pair` (`parse_rows`). A reader of a label-only corpus turns a file name or a
row into a `Pair` with labels and no caption (`collect`); measured attributes, captions and style keys are added here
(`describe`).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from raclap.corpora.composition import MEASURED, RATED, composable, compose
from raclap.corpora.measurement import Measurement, measure_all, quantile_levels, third, thirds
from raclap.corpora.tables import Row
from raclap.corpora.vocabulary import style_key
from raclap.data.manifest import SPLITS, Pair
from raclap.errors import AudioError, ManifestError, RecipeError

Value = TypeVar("Value")

_SUFFIXES = (".wav", ".flac")
# A name on the Hub may have a dot in it, too.
_FILES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".tar", ".gz", ".tgz")
# What users keep recordings in, whatever they were released in.
AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".wma", ".webm")
# The field of `Measurement` behind each measured attribute.
_FIELDS = {"pitch": "pitch", "speed": "speaking_rate", "volume": "level"}
# The field of `Pair` behind each rated attribute.
_RATINGS = {name: name.removesuffix("_level") for name in RATED}
_NOTHING_TO_SAY = "neither an emotion nor anything else that a caption could name"


class LeftOut(NamedTuple):
    """A recording or row that is not in the manifest: its path below the root or its place in a table, and why."""

    where: str
    reason: str


Entry = Pair | LeftOut


@dataclass(frozen=True)
class CorpusListing:
    """What was found under a corpus folder, all of it at hand. Iterating yields pairs, then what was left out.

    Attributes:
        pairs: rows for the manifest.
        skipped: every recording that is not among them.
    """

    pairs: list[Pair] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "CorpusListing":
        """Gathers what a reader yields."""
        listing = cls()
        for entry in entries:
            (listing.skipped if isinstance(entry, LeftOut) else listing.pairs).append(entry)
        return listing

    def __iter__(self) -> Iterator[Entry]:
        yield from self.pairs
        yield from self.skipped


def parse_rows(rows: Iterable[Row], parse: Callable[[Row], Pair | str], skip_bad: bool) -> Iterator[Entry]:
    """Parses row after row of a table; nothing is held.

    Args:
        rows: of a table.
        parse: gives a pair, or the reason why the row is no part of the corpus as it is used here.
        skip_bad: leave a row out that cannot be parsed instead of stopping at it.

    Raises:
        ManifestError: from `parse`, where `skip_bad` is false; from the table itself always.
    """
    for row in rows:
        try:
            found = parse(row)
        except ManifestError as error:
            if not skip_bad:
                raise
            found = str(error).removeprefix(f"{row.file}: {row.place}: ")
        yield LeftOut(row.where, found) if isinstance(found, str) else found


def find_recordings(root: Path, folders: str, expected: str, released: str = ".wav") -> list[Path]:
    """Lists the recordings of a corpus, in order of their paths.

    Args:
        root: the corpus folder.
        folders: glob of the folders below it that hold recordings; `**` is all of them.
        expected: the released layout, for the error message.
        released: suffix of the release. Where it is not .wav, users convert: a released recording is passed over
            where it lies there as .wav or .flac too.

    Raises:
        ManifestError: there is no recording, or one lies there both as .wav and as .flac.
    """
    # Archives made on a Mac carry a hidden "._name.wav" beside each file.
    found = sorted(
        path
        for path in Path(root).glob(f"{folders}/*")
        if path.suffix.lower() in (*_SUFFIXES, released) and not path.name.startswith(".")
    )
    if not found:
        raise ManifestError(f"{root}: no recordings; expected {expected} (or .flac) below it")
    if released not in _SUFFIXES:
        converted = {path.with_suffix("") for path in found if path.suffix.lower() != released}
        found = [path for path in found if path.suffix.lower() != released or path.with_suffix("") not in converted]
    first_by_stem: dict[Path, Path] = {}
    for path in found:
        other = first_by_stem.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise ManifestError(f"{path}: the recording is there twice, also as {other.name}")
    return found


def split_by_speaker(known: Sequence[str], kind: str = "speaker", **speakers: Iterable[str | int]) -> dict[str, str]:
    """Assigns every named speaker to one split.

    Args:
        known: the codes of the corpus, of one length.
        kind: what they stand for where speakers are split in groups, such as `session`; for the error messages.
        **speakers: for each split its speakers; 1 and "01" are the same.

    Returns:
        The split of each speaker code.

    Raises:
        RecipeError: a speaker is not of this corpus or is named in two splits.

    Example:
        >>> split_by_speaker(("03", "08"), train=[3], test=["08"])
        {'03': 'train', '08': 'test'}
    """
    splits: dict[str, str] = {}
    for split in (name for name in SPLITS if name in speakers):
        for code in (str(speaker).rjust(len(known[0]), "0") for speaker in speakers[split]):
            if code not in known:
                raise RecipeError(f"{split}_{kind}s: no {kind} '{code}'; the {kind}s are {', '.join(known)}")
            if splits.setdefault(code, split) != split:
                raise RecipeError(f"{split}_{kind}s: {kind} '{code}' is already in split '{splits[code]}'")
    return splits


def split_of_speaker(speaker: str, validation_share: float = 0.0, test_share: float = 0.0) -> str:
    """The split of a speaker where the corpus has none: the same on every machine, whoever else speaks in it.

    Args:
        speaker: as the corpus calls them, or whatever else must not be in two splits.
        validation_share, test_share: of all speakers, on average.

    Raises:
        RecipeError: a share is negative, or nothing is left to train on.

    Example:
        >>> [split_of_speaker(speaker, 0.2, 0.2) for speaker in ("ann", "ada", "eve")]
        ['train', 'test', 'validation']
    """
    if min(validation_share, test_share) < 0 or not validation_share + test_share < 1:
        raise RecipeError(
            f"validation_share {validation_share:g} and test_share {test_share:g}: expected shares of at least 0 that "
            "leave some for training"
        )
    place = int.from_bytes(hashlib.blake2b(speaker.encode(), digest_size=8).digest()) / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def look_up(path: Path, field: str, code: str, known: Mapping[str, Value]) -> Value:
    """What a code in the name of a recording stands for.

    Raises:
        ManifestError: it stands for nothing; the message names the file and the codes that there are.
    """
    if code not in known:
        raise ManifestError(f"{path}: {field} '{code}'; expected one of {', '.join(known)}")
    return known[code]


def audio_folder(root: Path, audio_root: Path | None = None) -> Path:
    """The folder that audio lies in: the one that is named, else that of the corpus or its table."""
    root = Path(root)
    return Path(audio_root or (root if root.is_dir() else root.parent))


def corpus_name(root: Path) -> str:
    """What a user's data is called where they do not say: its folder, its file without suffix, its name on the Hub.

    Example:
        >>> corpus_name(Path("data/voices.csv")), corpus_name(Path("shards/voices/{000..009}.tar"))
        ('voices', 'voices')
    """
    path = Path(root).resolve()
    if "{" in path.name:
        return path.parent.name
    return path.stem if path.suffix.lower() in _FILES and not path.is_dir() else path.name


def tables_of_splits(released: Mapping[str, str], splits: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of a split and the name of a table that goes to it.

    Args:
        released: names by split, several separated by commas.
        splits: those that are to be taken instead, by split.

    Raises:
        RecipeError: there is no such split, or a table goes to two.

    Example:
        >>> list(tables_of_splits({"train": "base,scaled", "test": "holdout"}, {"test": "dev"}))
        [('train', 'base'), ('train', 'scaled'), ('test', 'dev')]
    """
    given: dict[str, str] = {}
    for split, names in {**released, **splits}.items():
        if split not in SPLITS:
            raise RecipeError(f"splits: '{split}'; expected one of {', '.join(SPLITS)}")
        for name in filter(None, map(str.strip, names.split(","))):
            if name in given:
                raise RecipeError(f"splits: '{name}' is given to {given[name]} and to {split}")
            given[name] = split
            yield split, name


def collect(root: Path, paths: Iterable[Path], parse: Callable[[Path], Pair | str], skip_bad: bool) -> CorpusListing:
    """Parses every path.

    Args:
        root: the corpus folder.
        paths: recordings below it.
        parse: gives a pair, or the reason why the recording is no part of the corpus as it is used here.
        skip_bad: list a recording whose name cannot be parsed instead of stopping at it.

    Raises:
        ManifestError: from `parse`, where `skip_bad` is false.
    """
    listing = CorpusListing()
    for path in paths:
        try:
            found = parse(path)
        except ManifestError as error:
            if not skip_bad:
                raise
            found = _reason(error, path)
        if isinstance(found, str):
            listing.skipped.append(LeftOut(path.relative_to(root).as_posix(), found))
        else:
            listing.pairs.append(found)
    return listing


def describe(
    listing: CorpusListing,
    root: Path,
    syllables: Mapping[str, int] | None = None,
    *,
    measured: Sequence[str] = tuple(MEASURED),
    rated: Sequence[str] = (),
    captions: int = 6,
    skip_bad: bool = False,
    workers: int | None = None,
) -> CorpusListing:
    """Adds measured and rated attributes, captions and style keys to labelled pairs.

    Pitch, speed and volume are thirds within each sex, ratings thirds of all. The borders come from the train split
    and are applied to the others, so that nothing of a test recording reaches training.

    Args:
        listing: pairs without captions, with `attributes` from their labels.
        root: the folder their audio lies in.
        syllables: number of syllables of each transcript, where known.
        measured: which of pitch, speed and volume the recordings can tell, and are to be measured for.
        rated: which keys of `RATED` the corpus has ratings for, in its columns of valence, arousal and dominance.
        captions: most captions a clip.
        skip_bad: list what cannot be measured, or holds what no caption can say, instead of stopping at the first.
        workers: processes; None takes one a core.

    Raises:
        AudioError: a recording cannot be measured and `skip_bad` is false.
        ManifestError: no recording belongs to the train split, or an attribute has a value for which there are no
            words and `skip_bad` is false.
        RecipeError: there is no such attribute to measure.
    """
    measured = check_measured(measured)
    outcomes = _measure(listing.pairs, root, syllables or {}, skip_bad, workers) if measured else listing.pairs
    known = list(zip(listing.pairs, outcomes, strict=True))
    good = [(pair, outcome) for pair, outcome in known if not isinstance(outcome, AudioError)]
    bad = [
        LeftOut(_where(pair), _reason(outcome, root / pair.audio))
        for pair, outcome in known
        if isinstance(outcome, AudioError)
    ]
    if not any(pair.split == "train" for pair, _ in good):
        raise _no_training(root)
    levels = _levels(good, measured, rated)
    found = [_described(pair, own, captions, skip_bad) for (pair, _), own in zip(good, levels, strict=True)]
    described = CorpusListing.of(found)
    return CorpusListing(described.pairs, listing.skipped + bad + described.skipped)


def describe_by_ratings(
    read: Callable[[], Iterable[Entry]], root: Path, rated: Sequence[str], captions: int = 6
) -> Iterator[Entry]:
    """`describe` for what is too much to be measured or held: labels and ratings alone, in two passes.

    Args:
        read: gives the labelled pairs from the first on, each time it is called.
        root: the corpus folder, for the error message.
        rated, captions: see `describe`.

    Raises:
        ManifestError: no row belongs to the train split, and all that `read` raises.
    """
    values: dict[str, list[float]] = {name: [] for name in rated}
    count = 0
    for pair in read():
        if isinstance(pair, Pair) and pair.split == "train":
            count += 1
            for name in rated:
                if (value := getattr(pair, _RATINGS[name])) is not None:
                    values[name].append(value)
    if not count:
        raise _no_training(root)
    borders = {name: thirds(own) for name, own in values.items() if own}
    for entry in read():
        if isinstance(entry, LeftOut):
            yield entry
            continue
        own = {name: (getattr(entry, _RATINGS[name]), border) for name, border in borders.items()}
        levels = {name: third(value, border) for name, (value, border) in own.items() if value is not None}
        yield _described(entry, levels, captions)


def check_measured(names: Iterable[str]) -> tuple[str, ...]:
    """The attributes that are to be measured; the single word `none` is none of them.

    Raises:
        RecipeError: a name is not one of them.
    """
    names = tuple(names)
    if names == ("none",):
        return ()
    for name in names:
        if name not in MEASURED:
            raise RecipeError(f"measured: no '{name}'; expected some of {', '.join(MEASURED)}, or none")
    return names


def _measure(
    pairs: Sequence[Pair], root: Path, syllables: Mapping[str, int], skip_bad: bool, workers: int | None
) -> list[Measurement | AudioError]:
    paths = [_present(root / pair.audio) for pair in pairs]
    known = [syllables.get(pair.transcript or "") for pair in pairs]
    return measure_all(paths, known, skip_bad, workers, [(pair.start, pair.end) for pair in pairs])


def _present(path: Path) -> Path:
    """The recording, under its released suffix or another."""
    return path if path.is_file() else next(filter(Path.is_file, map(path.with_suffix, AUDIO_SUFFIXES)), path)


def _levels(
    good: Sequence[tuple[Pair, object]], measured: Sequence[str], rated: Sequence[str]
) -> list[dict[str, str]]:
    """The levels of each clip, without those that could not be told."""
    fit_on = [pair.split == "train" for pair, _ in good]
    levels: list[dict[str, str]] = [{} for _ in good]
    for name in (*measured, *rated):
        if name in RATED:
            values, groups = [getattr(pair, _RATINGS[name]) for pair, _ in good], [""] * len(good)
        else:
            values = [getattr(measurement, _FIELDS[name]) for _, measurement in good]
            groups = [pair.sex or "" for pair, _ in good]
        words = tuple({**MEASURED, **RATED}[name])
        for own, level in zip(levels, quantile_levels(values, groups, fit_on, words), strict=True):
            if level is not None:
                own[name] = level
    return levels


def _described(pair: Pair, levels: dict[str, str], captions: int, skip_bad: bool = False) -> Entry:
    attributes = {**pair.attributes, **levels}
    if not composable(attributes):
        return LeftOut(_where(pair), _NOTHING_TO_SAY)
    try:
        composed = compose(pair.pair_id, attributes, captions)
    except ManifestError as error:
        if not skip_bad:
            raise
        return LeftOut(_where(pair), str(error).removeprefix(f"{pair.pair_id}: "))
    return replace(pair, attributes=attributes, captions=composed, style_key=style_key(attributes))


def _where(pair: Pair) -> str:
    """Of a stretch its name too, since the recording holds others."""
    return pair.audio if pair.start is None and pair.end is None else f"{pair.audio}, {pair.pair_id}"


def _no_training(root: Path) -> ManifestError:
    return ManifestError(f"{root}: no recording of the train split, from which the borders of low and high are taken")


def _reason(error: Exception, path: Path) -> str:
    """The message without the path, so that equal reasons can be counted together."""
    return str(error).removeprefix(f"{path}: ")
