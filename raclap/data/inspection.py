"""Every recording is looked at before any training time is spent; what is good can be kept in memory.

Shapes: N clips, S samples.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from tqdm import tqdm

from raclap.data.audio import decode, read_header
from raclap.data.manifest import Manifest, Pair
from raclap.errors import AudioError

_FULL_SCALE = 32767

Trim = Callable[[np.ndarray], np.ndarray]


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
        seconds: (N,) duration of each good clip; NaN where nothing was opened.
        rate: Hz that clips are given at.
        trim: cuts silent ends of a clip.
        kept: decoded and trimmed 16-bit clips, if they were kept; loader processes share them by forking.
    """

    manifest: Manifest
    skipped: list[Skipped]
    seconds: np.ndarray
    rate: int
    trim: Trim
    kept: list[np.ndarray] | None = None

    def waveform(self, row: int) -> np.ndarray:
        """The clip of a row, trimmed: (S,) float32.

        Raises:
            AudioError: it was not checked before and cannot be used.
        """
        if self.kept is not None:
            return self.kept[row].astype(np.float32) / _FULL_SCALE
        return self.trim(_read(self.manifest, self.manifest[row], self.rate))


def inspect_audio(
    manifest: Manifest,
    rate: int,
    trim: Trim,
    check: str = "decode",
    skip_bad: bool = False,
    keep: bool = False,
    progress: bool = True,
) -> Inspection:
    """Checks every recording of a manifest.

    Args:
        manifest: rows to check.
        rate: Hz that clips are to be given at.
        trim: cuts silent ends of a clip.
        check: `decode` reads every sample (and finds silence and NaN); `header` only opens files; `none`.
        skip_bad: leave bad rows out instead of stopping.
        keep: hold the decoded clips in memory; implies `decode`.
        progress: show a progress bar.

    Raises:
        AudioError: a recording is bad and `skip_bad` is false; the message names the row and the file, and counts
            the others.
        ManifestError: a row's path leaves the audio root.
    """
    pairs = list(manifest)
    look = partial(_look, manifest, rate, "decode" if keep else check, trim if keep else None)
    # libsndfile and soxr release the interpreter lock, so threads decode in parallel.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        findings = list(
            tqdm(
                pool.map(look, pairs),
                total=len(pairs),
                desc=f"checking {manifest.path.parent.name}",
                unit="clip",
                disable=not progress or (check == "none" and not keep),
            )
        )
    bad = [Skipped(p.pair_id, f.reason) for p, f in zip(pairs, findings, strict=True) if f.reason]
    if bad and not skip_bad:
        more = f" (and {len(bad) - 1} more bad recordings)" if len(bad) > 1 else ""
        raise AudioError(
            f"{manifest.path}: row {bad[0].pair_id}: {bad[0].reason}{more}; --skip-bad leaves bad rows out"
        )
    good = [row for row, finding in enumerate(findings) if finding.reason is None]
    return Inspection(
        manifest=manifest.rows(good) if bad else manifest,
        skipped=bad,
        seconds=np.array([findings[row].seconds for row in good]),
        rate=rate,
        trim=trim,
        kept=[findings[row].clip for row in good] if keep else None,
    )


@dataclass(frozen=True)
class _Finding:
    seconds: float = float("nan")
    clip: np.ndarray | None = None
    reason: str | None = None


def _look(manifest: Manifest, rate: int, check: str, keep_trimmed: Trim | None, pair: Pair) -> _Finding:
    path = manifest.audio_path(pair)
    try:
        if check == "none":
            return _Finding()
        if check == "header":
            return _Finding(seconds=read_header(path))
        waveform = _read(manifest, pair, rate)
    except AudioError as error:
        return _Finding(reason=str(error))
    if keep_trimmed is None:
        return _Finding(seconds=len(waveform) / rate)
    waveform = keep_trimmed(waveform)
    samples = np.round(np.clip(waveform, -1, 1) * _FULL_SCALE).astype(np.int16)
    return _Finding(seconds=len(waveform) / rate, clip=samples)


def _read(manifest: Manifest, pair: Pair, rate: int) -> np.ndarray:
    return decode(manifest.audio_path(pair), rate, pair.start, pair.end)
