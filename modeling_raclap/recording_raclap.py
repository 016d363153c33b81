"""Recordings of any format: opened once, read only where a part is wanted, mono.

| format | read by | a part is |
|---|---|---|
| WAV, FLAC, AIFF and others without loss | libsndfile | sought, the samples of the whole |
| MP3, Ogg Vorbis | libsndfile | sought, decoded from a second before: equal to 1e-6 |
| Opus | libsndfile | decoded from the beginning, or 60 s before: equal, later in a long file to some 1e-3 |
| M4A and MP4 (AAC) | FFmpeg, through PyAV | the same |
| WebM, Matroska, bare AAC, WMA and others | FFmpeg, through PyAV | cut from the whole, which is decoded at once |

The last have no exact index of their samples. A recording that holds less than its header promises is refused, whoever
wrote the header: what was cut off is not known, and what is named in a caption may be in it. An MP3 of varying bit
rate without a Xing header promises nothing; libsndfile judges its length by the first frame.

Shapes: S samples, K channels.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

import numpy as np

try:  # decoding is only needed for files
    import soundfile
except ImportError:
    soundfile = None

_MOST_CHANNELS = 16
_RATES = (1_000, 768_000)  # Hz, lowest and highest that sound is kept at
_BLOCK = 1 << 20  # frames of several channels that are held at once

# A decoder that starts in the middle must hear this much, in seconds, before it says the same as from the beginning.
_LEAD_SECONDS = {"MPEG_LAYER_III": 1.0, "VORBIS": 1.0, "OPUS": 60.0}
_FFMPEG_LEAD_SECONDS = 60.0
# Padding of the last block and rounding of times make headers differ from what follows by less than this.
_MISSING_SECONDS = 0.05
_UNINDEXED_SECONDS = 3_600.0  # longest recording that is held whole for want of an index

_UNRECOGNISED = 1  # libsndfile's code for a format it does not know
_UNKNOWN_FRAMES = 2**62  # libsndfile gives a number above it where a stream does not say its length
# libsndfile's account of a chunk that promises more bytes than the file has.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
# FFmpeg's readers of single recordings; those that would open other files (playlists, lists of parts) are left out.
_CONTAINERS = "mov,matroska,asf,aac,ac3,eac3,amr,amrnb,amrwb,ape,avi,flac,flv,mp3,mpeg,mpegts,ogg,tta,wav,wv"


class UnreadableAudioError(ValueError):
    """A recording cannot be used; the message begins with its name and says why in one line."""


class Recording(Protocol):
    """An open recording.

    Attributes:
        rate: Hz.
    """

    rate: int

    def __len__(self) -> int:
        """Samples of each channel."""

    def read(self, first: int, last: int) -> np.ndarray:
        """Samples from `first` up to `last`, the mean of the channels: (last - first,) float32, or int16 as stored.

        Raises:
            UnreadableAudioError: they cannot be decoded, or are not there.
        """

    def close(self) -> None:
        """Gives the file back."""


@contextmanager
def open_recording(source: str | BinaryIO, name: str) -> Iterator[Recording]:
    """Opens a recording.

    Args:
        source: the path of a regular file, or an open file.
        name: what errors call it.

    Raises:
        ImportError: soundfile is not installed.
        UnreadableAudioError: it is no recording that can be read, or holds less than its header promises.
    """
    recording = _open(source, name)
    try:
        yield recording
    finally:
        recording.close()


def as_float(samples: np.ndarray) -> np.ndarray:
    """16-bit samples in [-1, 1), float32; others are given back."""
    return samples.astype(np.float32) * np.float32(2**-15) if samples.dtype == np.int16 else samples


def _open(source: str | BinaryIO, name: str) -> Recording:
    if soundfile is None:
        raise ImportError("reading audio files needs the packages soundfile and soxr")
    try:
        file = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        if error.code != _UNRECOGNISED:
            raise UnreadableAudioError(f"{name}: not a readable audio file ({_reason(error)})") from error
        return _open_with_ffmpeg(source, name, _reason(error))
    if file.frames > _UNKNOWN_FRAMES:
        file.close()
        return _open_with_ffmpeg(source, name, "its header does not say how long it is")
    try:
        return _SndfileRecording(file, name)
    except UnreadableAudioError:
        file.close()
        raise


def _open_with_ffmpeg(source: str | BinaryIO, name: str, reason: str) -> Recording:
    try:
        import av
    except ImportError:
        raise UnreadableAudioError(
            f"{name}: not a readable audio file ({reason}); M4A, AAC, WebM and others need PyAV: "
            f"pip install 'raclap[formats]'"
        ) from None
    if isinstance(source, str):
        source = f"file:{source}"  # a colon in a name would be taken for a protocol
    else:
        source.seek(0)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(source, options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise UnreadableAudioError(f"{name}: not a readable audio file ({error.strerror})") from error
    try:
        return _FfmpegRecording(container, name)
    except UnreadableAudioError:
        container.close()
        raise


class _SndfileRecording:
    def __init__(self, file: Any, name: str):
        self.rate = file.samplerate
        self._file = file
        self._name = name
        self._lead = round(_LEAD_SECONDS.get(file.subtype, 0.0) * self.rate)
        self._is_int16 = file.subtype == "PCM_16" and file.channels == 1
        _check_header(name, file.frames, file.channels, self.rate)
        self._check_promise()

    def __len__(self) -> int:
        return self._file.frames

    def read(self, first: int, last: int) -> np.ndarray:
        start = max(0, first - self._lead)
        try:
            if start != self._file.tell():
                self._file.seek(start)
            samples = self._read(last - start)
        except soundfile.LibsndfileError as error:
            raise UnreadableAudioError(f"{self._name}: damaged or cut off ({_reason(error)})") from error
        return _complete(samples, start, last, self, self._name)[first - start :]

    def close(self) -> None:
        self._file.close()

    def _read(self, count: int) -> np.ndarray:
        if self._is_int16:
            return self._file.read(count, dtype="int16")
        if self._file.channels == 1:
            return self._file.read(count, dtype="float32")
        blocks = []
        while count > 0:
            block = self._file.read(min(count, _BLOCK), dtype="float32")
            blocks.append(_mean_of_channels(block.T))
            if not len(block):
                break
            count -= len(block)
        return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]

    def _check_promise(self) -> None:
        """libsndfile reads what there is of a chunk; how much there should be stands in its log alone."""
        chunk = _SHORT_CHUNK.search(self._file.extra_info)
        if chunk is None:
            return
        promised, present = map(int, chunk.groups())
        # Programs that write to a pipe cannot come back to fill in the length: they leave the largest number.
        is_placeholder = 2**31 - 2**16 <= promised <= 2**31 or promised >= 2**32 - 2**16
        missing = (promised - present) / max(1, present) * len(self) / self.rate
        if not is_placeholder and missing > _MISSING_SECONDS:
            seconds = len(self) / self.rate
            raise UnreadableAudioError(
                f"{self._name}: cut off: it holds {seconds:.2f} s of the {seconds + missing:.2f} s that its header "
                f"promises"
            )


class _FfmpegRecording:
    def __init__(self, container: Any, name: str):
        self._container = container
        self._name = name
        if not container.streams.audio:
            raise UnreadableAudioError(f"{name}: not a readable audio file (there is no sound in it)")
        self._stream = container.streams.audio[0]
        self.rate = self._stream.codec_context.sample_rate
        _check_header(name, 1, self._stream.codec_context.layout.nb_channels, self.rate)
        self._whole: np.ndarray | None = None
        if self._is_indexed():
            self._frames = int(self._stream.duration * self._stream.time_base * self.rate)
        else:
            self._whole = self._decode(0, round(_UNINDEXED_SECONDS * self.rate) + 1)
            self._frames = len(self._whole)
            if self._frames > _UNINDEXED_SECONDS * self.rate:
                raise UnreadableAudioError(
                    f"{name}: more than {_UNINDEXED_SECONDS / 60:.0f} minutes long, and of a format that can only be "
                    f"read whole; convert it to FLAC"
                )
        _check_header(name, self._frames, 1, self.rate)

    def __len__(self) -> int:
        return self._frames

    def read(self, first: int, last: int) -> np.ndarray:
        if self._whole is not None:
            return self._whole[first:last]
        return _complete(self._decode(first, last), first, last, self, self._name)

    def close(self) -> None:
        self._container.close()

    def _is_indexed(self) -> bool:
        """Whether times are those of single samples, as in MP4; Matroska counts milliseconds."""
        return bool(self._stream.duration) and self._stream.time_base * self.rate <= 1

    def _decode(self, first: int, last: int) -> np.ndarray:
        import av

        blocks = []
        try:
            for position, block in self._blocks(first):
                if position + len(block) > first:
                    blocks.append(block[max(0, first - position) : last - position])
                if position + len(block) >= last:
                    break
        except (av.FFmpegError, ValueError) as error:  # the latter where the channels change on the way
            raise UnreadableAudioError(f"{self._name}: damaged or cut off ({error})") from error
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def _blocks(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks and the number of their first sample, from somewhere before `first` on."""
        import av

        begin, position = self._stream.start_time or 0, 0
        if self._is_indexed():
            start = max(0, first - round(_FFMPEG_LEAD_SECONDS * self.rate))
            self._container.seek(begin + int(start / self.rate / self._stream.time_base), stream=self._stream)
            position = None
        as_planes = av.AudioResampler(format="fltp")
        for frame in self._container.decode(self._stream):
            if position is None:
                position = round((frame.pts - begin) * self._stream.time_base * self.rate)
            for planes in as_planes.resample(frame):
                block = _mean_of_channels(planes.to_ndarray())
                yield position, block
                position += len(block)


def _check_header(name: str, frames: int, channels: int, rate: int) -> None:
    if frames <= 0:
        raise UnreadableAudioError(f"{name}: no samples")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise UnreadableAudioError(f"{name}: its header says {channels} channels; at most {_MOST_CHANNELS} are read")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UnreadableAudioError(f"{name}: its header says {rate} Hz; sound has {_RATES[0]} to {_RATES[1]}")


def _complete(samples: np.ndarray, first: int, last: int, recording: Recording, name: str) -> np.ndarray:
    """Samples from `first` up to `last`, a few of them zeros where the last block is short.

    Raises:
        UnreadableAudioError: more than a few are missing.
    """
    missing = last - first - len(samples)
    if missing > _MISSING_SECONDS * recording.rate:
        there, promised = (count / recording.rate for count in (last - missing, len(recording)))
        raise UnreadableAudioError(
            f"{name}: cut off: it holds {there:.2f} s of the {promised:.2f} s that its header promises"
        )
    return np.pad(samples, (0, missing)) if missing > 0 else samples


def _mean_of_channels(planes: np.ndarray) -> np.ndarray:
    """(K, S) to (S,)."""
    if len(planes) == 1:
        return planes[0]
    total = planes[0] + planes[1]
    for plane in planes[2:]:
        total += plane
    return total / np.float32(len(planes))


def _reason(error: Any) -> str:
    return error.error_string.rstrip(".") or f"error {error.code} of libsndfile"
