"""From a corpus on disk to its manifest, with an account of what is in it and of what was left out."""

import csv
import inspect
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from raclap.corpora import (
    crema_d,
    emodb,
    esd,
    hub_dataset,
    iemocap,
    libritts_p,
    mead,
    mess,
    msp_podcast,
    paraspeechcaps,
    promptspeech,
    ravdess,
    savee,
    speechcraft,
    tess,
    textrolspeech,
    user_folder,
    user_table,
    vccm,
    webdataset,
)
from raclap.corpora.listing import Entry, LeftOut, audio_folder
from raclap.corpora.options import OPTIONS, keyword_options
from raclap.corpora.probing import AudioCheck, Found, probe
from raclap.data.manifest import SPLITS, Manifest, Pair, SeenIds, write_manifest
from raclap.errors import ManifestError, RecipeError
from raclap.files import replacing

Reader = Callable[..., Iterable[Entry]]

READERS: dict[str, Reader] = {
    "audio_folder": user_folder.read,
    "crema_d": crema_d.read,
    "emodb": emodb.read,
    "esd": esd.read,
    "hub": hub_dataset.read,
    "iemocap": iemocap.read,
    "libritts_p": libritts_p.read,
    "mead": mead.read,
    "mess": mess.read,
    "msp_podcast": msp_podcast.read,
    "paraspeechcaps": paraspeechcaps.read,
    "promptspeech": promptspeech.read,
    "ravdess": ravdess.read,
    "savee": savee.read,
    "speechcraft": speechcraft.read,
    "table": user_table.read,
    "tess": tess.read,
    "textrolspeech": textrolspeech.read,
    "vccm": vccm.read,
    "webdataset": webdataset.read,
}

# Whose root may be no path of its own: a name on the Hub, a pattern of file names.
_NOT_PATHS = ("hub", "webdataset")

_SHOWN_PLACES = 3
# Kept apart; a table may be wrong in another way in every row.
_MOST_REASONS = 20
_OTHER_REASONS = "other reasons"


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """What one split holds.

    Attributes:
        pairs: manifest rows.
        hours: of audio; None where no recording was opened.
        speakers: distinct known ones.
        captions: over all pairs.
        repeated_captions: those whose text another caption of the split has too: right for several clips.
    """

    pairs: int
    hours: float | None
    speakers: int
    captions: int
    repeated_captions: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What `prepare` wrote.

    Attributes:
        corpus: its name.
        manifest: the file written.
        splits: by name, those that hold pairs.
        licences: of the pairs.
        left_out: how many places share a reason, and the first of them.
        left_out_list: the file that lists all of them; None where nothing was left out.
    """

    corpus: str
    manifest: Path
    splits: dict[str, SplitSummary]
    licences: tuple[str, ...]
    left_out: dict[str, tuple[int, tuple[str, ...]]]
    left_out_list: Path | None = None


def options_of(corpus: str) -> dict[str, inspect.Parameter]:
    """What can be said to the reader of a corpus beside its root, by name.

    Raises:
        RecipeError: no such corpus.
    """
    if corpus not in READERS:
        raise RecipeError(f"no corpus '{corpus}'; known are {', '.join(sorted(READERS))}")
    return keyword_options(READERS[corpus])


def prepare(
    corpus: str,
    root: Path,
    output: Path,
    skip_bad: bool = False,
    audio_check: AudioCheck = "header",
    console: Console | None = None,
    **options: Any,
) -> Summary:
    """Reads a corpus, writes its manifest and prints what is in it. Rows pass through one by one.

    What was left out is listed whole in a table beside the manifest.

    Args:
        corpus: a key of `READERS`.
        root: the corpus folder (or table), as released.
        output: the manifest to write.
        skip_bad: leave unusable rows and recordings out, and list them, instead of stopping at the first.
        audio_check: see `probe`.
        console: where to print; None prints to standard output.
        **options: passed on to the reader, such as `train_speakers`, or `audio_root` where its tables lie elsewhere.

    Raises:
        RecipeError: no such corpus, or its reader has no such option or needs another.
        ManifestError, AudioError: the corpus is not as released; see its reader.
    """
    known = options_of(corpus)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise RecipeError(f"prepare {corpus}: no option '{unknown[0]}'; it has {', '.join(known) or 'none'}")
    missing = [name for name, option in known.items() if option.default is option.empty and name not in options]
    if missing:
        raise RecipeError(f"prepare {corpus}: --{missing[0].replace('_', '-')} is needed: {OPTIONS[missing[0]]}")
    root, output = Path(root), Path(output)
    audio_root = _check_paths(corpus, root, output, options)
    if audio_check != "none" and not audio_root.is_dir():
        raise ManifestError(f"{audio_root}: no such folder of audio")
    entries = READERS[corpus](root, skip_bad=skip_bad, **options)
    list_path = output.with_name(f"{output.stem}_left_out.csv")
    account = Account()
    with replacing(list_path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        left_out = csv.writer(file)
        left_out.writerow(LeftOut._fields)
        found = probe(_once(entries, skip_bad), audio_root, audio_check, skip_bad, corpus)
        write_manifest(output, account.some(account.following(found, left_out.writerow), root), audio_root)
    if not account.left_out:
        list_path.unlink()
    summary = account.summary(corpus, output, list_path if account.left_out else None)
    show(summary, console)
    return summary


def _check_paths(corpus: str, root: Path, output: Path, options: Mapping[str, Any]) -> Path:
    """The folder that audio lies in.

    Raises:
        ManifestError: there is nothing at the root, or the manifest would lie where something else does.
        RecipeError: nothing says where audio lies or is written.
    """
    if corpus not in _NOT_PATHS and not root.exists():
        raise ManifestError(f"{root}: no such folder" if not root.suffix else f"{root}: no such folder or table")
    if output.is_dir():
        raise ManifestError(f"{output}: a folder; expected the path of the manifest to write")
    if output.exists() and root.exists() and output.samefile(root):
        raise ManifestError(f"{output}: the manifest would replace the table that it is made from")
    extracted, named = options.get("extract_to"), options.get("audio_root")
    if not (root.exists() or extracted or named):
        raise RecipeError(f"{root} is no folder: --extract-to, or --audio-root where its audio lies, is needed")
    if extracted:
        if Path(extracted).exists() and not Path(extracted).is_dir():
            raise ManifestError(f"{extracted}: a file; expected a folder to write audio to")
        Path(extracted).mkdir(parents=True, exist_ok=True)
    return audio_folder(root, extracted or named)


def summarise(manifest: Manifest) -> Summary:
    """Counts what a manifest holds.

    Raises:
        AudioError: a recording cannot be opened.
    """
    account = Account()
    for _ in account.following(probe(manifest, manifest.audio_root, name=manifest.path.parent.name)):
        pass
    return account.summary(next(iter(account.corpora), manifest.path.stem), manifest.path)


def _once(entries: Iterable[Entry], skip_bad: bool) -> Iterator[Entry]:
    """Leaves out what repeats an identifier, where that may be; elsewhere the writer stops at it."""
    seen = SeenIds() if skip_bad else None
    for entry in entries:
        if seen is not None and isinstance(entry, Pair) and not seen.add(entry.pair_id):
            yield LeftOut(f"{entry.audio}, {entry.pair_id}", "its pair_id was there before")
        else:
            yield entry


class Account:
    """Counts rows as they pass, a little of each held in memory: hashes of captions, speakers."""

    def __init__(self) -> None:
        self.corpora: set[str] = set()
        self.left_out: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._licences: set[str] = set()
        self._pairs: Counter[str] = Counter()
        self._seconds: dict[str, float | None] = {}
        self._speakers: dict[str, set[str]] = {split: set() for split in SPLITS}
        self._captions: dict[str, array[int]] = {split: array("q") for split in SPLITS}

    def following(
        self, found: Iterable[Found | LeftOut], note: Callable[[LeftOut], Any] = lambda _: None
    ) -> Iterator[Pair]:
        """Hands on the pairs, counts everything, and gives `note` what is left out."""
        for outcome in found:
            if isinstance(outcome, LeftOut):
                known = outcome.reason in self.left_out or len(self.left_out) < _MOST_REASONS
                reason = outcome.reason if known else _OTHER_REASONS
                count, places = self.left_out.get(reason, (0, ()))
                self.left_out[reason] = (count + 1, (*places, outcome.where)[:_SHOWN_PLACES])
                note(outcome)
            else:
                self._add(outcome)
                yield outcome.pair

    def some(self, pairs: Iterable[Pair], root: Path) -> Iterator[Pair]:
        """Hands on the pairs.

        Raises:
            ManifestError: there was none; the message says what was left out.
        """
        yield from pairs
        if not self._pairs.total():
            raise ManifestError(f"{root}: no pair is left; {'; '.join(self._reasons()) or 'none was found'}")

    def _add(self, found: Found) -> None:
        pair = found.pair
        self.corpora.add(pair.corpus)
        self._pairs[pair.split] += 1
        before = self._seconds.get(pair.split, 0.0)
        self._seconds[pair.split] = None if before is None or found.seconds is None else before + found.seconds
        if pair.speaker:
            self._speakers.setdefault(pair.split, set()).add(pair.speaker)
        self._captions.setdefault(pair.split, array("q")).extend([hash(caption.text) for caption in pair.captions])
        if pair.licence:
            self._licences.add(pair.licence)

    def _reasons(self) -> list[str]:
        """A line for each reason for which something was left out."""
        return [f"left out, {_count(reason, *found)}" for reason, found in self.left_out.items()]

    def summary(self, corpus: str, manifest: Path, left_out_list: Path | None = None) -> Summary:
        """Everything counted so far."""
        splits = {name: self._split(name) for name in SPLITS if self._pairs[name]}
        return Summary(corpus, manifest, splits, tuple(sorted(self._licences)), self.left_out, left_out_list)

    def _split(self, name: str) -> SplitSummary:
        captions, seconds = self._captions[name], self._seconds[name]
        return SplitSummary(
            pairs=self._pairs[name],
            hours=None if seconds is None else seconds / 3600,
            speakers=len(self._speakers[name]),
            captions=len(captions),
            repeated_captions=_count_repeated(captions),
        )


def _count_repeated(codes: Sequence[int]) -> int:
    """How many of these stand more than once."""
    in_order = np.sort(np.asarray(codes, np.int64))
    as_former = in_order[1:] == in_order[:-1]
    return int((np.append(as_former, False) | np.insert(as_former, 0, False)).sum())


def show(summary: Summary, console: Console | None = None) -> None:
    """Prints the account as a table; to standard output where no console is given."""
    console = console or Console()
    table = Table(title=f"{summary.corpus} → {summary.manifest}", title_justify="left")
    table.add_column("split")
    for name in ("pairs", "hours", "speakers", "captions", "repeated"):
        table.add_column(name, justify="right")
    for split, own in summary.splits.items():
        hours = "not opened" if own.hours is None else f"{own.hours:.2f}"
        table.add_row(split, str(own.pairs), hours, *map(str, (own.speakers, own.captions, own.repeated_captions)))
    console.print(table)
    console.print(f"Licence: {', '.join(summary.licences) or 'not stated'}", markup=False)
    for reason, found in summary.left_out.items():
        console.print(f"Left out, {_count(reason, *found)}", markup=False)
    if summary.left_out_list is not None:
        console.print(f"All that was left out: {summary.left_out_list}", markup=False)


def _count(reason: str, count: int, places: Sequence[str]) -> str:
    """A reason, the first places that it holds for, and how many more there are."""
    more = f" and {count - len(places)} more" if count > len(places) else ""
    return f"{reason}: {', '.join(places)}{more}"
