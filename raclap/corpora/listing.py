"""What a corpus reader returns, and the steps that readers of label-only corpora share.

Such a reader turns a file name into a `Pair` with labels and no caption (`collect`); measured attributes,
captions and style keys are added here (`describe`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raclap.corpora.composition import MEASURED, compose
from raclap.corpora.measurement import Measurement, measure_all, quantile_levels
from raclap.data.manifest import SPLITS, Pair
from raclap.errors import AudioError, ManifestError, RecipeError

_SUFFIXES = (".wav", ".flac")
# The field of `Measurement` behind each measured attribute.
_FIELDS = {"pitch": "pitch", "speed": "speaking_rate", "volume": "level"}


@dataclass(frozen=True)
class CorpusListing:
    """What was found under a corpus folder.

    Attributes:
        pairs: rows for the manifest.
        skipped: (path below the root, reason) of every recording that is not among them.
    """

    pairs: list[Pair]
    skipped: list[tuple[str, str]]


def find_recordings(root: Path, folders: str, expected: str) -> list[Path]:
    """Lists the recordings of a corpus, in order of their paths.

    Args:
        root: the corpus folder.
        folders: glob of the folders below it that hold recordings.
        expected: the released layout, for the error message.

    Raises:
        ManifestError: there is no recording, or one lies there both as .wav and as .flac.
    """
    # Archives made on a Mac carry a hidden "._name.wav" beside each file.
    found = sorted(
        path
        for path in Path(root).glob(f"{folders}/*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise ManifestError(f"{root}: no recordings; expected {expected} (or .flac) below it")
    first_by_stem: dict[Path, Path] = {}
    for path in found:
        other = first_by_stem.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise ManifestError(f"{path}: the recording is there twice, also as {other.name}")
    return found


def split_by_speaker(known: Collection[str], **speakers: Iterable[str | int]) -> dict[str, str]:
    """Assigns every named speaker to one split.

    Args:
        known: the two-digit codes of the corpus.
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
        for code in (f"{speaker:0>2}" for speaker in speakers[split]):
            if code not in known:
                raise RecipeError(f"{split}_speakers: no speaker '{code}'; the speakers are {', '.join(known)}")
            if splits.setdefault(code, split) != split:
                raise RecipeError(f"{split}_speakers: speaker '{code}' is already in split '{splits[code]}'")
    return splits


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
    pairs: list[Pair] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        try:
            found = parse(path)
        except ManifestError as error:
            if not skip_bad:
                raise
            found = _reason(error, path)
        if isinstance(found, str):
            skipped.append((path.relative_to(root).as_posix(), found))
        else:
            pairs.append(found)
    return CorpusListing(pairs, skipped)


def describe(
    listing: CorpusListing,
    root: Path,
    syllables: Mapping[str, int],
    *,
    measured: Sequence[str] = tuple(MEASURED),
    captions: int = 6,
    skip_bad: bool = False,
    workers: int | None = None,
) -> CorpusListing:
    """Adds measured attributes, captions and style keys to labelled pairs.

    Pitch, speed and volume are thirds within each sex. Their borders come from the train split and are
    applied to the others, so that nothing of a test recording reaches training.

    Args:
        listing: pairs without captions, with `attributes` from their labels.
        root: the folder their audio lies in.
        syllables: number of syllables of each transcript, where known.
        measured: which of pitch, speed and volume the recordings can tell.
        captions: most captions a clip.
        skip_bad: list recordings that cannot be measured instead of stopping at the first.
        workers: processes; None takes one a core.

    Raises:
        AudioError: a recording cannot be measured and `skip_bad` is false.
        ManifestError: no recording belongs to the train split.
    """
    paths = [root / pair.audio for pair in listing.pairs]
    known = [syllables.get(pair.transcript or "") for pair in listing.pairs]
    outcomes = list(zip(listing.pairs, measure_all(paths, known, skip_bad, workers), strict=True))
    good = [(pair, outcome) for pair, outcome in outcomes if isinstance(outcome, Measurement)]
    bad = [(pair.audio, outcome) for pair, outcome in outcomes if isinstance(outcome, AudioError)]
    if not any(pair.split == "train" for pair, _ in good):
        raise ManifestError(
            f"{root}: no recording of the train split, from which the borders of low and high are taken"
        )
    levels = _levels(good, measured)
    pairs = [_described(pair, found, captions) for (pair, _), found in zip(good, levels, strict=True)]
    return CorpusListing(pairs, listing.skipped + [(audio, _reason(e, root / audio)) for audio, e in bad])


def _levels(good: Sequence[tuple[Pair, Measurement]], measured: Sequence[str]) -> list[dict[str, str]]:
    """The levels of each clip, without those that could not be told."""
    groups = [pair.sex or "" for pair, _ in good]
    fit_on = [pair.split == "train" for pair, _ in good]
    levels: list[dict[str, str]] = [{} for _ in good]
    for name in measured:
        values = [getattr(measurement, _FIELDS[name]) for _, measurement in good]
        for own, level in zip(levels, quantile_levels(values, groups, fit_on, tuple(MEASURED[name])), strict=True):
            if level is not None:
                own[name] = level
    return levels


def _described(pair: Pair, levels: dict[str, str], captions: int) -> Pair:
    attributes = {**pair.attributes, **levels}
    return replace(
        pair,
        attributes=attributes,
        captions=compose(pair.pair_id, attributes, captions),
        style_key="|".join(f"{name}={value}" for name, value in sorted(attributes.items())),
    )


def _reason(error: Exception, path: Path) -> str:
    """The message without the path, so that equal reasons can be counted together."""
    return str(error).removeprefix(f"{path}: ")
