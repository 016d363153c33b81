"""From a corpus on disk to its manifest, with an account of what is in it and of what was left out."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raclap.corpora import emodb, ravdess
from raclap.corpora.listing import CorpusListing
from raclap.data.audio import read_header
from raclap.data.manifest import SPLITS, Manifest, Pair, read_manifest, write_manifest
from raclap.errors import RecipeError

READERS: dict[str, Callable[..., CorpusListing]] = {"emodb": emodb.read, "ravdess": ravdess.read}

_SHOWN_PATHS = 3


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """What one split holds.

    Attributes:
        pairs: manifest rows.
        hours: of audio.
        speakers: distinct known ones.
        captions: over all pairs.
        repeated_captions: those whose text another caption of the split has too: right for several clips.
    """

    pairs: int
    hours: float
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
        skipped: (path, reason) of every recording left out.
    """

    corpus: str
    manifest: Path
    splits: dict[str, SplitSummary]
    licences: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def prepare(
    corpus: str,
    root: Path,
    output: Path,
    skip_bad: bool = False,
    console: Console | None = None,
    **options: Any,
) -> Summary:
    """Reads a corpus, writes its manifest and prints what is in it.

    Args:
        corpus: a key of `READERS`.
        root: the corpus folder, as released.
        output: the manifest to write.
        skip_bad: leave unusable recordings out, and list them, instead of stopping at the first.
        console: where to print; None prints to standard output.
        **options: passed on to the reader, such as `train_speakers`.

    Raises:
        RecipeError: no such corpus.
        ManifestError, AudioError: the corpus is not as released; see its reader.
    """
    if corpus not in READERS:
        raise RecipeError(f"no corpus '{corpus}'; known are {', '.join(sorted(READERS))}")
    root = Path(root)
    listing = READERS[corpus](root, skip_bad=skip_bad, **options)
    write_manifest(output, listing.pairs, root)
    summary = summarise(read_manifest(output), listing.skipped)
    show(summary, console)
    return summary


def summarise(manifest: Manifest, skipped: Iterable[tuple[str, str]] = ()) -> Summary:
    """Counts what a manifest holds.

    Args:
        manifest: of one corpus.
        skipped: (path, reason) of what was left out of it.

    Raises:
        AudioError: a recording without a stated end cannot be opened.
    """
    by_split = {name: list(manifest.split(name)) for name in SPLITS}
    pairs = [pair for own in by_split.values() for pair in own]
    return Summary(
        corpus=pairs[0].corpus if pairs else manifest.path.stem,
        manifest=manifest.path,
        splits={name: _summarise_split(own, manifest) for name, own in by_split.items() if own},
        licences=tuple(sorted({pair.licence for pair in pairs if pair.licence})),
        skipped=tuple(skipped),
    )


def _summarise_split(pairs: list[Pair], manifest: Manifest) -> SplitSummary:
    texts = Counter(caption.text for pair in pairs for caption in pair.captions)
    return SplitSummary(
        pairs=len(pairs),
        hours=sum(_seconds(pair, manifest) for pair in pairs) / 3600,
        speakers=len({pair.speaker for pair in pairs if pair.speaker}),
        captions=texts.total(),
        repeated_captions=sum(count for count in texts.values() if count > 1),
    )


def _seconds(pair: Pair, manifest: Manifest) -> float:
    end = read_header(manifest.audio_path(pair)) if pair.end is None else pair.end
    return end - (pair.start or 0.0)


def show(summary: Summary, console: Console | None = None) -> None:
    """Prints the account as a table; to standard output where no console is given."""
    console = console or Console()
    table = Table(title=f"{summary.corpus} → {summary.manifest}", title_justify="left")
    table.add_column("split")
    for name in ("pairs", "hours", "speakers", "captions", "repeated"):
        table.add_column(name, justify="right")
    for split, own in summary.splits.items():
        counts = (own.pairs, f"{own.hours:.2f}", own.speakers, own.captions, own.repeated_captions)
        table.add_row(split, *map(str, counts))
    console.print(table)
    console.print(f"Licence: {', '.join(summary.licences) or 'not stated'}", markup=False)
    for reason, paths in _by_reason(summary.skipped).items():
        more = f" and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else ""
        shown = ", ".join(paths[:_SHOWN_PATHS])
        console.print(f"Left out, {reason}: {shown}{more}", markup=False)


def _by_reason(skipped: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for path, reason in skipped:
        paths.setdefault(reason, []).append(path)
    return paths
