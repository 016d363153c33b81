"""Looking for the recordings that a reader names: are they there, can they be opened, how long are they?"""

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Literal

from tqdm import tqdm

from raclap.corpora.listing import AUDIO_SUFFIXES, Entry, LeftOut
from raclap.data.manifest import Pair
from raclap.errors import AudioError

AudioCheck = Literal["header", "exists", "none"]

# Recordings that are looked at ahead of the one that is handed on.
_AHEAD = 1024
# Tables give times in hundredths or thousandths of a second.
_ROUNDING = 0.01


@dataclass(frozen=True, slots=True)
class Found:
    """A pair whose recording was looked for.

    Attributes:
        pair: of the manifest; its `audio` has the suffix that was found.
        seconds: of its clip; None where the recording was not opened.
    """

    pair: Pair
    seconds: float | None


def probe(
    entries: Iterable[Entry], root: Path, check: AudioCheck = "header", skip_bad: bool = False, name: str = "corpus"
) -> Iterator[Found | LeftOut]:
    """Looks for the recording of each pair, in threads, under a progress bar; order is kept and little is held.

    Args:
        entries: from a reader.
        root: the audio root.
        check: `header` opens each recording, `exists` only looks for it, `none` takes the reader's word.
        skip_bad: leave a pair out whose recording is not as it should be, instead of stopping at it.
        name: of the corpus, for the bar.

    Raises:
        AudioError: a recording is missing, leaves the root, cannot be opened or ends before its clip does, where
            `skip_bad` is false.
    """
    home = Path(root).resolve()
    entries = iter(entries)
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(desc=f"preparing {name}", unit="row", disable=None) as bar:
        in_turn = map if check == "none" else pool.map
        while group := list(itertools.islice(entries, _AHEAD)):
            for entry, outcome in zip(group, in_turn(partial(_outcome, home, check), group), strict=True):
                if not isinstance(outcome, AudioError):
                    yield outcome
                elif skip_bad:
                    yield LeftOut(entry.audio, str(outcome))
                else:
                    raise AudioError(
                        f"row {entry.pair_id}: {home / entry.audio}: {outcome}; --skip-bad leaves such rows out"
                    ) from outcome
            bar.update(len(group))


def _outcome(root: Path, check: AudioCheck, entry: Entry) -> Found | LeftOut | AudioError:
    if isinstance(entry, LeftOut):
        return entry
    try:
        return _look(root, check, entry)
    except AudioError as error:
        return error


def _look(root: Path, check: AudioCheck, pair: Pair) -> Found:
    """The pair as it was found.

    Raises:
        AudioError: its recording is not as it should be; the message does not name it, so that equal ones are counted
            together.
    """
    start = pair.start or 0.0
    if start < 0 or (pair.end is not None and not start < pair.end):
        raise AudioError(f"{start} to {pair.end} s is not a stretch of a recording")
    known = None if pair.end is None else pair.end - start
    if check == "none":
        return Found(pair, known)
    path = _find(root, pair.audio)
    if path.suffix != PurePath(pair.audio).suffix:
        pair = replace(pair, audio=path.relative_to(root).as_posix())
    if check == "exists":
        return Found(pair, known)
    from raclap.data.audio import read_header  # and torch with it, which tables can do without

    try:
        seconds = read_header(path)
    except AudioError as error:
        raise AudioError(str(error).removeprefix(f"{path}: ")) from error
    end = seconds if pair.end is None else pair.end
    if not start < end <= seconds + _ROUNDING:
        raise AudioError(f"{start} to {end} s is not a stretch of its {seconds:.2f} s")
    return Found(pair, end - start)


def _find(root: Path, audio: str) -> Path:
    """The recording, under its released suffix or another.

    Raises:
        AudioError: it is not there, or not below the root.
    """
    path = root / audio
    stem = path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path
    try:
        others = (stem.with_name(stem.name + suffix) for suffix in AUDIO_SUFFIXES)
        found = next((candidate for candidate in itertools.chain([path], others) if candidate.is_file()), path)
        if not found.resolve().is_relative_to(root):
            raise AudioError(f"leaves the audio root {root}")
        if not found.is_file():
            raise AudioError("a folder; expected a recording" if path.is_dir() else "no such audio file")
    except OSError as error:  # a name that is too long, a folder that is closed
        raise AudioError(f"cannot be looked for ({error.strerror})") from error
    except RuntimeError as error:
        raise AudioError("cannot be looked for (links that lead to each other)") from error
    return found
