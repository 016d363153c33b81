"""What Hugging Face Inference Endpoints run: texts and audio in, embeddings and calibrated scores out.

An endpoint imports this one file from the model's folder, makes one `EndpointHandler(folder)` and calls that for each
request; so nothing of this package is imported here. `docs/endpoint.md` has every request and reply.

How a request is refused. The public toolkit (huggingface-inference-toolkit) sends what a handler returns with status
200, whatever is in it, and turns what a handler raises into status 400 with the body `{"error": str(exception)}`. So a
bad request is raised: a client that only looks at the status then sees that it failed. The exact status cannot be sent
this way; it stands in front of the sentence together with the kind of error, as in `413 audio_too_long: clip 0 …`.

What is logged. The toolkit logs the text of exceptions, so no error quotes a text, a label or audio. An error nobody
foresaw is logged by its type and the lines of code that led to it, without its message.

Shapes: S samples, N items, D joint size.
"""

import base64
import binascii
import io
import json
import logging
import math
import os
import re
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoProcessor

try:  # audio is refused without it, texts are answered
    import soundfile
except ImportError:
    soundfile = None

STATUS = {
    "missing_inputs": 400,
    "wrong_type": 400,
    "unknown_parameter": 400,
    "bad_parameter": 400,
    "not_base64": 400,
    "audio_too_large": 413,
    "audio_too_long": 413,
    "text_too_long": 413,
    "too_many_candidates": 413,
    "too_many_clips": 413,
    "too_many_texts": 413,
    "not_audio": 415,
    "other_audio_type": 415,
    "duplicate_candidates": 422,
    "empty_audio": 422,
    "empty_text": 422,
    "unreadable_text": 422,
    "silent_audio": 422,
    "truncated_audio": 422,
    "unusable_audio": 422,
    "out_of_time": 503,
}
"""Each kind of bad request and the HTTP status that says the same."""

_LOGGER = logging.getLogger("raclap.endpoint")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TEXTS_AT_ONCE = 32
_AUDIO_SECONDS_AT_ONCE = 120.0  # of a padded batch, so that memory does not grow with the number of clips
_PARAMETERS = ("candidate_labels", "descriptions", "hypothesis_template")
_PLACE = "{}"


class BadRequestError(ValueError):
    """A request that cannot be answered; the message is one sentence for the person who sent it.

    Args:
        kind: a key of `STATUS`.
        message: the sentence; it quotes nothing of the request but names of its fields.

    Attributes:
        kind: what is wrong, for programs.
        status: HTTP status: 400 malformed, 413 too large or too long, 415 not audio, 422 unusable content,
            503 out of time.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind
        self.status = STATUS[kind]


class EndpointFolderError(ValueError):
    """The model folder cannot be served; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        audio_bytes: encoded audio of one request, all clips together.
        audio_seconds: length of one clip.
        clips: of one request.
        candidates: descriptions that clips are compared with.
        texts: that one request wants embedded.
        text_characters: of one text, or of one candidate in its template.
        request_seconds: wall-clock time. It is looked at between reading one clip and the next and between one batch
            and the next: a decoder or a batch that has begun is not interrupted, and a batch is bounded by
            `audio_seconds` and by two minutes of padded audio.
        cached_texts: embeddings of texts that are kept from one request to the next.
    """

    audio_bytes: int = 25 * 2**20
    audio_seconds: float = 60.0
    clips: int = 16
    candidates: int = 100
    texts: int = 100
    text_characters: int = 1_000
    request_seconds: float = 30.0
    cached_texts: int = 1_024

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """Limits with those that are set as `RACLAP_LIMIT_` and a name in capitals.

        Raises:
            ValueError: a variable holds no positive number, or names no limit.

        Example:
            >>> Limits.from_environment({"RACLAP_LIMIT_AUDIO_SECONDS": "20"}).audio_seconds
            20.0
        """
        kinds = {f"RACLAP_LIMIT_{field.name.upper()}": (field.name, type(field.default)) for field in fields(cls)}
        values = {}
        for variable, text in environment.items():
            if not variable.startswith("RACLAP_LIMIT_"):
                continue
            if variable not in kinds:
                raise ValueError(f"environment variable {variable} is no limit; known are {', '.join(kinds)}")
            name, kind = kinds[variable]
            values[name] = _positive(variable, text, kind)
        return cls(**values)


def _positive(variable: str, text: str, kind: type) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        what = "whole number" if kind is int else "number"
        raise ValueError(f"environment variable {variable} is {text!r}; expected a positive {what}")
    return value


LIMITS = Limits()
"""The limits where the environment says nothing else."""


# --- Texts ---


def check_description(text: Any, limits: Limits = LIMITS, name: str = "the description") -> None:
    """Refuses what is no description.

    Args:
        text: one description of a speaking style.
        limits: `text_characters` counts.
        name: what the error calls it.

    Raises:
        BadRequestError: it is no text, is empty, too long, or cannot be written in UTF-8.
    """
    if not isinstance(text, str):
        raise BadRequestError("wrong_type", f"{name} must be a text, not {_type_name(text)}")
    if not text.strip():
        raise BadRequestError("empty_text", f"{name} is empty; write in words how the voice sounds")
    if len(text) > limits.text_characters:
        most = limits.text_characters
        raise BadRequestError("text_too_long", f"{name} has {len(text):,} characters; at most {most:,} are read")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequestError("unreadable_text", f"{name} holds half of a character (a lone surrogate)") from None


def check_candidates(texts: Any, limits: Limits = LIMITS) -> None:
    """Refuses what is no list of different descriptions.

    Args:
        texts: descriptions to choose from.
        limits: `candidates` and `text_characters` count.

    Raises:
        BadRequestError: no list, none or too many, one that `check_description` refuses, or the same one twice.

    Example:
        >>> check_candidates(["a calm voice", "a calm voice"])
        Traceback (most recent call last):
        ...
        modeling_raclap.handler.BadRequestError: candidate 1 is the same as candidate 0; give each only once
    """
    if not isinstance(texts, (list, tuple)):
        raise BadRequestError("wrong_type", f"the candidates must be a list of texts, not {_type_name(texts)}")
    if not texts:
        raise BadRequestError("bad_parameter", "there are no candidates; give at least one description")
    if len(texts) > limits.candidates:
        raise BadRequestError(
            "too_many_candidates", f"there are {len(texts):,} candidates; at most {limits.candidates} are compared"
        )
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        check_description(text, limits, f"candidate {index}")
        earlier = first.setdefault(text.strip(), index)
        if earlier != index:
            raise BadRequestError(
                "duplicate_candidates", f"candidate {index} is the same as candidate {earlier}; give each only once"
            )


# --- Audio ---

# How files begin: where, with what, and what such a file is.
_AUDIO_STARTS = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (8, b"WAVE", "WAV"),
    (8, b"AIF", "AIFF"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
)
_OTHER_STARTS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)
_WEB_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<svg")
# Second halves of media types, without "x-", and endings of file names.
_CLAIMS = {
    "WAV": ("wav", "wave", "vnd.wave"),
    "FLAC": ("flac",),
    "MP3": ("mp3", "mpeg", "mpeg-3", "mpeg3"),
    "Ogg": ("ogg", "oga", "opus", "vorbis"),
    "MP4": ("mp4", "m4a", "mp4a-latm"),
    "AAC": ("aac", "aacp"),
    "WebM": ("webm", "matroska", "mka"),
    "AIFF": ("aiff", "aif"),
    "AMR": ("amr", "amr-wb"),
    "CAF": ("caf",),
    "AU": ("au", "basic"),
}
_CLAIMED = {word: kind for kind, words in _CLAIMS.items() for word in words}
_UNKNOWN_FRAMES = 2**62  # libsndfile gives a number above it where a stream does not say its length
_UNRECOGNISED = 1  # libsndfile's code for a format it does not know
_FFMPEG_SECOND = 1_000_000  # of a container's clock
# The same as in recording_raclap.py: FFmpeg's readers of single recordings.
_HIGHEST_RATE = 768_000  # Hz, likewise
_CONTAINERS = "mov,matroska,asf,aac,ac3,eac3,amr,amrnb,amrwb,ape,avi,flac,flv,mp3,mpeg,mpegts,ogg,tta,wav,wv"


def check_audio_bytes(
    data: bytes, claimed: str | None = None, limits: Limits = LIMITS, name: str = "the audio"
) -> float:
    """Refuses, before anything is decoded, what is no recording of a length that is served.

    The length is what the header says, which is also the most that a decoder gives. Of formats whose header says none
    (WebM from a browser, for one) at most `audio_seconds` are decoded to count them.

    Args:
        data: the bytes of one file.
        claimed: what the sender calls it: a media type or a file name. If that names another kind of file than the
            bytes are, it is refused: something went wrong on the way. What is not known counts as no claim.
        limits: `audio_bytes` and `audio_seconds` count.
        name: what the error calls it.

    Returns:
        Length in seconds.

    Raises:
        BadRequestError: empty, too large, no audio, of another type than claimed, damaged, or too long.
        ImportError: soundfile is not installed.
    """
    if not len(data):
        raise BadRequestError("empty_audio", f"{name} is empty: it holds no bytes")
    _check_size(len(data), limits, name)
    other, kind = _other_kind(data[:512]), _audio_kind(data)
    if other is not None:
        raise BadRequestError("not_audio", f"{name} is {other}, not audio")
    _check_claim(claimed, kind, name)
    seconds = _seconds(data, kind, limits.audio_seconds, name)
    if seconds > limits.audio_seconds:
        _refuse_length(name, seconds, limits.audio_seconds)
    return seconds


def _check_size(size: int, limits: Limits, name: str) -> None:
    if size > limits.audio_bytes:
        raise BadRequestError(
            "audio_too_large",
            f"{name} has {size / 2**20:.1f} MiB; at most {limits.audio_bytes / 2**20:g} MiB are read",
        )


def _refuse_length(name: str, seconds: float, most: float) -> None:
    length = f"{seconds:,.1f} s long" if seconds < math.inf else f"longer than {most:g} s"
    raise BadRequestError("audio_too_long", f"{name} is {length}; at most {most:g} s are read")


def _other_kind(start: bytes) -> str | None:
    """What a file is that is known to be no audio."""
    if start.lstrip().lower().startswith(_WEB_STARTS):
        return "a web page or XML"
    return _matching(start, _OTHER_STARTS)


def _audio_kind(start: bytes) -> str | None:
    """A key of `_CLAIMS`; None where the beginning is not known, which libsndfile or FFmpeg may know yet."""
    has_tag, start = start[:3] == b"ID3", _without_id3(start)
    kind = _matching(start, _AUDIO_STARTS)
    if kind is None and len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        # Two bits of a frame's header name the layer of MPEG audio; AAC has none.
        return "MP3" if start[1] & 0b110 else "AAC"
    return kind or ("MP3" if has_tag else None)


def _matching(start: bytes, marks: Sequence[tuple[int, bytes, str]]) -> str | None:
    return next((kind for place, mark, kind in marks if start[place : place + len(mark)] == mark), None)


def _without_id3(data: bytes) -> bytes:
    """What follows an ID3 tag, whose length is written in four times seven bits."""
    if data[:3] != b"ID3" or len(data) < 10:
        return data
    length = 0
    for byte in data[6:10]:
        length = length << 7 | byte & 0x7F
    return data[10 + length :]


def _check_claim(claimed: str | None, kind: str | None, name: str) -> None:
    if not claimed:
        return
    media, slash, word = claimed.split(";")[0].strip().lower().rpartition("/")
    word = word.removeprefix("x-") if slash else word.rpartition(".")[2]
    expected = _CLAIMED.get(word)
    if expected is not None and kind is not None and expected != kind:
        raise BadRequestError("other_audio_type", f"{name} is said to be {expected}, but its bytes are {kind}")
    if expected is None and slash and media not in ("audio", "video") and word not in ("octet-stream", "ogg"):
        raise BadRequestError("other_audio_type", f"{name} is said to be of a type that is no audio")


def _seconds(data: bytes, kind: str | None, most: float, name: str) -> float:
    if soundfile is None:
        raise ImportError("reading audio needs the packages soundfile and soxr")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames < _UNKNOWN_FRAMES:
                return file.frames / file.samplerate
    except soundfile.LibsndfileError as error:
        if error.code != _UNRECOGNISED:
            raise BadRequestError("truncated_audio", f"{name} is damaged or cut off at its beginning") from None
    return _seconds_by_ffmpeg(data, kind, most, name)


def _seconds_by_ffmpeg(data: bytes, kind: str | None, most: float, name: str) -> float:
    """By the header, else counted, and infinite as soon as there are more than `most`."""
    no_audio = BadRequestError("not_audio", f"{name} is no audio file that can be read (WAV, FLAC, MP3, Ogg, M4A, …)")
    try:
        import av
    except ImportError:
        if kind is None:
            raise no_audio from None
        raise BadRequestError(
            "not_audio", f"{name} is {kind}, which is not read here; send WAV, FLAC or MP3"
        ) from None
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        with av.open(io.BytesIO(data), options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BadRequestError("not_audio", f"there is no sound in {name}")
            return _stream_seconds(container, most, name)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, BadRequestError):
            raise
        if kind is None:
            raise no_audio from None
        raise BadRequestError("truncated_audio", f"{name} is damaged or cut off") from None


def _stream_seconds(container: Any, most: float, name: str) -> float:
    stream = container.streams.audio[0]
    rate = stream.codec_context.sample_rate
    if not 0 < rate <= _HIGHEST_RATE:
        raise BadRequestError("unusable_audio", f"{name}: its header says {rate} Hz, which is no sound")
    if stream.duration and stream.time_base * rate <= 1:  # exact, and then no decoder gives more
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > most * _FFMPEG_SECOND:
        return container.duration / _FFMPEG_SECOND
    samples = 0
    for frame in container.decode(stream):
        samples += frame.samples
        if samples > most * rate:
            return math.inf
    return samples / rate


def _from_base64(text: str, limits: Limits, name: str) -> tuple[bytes, str | None]:
    """The bytes, and the media type where it is a data URI."""
    claimed = None
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise BadRequestError("not_base64", f"{name} is a data URI without ';base64,'")
        claimed = head[5 : -len(";base64")]
    text = "".join(text.split())
    if not text:
        raise BadRequestError("empty_audio", f"{name} is empty: it holds no bytes")
    _check_size(len(text) // 4 * 3 - text[-2:].count("="), limits, name)
    try:
        return base64.b64decode(text, validate=True), claimed
    except (binascii.Error, ValueError):
        raise BadRequestError(
            "not_base64",
            f"{name} is not base64; send the bytes of the file in base64 (paths and addresses are not read)",
        ) from None


# --- The request ---


class _Deadline:
    def __init__(self, seconds: float):
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise BadRequestError(
                "out_of_time", f"the request took more than {self._seconds:g} s; send fewer or shorter clips"
            )


_EXPECTED = {
    "inputs": 'a text, audio, {"audio": …}, {"text": …} or a list of these',
    "inputs.audio": "audio in base64, or a list of it",
    "inputs.text": "a text, or a list of texts",
}


@dataclass(frozen=True)
class _Leaf:
    """One thing to embed: number `index` among the texts or among the clips."""

    modality: str
    index: int


class _Inputs:
    """The texts and clips of a request, and the form in which it had them.

    Attributes:
        texts: to embed.
        clips: bytes of audio files.
        form: a `_Leaf`, or lists and dicts of them.
    """

    def __init__(self, inputs: Any, strings_are: str, limits: Limits, deadline: _Deadline):
        self._limits = limits
        self._deadline = deadline
        self._bytes = 0
        self.texts: list[str] = []
        self.clips: list[bytes] = []
        self.form = self._read(inputs, strings_are, "inputs")

    def _read(self, value: Any, strings_are: str, name: str, in_list: bool = False) -> Any:
        if isinstance(value, list):
            if in_list:
                raise BadRequestError("wrong_type", f"{name} holds a list inside a list; one list is the most")
            if not value:
                raise BadRequestError("missing_inputs", f"{name} is an empty list")
            return [self._read(item, strings_are, name, in_list=True) for item in value]
        if isinstance(value, dict) and name == "inputs":
            return self._read_fields(value, in_list)
        if isinstance(value, (bytes, bytearray)) and name != "inputs.text":
            return self._add_clip(bytes(value), None)
        if isinstance(value, str):
            if strings_are == "text":
                return self._add_text(value)
            return self._add_clip(*_from_base64(value, self._limits, f"clip {len(self.clips)}"))
        raise BadRequestError("wrong_type", f"{name} must be {_EXPECTED[name]}, not {_type_name(value)}")

    def _read_fields(self, value: dict[str, Any], in_list: bool) -> Any:
        _check_names(value, ("audio", "text"), "inputs has a field")
        if not value:
            raise BadRequestError("missing_inputs", "inputs is an empty object; it needs audio or text")
        form = {key: self._read(value[key], key, f"inputs.{key}", in_list) for key in sorted(value)}
        return form if len(form) > 1 else next(iter(form.values()))

    def _add_text(self, text: str) -> _Leaf:
        if len(self.texts) == self._limits.texts:
            raise BadRequestError("too_many_texts", f"at most {self._limits.texts} texts are embedded at once")
        check_description(text, self._limits, f"text {len(self.texts)}")
        self.texts.append(text)
        return _Leaf("text", len(self.texts) - 1)

    def _add_clip(self, data: bytes, claimed: str | None) -> _Leaf:
        self._deadline.check()
        name = f"clip {len(self.clips)}"
        if len(self.clips) == self._limits.clips:
            raise BadRequestError("too_many_clips", f"at most {self._limits.clips} clips are taken at once")
        self._bytes += len(data)
        if self.clips:
            _check_size(self._bytes, self._limits, "the audio of the request")
        check_audio_bytes(data, claimed, self._limits, name)
        self.clips.append(data)
        return _Leaf("audio", len(self.clips) - 1)


def _filled(form: Any, answers: Mapping[str, Sequence[Any]]) -> Any:
    """The form of the request with each leaf's answer in its place."""
    if isinstance(form, _Leaf):
        return answers[form.modality][form.index]
    if isinstance(form, dict):
        return {key: _filled(part, answers) for key, part in form.items()}
    return [_filled(part, answers) for part in form]


@dataclass(frozen=True)
class _Candidates:
    """What clips are compared with.

    Attributes:
        labels: as the request named them.
        texts: the same within the template; these are embedded.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def read(cls, parameters: Any, limits: Limits) -> "_Candidates | None":
        """From `parameters`; None where there are none."""
        if parameters is None:
            return None
        if not isinstance(parameters, dict):
            raise BadRequestError("wrong_type", f"parameters must be an object, not {_type_name(parameters)}")
        _check_names(parameters, _PARAMETERS, "there is a parameter")
        labels, descriptions = parameters.get("candidate_labels"), parameters.get("descriptions")
        template = parameters.get("hypothesis_template")
        if labels is not None and descriptions is not None:
            raise BadRequestError("bad_parameter", "give either candidate_labels or descriptions, they mean the same")
        if labels is None and descriptions is None:
            if template is not None:
                raise BadRequestError("bad_parameter", "hypothesis_template needs candidate_labels to fill it")
            return None
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",")]
        if isinstance(descriptions, str):
            descriptions = [descriptions]
        candidates = labels if labels is not None else descriptions
        check_candidates(candidates, limits)
        return cls(tuple(candidates), _in_template(candidates, template, limits))


def _in_template(labels: Sequence[str], template: Any, limits: Limits) -> tuple[str, ...]:
    if template is None:
        return tuple(labels)
    check_description(template, limits, "hypothesis_template")
    if template.count(_PLACE) != 1:
        raise BadRequestError("bad_parameter", "hypothesis_template must hold {} once, where the label goes")
    texts = tuple(template.replace(_PLACE, label) for label in labels)
    for index, text in enumerate(texts):
        check_description(text, limits, f"candidate {index} within hypothesis_template")
    return texts


def _check_names(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            # A name goes into the log; what is no name could be anything.
            named = f"'{name}'" if re.fullmatch(r"[A-Za-z_]\w{0,39}", str(name), re.ASCII) else "of a strange name"
            raise BadRequestError(
                "unknown_parameter", f"{what} {named}, which is not known; known: {', '.join(known)}"
            )


def _type_name(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a text"}
    names |= {list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), type(value).__name__)


# --- The model folder ---


def check_folder(folder: Path) -> None:
    """Refuses a folder before any code or weights of it are loaded.

    Its configurations may name code of this folder alone (a file `module.py` beside them), and its weights must be
    safetensors, which hold no code.

    Raises:
        EndpointFolderError: a file is missing, is no JSON, or names code elsewhere.
    """
    if not folder.is_dir():
        raise EndpointFolderError(f"{folder}: no such model folder")
    for name in ("config.json", "processor_config.json"):
        if not (folder / name).is_file():
            raise EndpointFolderError(f"{folder}: holds no {name}; is it a folder that `raclap export` wrote?")
    for path in sorted(folder.glob("*config.json")):
        for reference in _code_references(_read_json(path)):
            _check_reference(folder, path.name, reference)
    index = folder / "model.safetensors.index.json"
    shards = ["model.safetensors"]
    if index.is_file():
        shards = sorted(set(_read_json(index).get("weight_map", {}).values()))
    for shard in shards:
        if Path(shard).name != shard or not shard.endswith(".safetensors") or not (folder / shard).is_file():
            raise EndpointFolderError(
                f"{folder}: holds no {shard}; the weights must be safetensors beside config.json"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EndpointFolderError(f"{path}: is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise EndpointFolderError(f"{path}: holds no JSON object")
    return value


def _code_references(value: Any) -> Iterator[Any]:
    """Every class that an `auto_map` anywhere in it names."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "auto_map":
                entries = part.values() if isinstance(part, dict) else [part]
                for entry in entries:
                    yield from (name for name in (entry if isinstance(entry, list) else [entry]) if name is not None)
            else:
                yield from _code_references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _code_references(part)


def _check_reference(folder: Path, file: str, reference: Any) -> None:
    if not isinstance(reference, str) or not re.fullmatch(r"(\w+/)*\w+\.\w+", reference):
        raise EndpointFolderError(
            f"{folder / file}: auto_map names {reference!r}, which is no class of a file in this folder (module.Class)"
        )
    module = f"{reference.rpartition('.')[0]}.py"
    if not (folder / module).is_file():
        raise EndpointFolderError(f"{folder / file}: auto_map names {reference!r}, but the folder holds no {module}")


def _dtype() -> torch.dtype:
    name = os.environ.get("RACLAP_DTYPE", "float32")
    if name not in _DTYPES:
        raise ValueError(f"environment variable RACLAP_DTYPE is {name!r}; expected {' or '.join(_DTYPES)}")
    return _DTYPES[name]


# --- Answers ---


class _LatestTexts:
    """Embeddings of the texts that were asked for last, by text."""

    def __init__(self, most: int):
        self._most = most
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> Tensor | None:
        with self._lock:
            if text in self._rows:
                self._rows.move_to_end(text)
            return self._rows.get(text)

    def put(self, text: str, row: Tensor) -> None:
        with self._lock:
            self._rows[text] = row
            self._rows.move_to_end(text)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)


class EndpointHandler:
    """Answers the requests of an Inference Endpoint.

    The environment may change the limits (`Limits.from_environment`) and, with `RACLAP_DTYPE=bfloat16`, the precision
    of the model (embeddings are single precision in any case, their last digits then are not).

    Args:
        path: the model's folder; the current one if empty.

    Attributes:
        model, processor: as loaded, the model in eval mode on the GPU if there is one.
        limits: what a request may ask for.

    Raises:
        EndpointFolderError: see `check_folder`; or the weights lack some of the model's.
        ValueError: a variable of the environment has no valid value.
    """

    def __init__(self, path: str | Path = ""):
        self.limits = Limits.from_environment()
        folder = Path(path).resolve()
        check_folder(folder)
        self._dtype = _dtype()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, loading = AutoModel.from_pretrained(
            str(folder), trust_remote_code=True, local_files_only=True, use_safetensors=True, dtype=self._dtype,
            output_loading_info=True,
        )  # fmt: skip
        if loading["missing_keys"]:
            raise EndpointFolderError(f"{folder}: the weights lack '{min(loading['missing_keys'])}'")
        self.model = self.model.eval().to(self._device)
        self.processor = AutoProcessor.from_pretrained(str(folder), trust_remote_code=True, local_files_only=True)
        self._texts = _LatestTexts(self.limits.cached_texts)

    def __call__(self, data: dict[str, Any]) -> Any:
        """Answers one request.

        Args:
            data: `inputs` and perhaps `parameters`, as the toolkit decoded them.

                `inputs` is a text, audio (bytes, as audio/… arrives), `{"audio": base64}`, `{"text": text}`, both of
                these in one object, or a list of such. With `candidate_labels` or `descriptions` among the parameters
                it is audio: bytes, base64, `{"audio": base64}`, or a list of such. Base64 may be a data URI.

        Returns:
            Plain lists, dicts and numbers. Without candidates: a unit vector of D numbers in place of each text and
            clip. With candidates, for each clip, best first: `label`, `score` (the calibrated probability
            that it fits, at even odds), `cosine` and `percentile`; of a model without calibration `label` and
            `cosine` alone. What came as a list is answered by a list.

        Raises:
            BadRequestError: its message begins with status and kind.
            RuntimeError: an error of ours; only its type is told.
        """
        try:
            return self._answer(data)
        except BadRequestError as error:
            raise BadRequestError(error.kind, f"{error.status} {error.kind}: {error}") from None
        except Exception as error:
            places = "".join(traceback.format_tb(error.__traceback__))
            _LOGGER.error("%s while answering a request\n%s", type(error).__name__, places)
            raise RuntimeError(f"500 internal_error: {type(error).__name__} while answering the request") from None

    def _answer(self, data: Any) -> Any:
        deadline = _Deadline(self.limits.request_seconds)
        if not isinstance(data, dict):
            raise BadRequestError("wrong_type", f"the request must be an object with inputs, not {_type_name(data)}")
        if data.get("inputs") is None:
            raise BadRequestError("missing_inputs", "the request has no inputs: a text, or audio")
        _check_names(data, ("inputs", "parameters"), "the request has a field")
        candidates = _Candidates.read(data.get("parameters"), self.limits)
        inputs = _Inputs(data["inputs"], "text" if candidates is None else "audio", self.limits, deadline)
        if candidates is not None and inputs.texts:
            raise BadRequestError("wrong_type", "with candidates, inputs must be audio: they hold a text")
        audio = self._embed_clips(inputs.clips, deadline)
        if candidates is not None:
            return _filled(inputs.form, {"audio": self._scores(audio, candidates, deadline)})
        text = self._embed_texts(inputs.texts, deadline)
        return _filled(inputs.form, {"audio": _rounded(audio, 7), "text": _rounded(text, 7)})

    def _scores(self, audio: Tensor, candidates: _Candidates, deadline: _Deadline) -> list[list[dict[str, Any]]]:
        cosines = audio @ self._embed_texts(candidates.texts, deadline).T
        columns = {"cosine": _rounded(cosines, 6)}
        calibration = self.model.calibration
        if calibration is not None:
            probabilities = _rounded(calibration.probability(cosines), 6)
            columns = {"score": probabilities, **columns, "percentile": _rounded(calibration.percentile(cosines), 2)}
        order = cosines.argsort(dim=1, descending=True, stable=True).tolist()
        return [
            [{"label": candidates.labels[k]} | {name: rows[clip][k] for name, rows in columns.items()} for k in best]
            for clip, best in enumerate(order)
        ]

    def _embed_texts(self, texts: Sequence[str], deadline: _Deadline) -> Tensor:
        """(N, D) float32, on the CPU."""
        rows = {text: self._texts.get(text) for text in texts}
        new = sorted((text for text, row in rows.items() if row is None), key=len)
        for first in range(0, len(new), _TEXTS_AT_ONCE):
            deadline.check()
            batch = new[first : first + _TEXTS_AT_ONCE]
            for text, row in zip(batch, self._forward("text", self.processor(text=batch)), strict=True):
                rows[text] = row.clone()  # a view would keep the whole batch in memory
                self._texts.put(text, rows[text])
        return torch.stack([rows[text] for text in texts]) if texts else torch.empty(0)

    def _embed_clips(self, clips: Sequence[bytes], deadline: _Deadline) -> Tensor:
        """(N, D) float32, on the CPU."""
        waveforms = []
        for index, clip in enumerate(clips):
            deadline.check()
            waveforms.append(self._decode(clip, f"clip {index}"))
        rows: dict[int, Tensor] = {}
        longest = int(_AUDIO_SECONDS_AT_ONCE * self.processor.feature_extractor.sampling_rate)
        for batch in _like_lengths([len(waveform) for waveform in waveforms], longest):
            deadline.check()
            inputs = self.processor(audio=[waveforms[index] for index in batch], prepared=True)
            rows.update(zip(batch, self._forward("audio", inputs), strict=True))
        for index, row in rows.items():
            if not torch.isfinite(row).all():
                raise BadRequestError("unusable_audio", f"clip {index} is far too loud: its samples overflow")
        return torch.stack([rows[index] for index in range(len(clips))]) if clips else torch.empty(0)

    def _decode(self, clip: bytes, name: str) -> np.ndarray:
        """(S,) at the tower's rate."""
        extractor = self.processor.feature_extractor
        try:
            waveform = extractor.load(clip)
        except ValueError as error:
            reason = str(error).removeprefix("audio bytes: ")
            kinds = {"silence": "silent_audio", "no samples": "empty_audio", "cut off": "truncated_audio"}
            kind = next((kind for words, kind in kinds.items() if words in reason), "unusable_audio")
            raise BadRequestError(kind, f"{name} cannot be used: {reason}") from None
        seconds, most = len(waveform) / extractor.sampling_rate, extractor.longest_seconds
        if most is not None and seconds > most:
            _refuse_length(name, seconds, most)
        return waveform

    @torch.inference_mode()
    def _forward(self, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """(N, D) float32 unit vectors, on the CPU."""
        moved = {
            name: value.to(self._device, self._dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }
        embed = self.model.get_audio_features if modality == "audio" else self.model.get_text_features
        return F.normalize(embed(**moved).pooler_output.float(), dim=-1).cpu()


def _like_lengths(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Indices in batches of like length, each at most `most` samples when padded, or a single clip."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and (len(batch) + 1) * lengths[index] > most:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _rounded(values: Tensor, digits: int) -> list[Any]:
    """Plain numbers: (N, K) to N lists."""
    return [[round(value, digits) for value in row] for row in values.tolist()]
