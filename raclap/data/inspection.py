"""Every recording is looked at before any training time is spent; what is good can be kept, in memory or in a file.

What is found out on the way is not found out again: where the sound of a clip begins and ends is remembered, so that
later a crop is read from its file without the rest.

Shapes: N clips, S samples.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds
from tqdm import tqdm

from modeling_raclap.recording_raclap import as_float
from raclap.data.audio import SHORTEST_SECONDS, check_in_blocks, check_not_too_long, open_audio, read_whole
from raclap.data.cache import CacheAt, CachedClips, as_int16, cached_clips
from raclap.data.manifest import Manifest, Pair
from raclap.data.sound import Part, Samples, Sound
from raclap.errors import AudioError

# Gives the part of a waveform between its silent ends, as a view.
Trim = Callable[[np.ndarray], np.ndarray]

_AHEAD = 1024  # clips that are decoded ahead of the one that is noted down


@dataclass(frozen=True)
class Skipped:
    """A row that was left out, and why."""

    pair_id: str
    reason: str


@dataclass(frozen=True)
class Inspection:
    """The rows that can be used, those that cannot, and a way to their sound.

    Attributes:
        manifest: the good rows.
        skipped: the others.
        seconds: (N,) duration of each good clip, without silent ends where it was decoded; NaN where nothing was
            opened.
        rate: Hz that clips are given at.
        trim: gives the part of a clip between its silent ends; None keeps them.
        bounds: (N, 2) samples of its stretch between which each clip lies, once trimmed; None where not looked for.
        kept: decoded and trimmed 16-bit clips, if they were kept; loader processes share them by forking, or by
            mapping one file.
    """

    manifest: Manifest
    skipped: list[Skipped]
    seconds: np.ndarray
    rate: int
    trim: Trim | None = None
    bounds: np.ndarray | None = None
    kept: Sequence[np.ndarray] | CachedClips | None = None

    @contextmanager
    def open(self, row: int, pair: Pair | None = None) -> Iterator[Sound]:
        """The clip of a row, trimmed, to be read in parts.

        Args:
            row: its number.
            pair: the row itself, where it is at hand: finding it takes as long as decoding a second of sound.

        Raises:
            AudioError: it was not checked before and cannot be used, or it goes wrong while it is read; the message
                names row and file.
        """
        if self.kept is not None:
            yield Samples(self.kept[row])
            return
        pair = self.manifest[row] if pair is None else pair
        path = self.manifest.audio_path(pair)
        try:
            with open_audio(path, self.rate, pair.start, pair.end) as sound:
                yield self._trimmed(sound, row, path)
        except AudioError as error:
            raise AudioError(f"{self.manifest.path}: row {pair.pair_id}: {error}") from error

    def waveform(self, row: int) -> np.ndarray:
        """The whole clip of a row, trimmed: (S,) float32.

        Raises:
            AudioError: as `open`; or it is longer than may be held whole.
        """
        if self.kept is not None:
            return as_float(self.kept[row])
        pair = self.manifest[row]
        with self.open(row, pair) as sound:
            return read_whole(sound, self.rate, self.manifest.audio_path(pair))

    def rows(self, rows: Sequence[int], skipped: Iterable[Skipped] = ()) -> "Inspection":
        """Some of the rows, in the order given.

        Args:
            rows: those to keep.
            skipped: others, and why they are left out.
        """
        kept = self.kept
        if kept is not None:
            kept = kept.rows(rows) if isinstance(kept, CachedClips) else [kept[row] for row in rows]
        return replace(
            self,
            manifest=self.manifest.rows(rows),
            skipped=[*self.skipped, *skipped],
            seconds=self.seconds[list(rows)],
            bounds=None if self.bounds is None else self.bounds[list(rows)],
            kept=kept,
        )

    def _trimmed(self, sound: Sound, row: int, path: Path) -> Sound:
        if self.bounds is not None:
            first, last = self.bounds[row].tolist()
            if last > len(sound):
                raise AudioError(f"{path}: shorter than when it was checked")
            return Part(sound, first, last)
        if self.trim is None:
            return sound
        waveform = read_whole(sound, self.rate, path)
        return Part(Samples(waveform), *_bounds(waveform, self.trim, self.rate, path))


def inspect_audio(
    manifest: Manifest,
    rate: int,
    trim: Trim | None = None,
    check: str = "decode",
    skip_bad: bool = False,
    keep: bool = False,
    progress: bool = True,
    cache: CacheAt | None = None,
    in_parts: bool = False,
) -> Inspection:
    """Checks every recording of a manifest.

    Args:
        manifest: rows to check.
        rate: Hz that clips are to be given at.
        trim: gives the part of a clip between its silent ends; None keeps them.
        check: `decode` reads every sample (and finds silence and NaN); `header` only opens files; `none` looks
            at paths alone: what is wrong is found when a clip is read.
        skip_bad: leave bad rows out instead of stopping.
        keep: hold the decoded clips in memory; implies `decode`.
        progress: show a progress bar.
        cache: keep the decoded clips in a file, and take them from it the next time; implies `decode` the first time.
        in_parts: no clip will be read whole: one that need not be trimmed may be of any length.

    Raises:
        AudioError: a recording is bad and `skip_bad` is false; the message names the row and the file, and counts
            the others.
        ManifestError: a row's path leaves the audio root.
        RecipeError: the cache cannot be written.
    """
    if check == "none" and not keep and cache is None:
        manifest.check_paths()
        return Inspection(manifest, [], np.broadcast_to(np.nan, len(manifest)), rate, trim)
    keep = keep or cache is not None
    look = _Look(manifest, rate, "decode" if keep else check, trim, keep, in_parts and not keep)
    if cache is not None:
        clips = cached_clips(cache, manifest, rate, partial(_clips, look, progress=progress))
        reasons = clips.reasons
        everything = Inspection(manifest, [], clips.lengths / rate, rate, trim, kept=clips)
    else:
        findings = list(_findings(look, 0, progress))
        reasons = [finding.reason for finding in findings]
        everything = Inspection(
            manifest=manifest,
            skipped=[],
            seconds=np.array([finding.seconds for finding in findings]),
            rate=rate,
            trim=trim,
            bounds=np.array([f.bounds for f in findings]) if look.check == "decode" and not keep else None,
            kept=[finding.clip for finding in findings] if keep else None,
        )
    return _without_bad(everything, reasons, skip_bad)


def _without_bad(corpus: Inspection, reasons: Sequence[str | None], skip_bad: bool) -> Inspection:
    bad = [row for row, reason in enumerate(reasons) if reason is not None]
    if not bad:
        return corpus
    skipped = [Skipped(corpus.manifest[row].pair_id, reasons[row]) for row in bad]
    if not skip_bad:
        more = f" (and {len(bad) - 1} more bad recordings)" if len(bad) > 1 else ""
        raise AudioError(
            f"{corpus.manifest.path}: row {skipped[0].pair_id}: {skipped[0].reason}{more}; --skip-bad leaves bad rows "
            f"out"
        )
    return corpus.rows([row for row, reason in enumerate(reasons) if reason is None], skipped)


@dataclass(frozen=True)
class _Finding:
    seconds: float = float("nan")
    bounds: tuple[int, int] = (0, 0)
    clip: np.ndarray | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Look:
    """What is to be found out of a row."""

    manifest: Manifest
    rate: int
    check: str
    trim: Trim | None
    keep: bool
    in_parts: bool

    def __call__(self, pair: Pair) -> _Finding:
        path = self.manifest.audio_path(pair)
        try:
            with open_audio(path, self.rate, pair.start, pair.end) as sound:
                if self.in_parts and self.trim is None:
                    return self._in_parts(sound, path)
                check_not_too_long(sound, self.rate, path)
                if self.check == "header":
                    return _Finding(seconds=len(sound) / self.rate)
                waveform = read_whole(sound, self.rate, path)
            first, last = _bounds(waveform, self.trim, self.rate, path)
        except AudioError as error:
            return _Finding(reason=str(error))
        clip = as_int16(waveform[first:last]) if self.keep else None
        return _Finding((last - first) / self.rate, (first, last), clip)

    def _in_parts(self, sound: Sound, path: Path) -> _Finding:
        if self.check == "decode":
            check_in_blocks(sound, self.rate, path)
        return _Finding(len(sound) / self.rate, (0, len(sound)))


def _clips(look: _Look, first: int, progress: bool) -> Iterator[np.ndarray | str]:
    """From row `first` on, each clip, or what is wrong with it."""
    for finding in _findings(look, first, progress):
        yield finding.clip if finding.reason is None else finding.reason


def _findings(look: _Look, first: int, progress: bool) -> Iterator[_Finding]:
    """Rows from `first` on, in order, decoded in parallel: libsndfile and soxr release the interpreter lock."""
    pairs = itertools.islice(look.manifest, first, None)
    bar = tqdm(
        desc=f"checking {look.manifest.path.parent.name}",
        total=len(look.manifest),
        initial=first,
        unit="clip",
        disable=not progress,
    )
    with bar, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        while group := list(itertools.islice(pairs, _AHEAD)):
            for finding in pool.map(look, group):
                yield finding
                bar.update()


def _bounds(waveform: np.ndarray, trim: Trim | None, rate: int, path: Path) -> tuple[int, int]:
    """The samples between which the trimmed clip lies.

    Raises:
        AudioError: too little is left to be a clip.
    """
    if trim is None:
        return 0, len(waveform)
    part = trim(waveform)
    if not np.shares_memory(part, waveform):
        raise TypeError("trim must give a part of the waveform, not a copy")
    if len(part) < SHORTEST_SECONDS * rate:
        raise AudioError(f"{path}: shorter than {SHORTEST_SECONDS} s without its silent ends")
    first = (byte_bounds(part)[0] - byte_bounds(waveform)[0]) // waveform.itemsize
    return first, first + len(part)
