"""The sound of moments: excerpts for a page, and files of their own.

Shapes: S samples.
"""

import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
import soundfile

from modeling_raclap.recording_raclap import Recording
from raclap.archive.dataset_sound import read_row
from raclap.archive.facts import ArchiveError
from raclap.archive.moments import Moment
from raclap.data.audio import AudioBytes, decode, open_checked
from raclap.data.excerpt import Excerpt, encode
from raclap.errors import AudioError
from raclap.files import replacing

_BLOCK_SECONDS = 60.0
_NAME_CHARACTERS = 80
_SLACK_SECONDS = 0.05  # by which a recording may end before the window that was cut at another rate


def excerpt_of(moment: Moment, rate: int, longest: float) -> Excerpt:
    """The beginning of a moment, or its best window where the moment is longer than what is held of it.

    Args:
        moment: that was found.
        rate: Hz.
        longest: seconds to keep.

    Raises:
        AudioError: the recording is gone, cannot be read, or no longer has this stretch.
    """
    start, end = moment.start, moment.end
    if end - start > longest:
        start, end = moment.best_start, moment.best_end
    waveform = decode(_sound_of(moment), rate, start, min(end, start + longest))
    found = encode(waveform, rate, longest)
    return Excerpt(found.data, is_cut=moment.end - moment.start > longest)


def export_moment(moment: Moment, folder: Path, prefix: str) -> Path:
    """Writes a moment as FLAC, mono, at the recording's own rate; whole or not at all.

    Args:
        moment: that was found.
        folder: where to; it is made when missing.
        prefix: what the name begins with, such as the rank.

    Returns:
        The file, named `PREFIX-RECORDING-START-END.flac`; a name of a recording never leads out of the folder.

    Raises:
        AudioError: the recording is gone, cannot be read, or no longer has this stretch.
        ArchiveError: the folder cannot be written.
    """
    target = folder / f"{prefix}-{_plain(moment.recording)}-{moment.start:.2f}-{moment.end:.2f}.flac"
    path = _sound_of(moment)
    try:
        with open_checked(path) as recording, replacing(target) as beside:
            first = round(moment.start * recording.rate)
            wanted = round(moment.end * recording.rate)
            last = min(len(recording), wanted)
            if not 0 <= first < last or wanted - last > _SLACK_SECONDS * recording.rate:
                raise AudioError(f"{path}: {moment.start:.2f} to {moment.end:.2f} s is no longer a stretch of it")
            _write(recording, first, last, beside)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ArchiveError(f"{target}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    return target


def _write(recording: Recording, first: int, last: int, target: Path) -> None:
    """Writes block by block; 16-bit samples are kept as they are stored."""
    block = round(_BLOCK_SECONDS * recording.rate)
    blocks = (recording.read(begin, min(begin + block, last)) for begin in range(first, last, block))
    samples = next(blocks)
    subtype = "PCM_16" if samples.dtype == np.int16 else "PCM_24"
    with soundfile.SoundFile(
        target, "w", samplerate=recording.rate, channels=1, format="FLAC", subtype=subtype
    ) as file:
        for part in itertools.chain([samples], blocks):
            file.write(part if part.dtype == np.int16 else np.clip(part, -1, 1))


def _sound_of(moment: Moment) -> Path | AudioBytes:
    """The recording: a file, or what is read again of its data set."""
    if moment.dataset_row is not None:
        data = read_row(moment.dataset_row, moment.root)
        if hashlib.sha256(data).hexdigest() != moment.sha256:
            raise AudioError(f"{moment.recording}: its row has changed since it was indexed; run raclap index again")
        return AudioBytes(moment.recording, data)
    path = moment.path
    if path is None:
        raise AudioError(f"{moment.recording}: not a file below the archive's root, so its sound cannot be read")
    if not path.is_file():
        raise AudioError(f"{path}: no longer there")
    if not path.resolve().is_relative_to(Path(moment.root).resolve()):
        raise AudioError(f"{path}: a link that leads out of the archive's root")
    return path


def _plain(recording: str) -> str:
    """A recording's path as part of a file name: letters, digits, dots and lines, its end if it is long."""
    plain = re.sub(r"[^\w.-]+", "_", recording, flags=re.ASCII).strip("._-")
    return plain[-_NAME_CHARACTERS:].strip("._-") or "recording"
