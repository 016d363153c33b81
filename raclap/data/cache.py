"""Decoded clips in one flat file of 16-bit samples, mapped into memory by every process that reads them.

A corpus is decoded once for all runs, and a crop is a slice: 115 MB an hour at 16 kHz. A cache belongs to the rows,
the sizes of their files, the rate and the trimming that it was made for; where one of these changes, another is made
beside it. It is made by one process while the others wait, goes on where it was stopped, and appears when it is whole.

| file | holds |
|---|---|
| samples.int16 | the clips, one after the other |
| lengths.int64 | samples of each row's clip, in order; -1 where it is bad |
| reasons.jsonl | for each bad row its number, and what is wrong |

Shapes: N rows, S samples.
"""

import errno
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock

from raclap.data.manifest import Manifest, Pair
from raclap.errors import RecipeError

_LAYOUT = 1  # of the files; part of the key
_SAMPLES, _LENGTHS, _REASONS = "samples.int16", "lengths.int64", "reasons.jsonl"
_BAD = -1
_CHUNK = 1024  # rows that are written, and counted as done, together
_KEY_LENGTH = 16

# From a row on: each clip, (S,) int16, or what is wrong with it.
Decode = Callable[[int], Iterable[np.ndarray | str]]


@dataclass(frozen=True)
class CacheAt:
    """Where clips are cached, and what they are cut by.

    Attributes:
        folder: holds the caches of any number of corpora.
        trimming: tells one way of cutting silent ends from another.
    """

    folder: Path
    trimming: str


def as_int16(waveform: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1) as 16-bit ones; beyond, they are clipped. 16-bit recordings lose nothing.

    Args:
        waveform: (S,) float32, or int16, which is given back.
    """
    if waveform.dtype == np.int16:
        return waveform
    return np.round(np.clip(waveform * 2.0**15, -(2**15), 2**15 - 1)).astype(np.int16)


class CachedClips:
    """The clips of a cache that is whole.

    Args:
        folder: of the cache.
        rows: which of its rows, in which order; None: all.

    Attributes:
        lengths: (N,) samples of each clip.
    """

    def __init__(self, folder: Path, rows: Sequence[int] | None = None):
        lengths = np.fromfile(folder / _LENGTHS, np.int64)
        starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
        chosen = np.arange(len(lengths)) if rows is None else np.asarray(rows, np.int64)
        self._folder = folder
        self._rows = chosen
        self._starts = starts[chosen]
        self.lengths = np.maximum(lengths, 0)[chosen]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> np.ndarray:
        """The clip of a row: (S,) int16, a view of the file."""
        start = int(self._starts[row])
        return self._samples[start : start + int(self.lengths[row])]

    def rows(self, rows: Sequence[int]) -> "CachedClips":
        """Some of the rows, in the order given."""
        return CachedClips(self._folder, self._rows[list(rows)])

    @property
    def reasons(self) -> list[str | None]:
        """What is wrong with each row; None where it is good."""
        found = dict(_read_reasons(self._folder))
        again = f" (as it was when {self._folder} was made; remove that to have it looked at again)"
        return [found[row] + again if row in found else None for row in self._rows.tolist()]

    @cached_property
    def _samples(self) -> np.ndarray:
        # A plain view: slices of a memmap are memmaps themselves, which take longer to make.
        return np.memmap(self._folder / _SAMPLES, np.int16, "r").view(np.ndarray)

    def __getstate__(self) -> dict:
        """Processes that are not forked map the file themselves."""
        return {name: value for name, value in self.__dict__.items() if name != "_samples"}


def cached_clips(at: CacheAt, manifest: Manifest, rate: int, decode: Decode) -> CachedClips:
    """Takes the clips of a manifest from their cache, which is made first where there is none.

    Args:
        at: where it is.
        manifest: its rows.
        rate: Hz of the clips.
        decode: makes them.

    Raises:
        RecipeError: the cache cannot be written, or the disk is full.
    """
    name = f"{manifest.path.parent.name}-{_key(manifest, rate, at.trimming)}"
    target, unfinished = at.folder / name, at.folder / f"{name}.unfinished"
    try:
        at.folder.mkdir(parents=True, exist_ok=True)
        # The lock is the system's: it is given back when the process that makes the cache ends, however it ends.
        with FileLock(at.folder / f"{name}.lock"):
            if not target.is_dir():
                unfinished.mkdir(exist_ok=True)
                _fill(unfinished, len(manifest), decode)
                unfinished.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise RecipeError(f"data.cache: {at.folder}: cannot be written ({error.strerror or error})") from error
    return CachedClips(target)


def _fill(folder: Path, rows: int, decode: Decode) -> None:
    """Appends to an unfinished cache until every row is there."""
    done = _done(folder)
    with (
        (folder / _SAMPLES).open("ab") as samples,
        (folder / _LENGTHS).open("ab") as lengths,
        (folder / _REASONS).open("a", encoding="utf-8") as reasons,
    ):
        outcomes = iter(decode(done))
        while chunk := list(itertools.islice(outcomes, _CHUNK)):
            clips = [outcome for outcome in chunk if not isinstance(outcome, str)]
            for clip in clips:
                samples.write(clip.data)
            for row, outcome in enumerate(chunk, start=done):
                if isinstance(outcome, str):
                    reasons.write(json.dumps([row, outcome]) + "\n")
            samples.flush()
            reasons.flush()
            # Lengths come last: what has one is done.
            sizes = [_BAD if isinstance(outcome, str) else len(outcome) for outcome in chunk]
            lengths.write(np.array(sizes, np.int64).tobytes())
            lengths.flush()
            done += len(chunk)
            _check_space(folder, samples.tell(), rows, done)


def _done(folder: Path) -> int:
    """Rows that an unfinished cache holds; what was written of others is cut off."""
    path = folder / _LENGTHS
    rows = path.stat().st_size // 8 if path.is_file() else 0
    if rows == 0:
        (folder / _LENGTHS).write_bytes(b"")
        (folder / _SAMPLES).write_bytes(b"")
        (folder / _REASONS).write_bytes(b"")
        return 0
    lengths = np.fromfile(path, np.int64, rows)
    os.truncate(path, 8 * rows)
    os.truncate(folder / _SAMPLES, 2 * int(np.maximum(lengths, 0).sum()))
    written = [json.dumps(entry) + "\n" for entry in _read_reasons(folder) if entry[0] < rows]
    (folder / _REASONS).write_text("".join(written), encoding="utf-8")
    return rows


def _check_space(folder: Path, size: int, rows: int, done: int) -> None:
    """Stops early, rather than after hours, where the rest will not fit."""
    needed, free = size / done * (rows - done), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"some {(size + needed) / 1e9:.1f} GB are needed, {(size + free) / 1e9:.1f} GB are free"
        )


def _read_reasons(folder: Path) -> Iterator[list]:
    for line in (folder / _REASONS).read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # else it was cut off while it was written
            yield json.loads(line)


def _key(manifest: Manifest, rate: int, trimming: str) -> str:
    digest = hashlib.sha256(json.dumps([_LAYOUT, rate, trimming]).encode())

    def line(pair: Pair) -> bytes:
        path = manifest.audio_path(pair)
        size = path.stat().st_size if path.is_file() else None
        return json.dumps([pair.audio, pair.start, pair.end, size]).encode()

    pairs = iter(manifest)
    with ThreadPoolExecutor() as pool:  # a network file system answers many questions at once
        while group := list(itertools.islice(pairs, _CHUNK)):
            for part in pool.map(line, group):
                digest.update(part)
    return digest.hexdigest()[:_KEY_LENGTH]
