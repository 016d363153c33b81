"""What people send the page: clips and descriptions, checked before anything is computed with them.

Whatever is wrong with them is said in one sentence: a `BadRequestError` is shown where the answer would have been.
"""

from pathlib import Path

import numpy as np

from modeling_raclap import RaClapFeatureExtractor
from modeling_raclap.handler import BadRequestError, check_audio_bytes, check_candidates, check_description


def read_clip(path: str | None) -> bytes:
    """The bytes of an uploaded clip, of a size and a length that can be judged.

    Args:
        path: where the upload lies; None: there is none.

    Raises:
        BadRequestError: no clip was given, or it is empty, too large, too long by its header, no sound, or of another
            type than its name says.
    """
    if not path:
        raise BadRequestError("missing_inputs", "there is no clip yet: record one, drop a file or take an example")
    file = Path(path)
    data = file.read_bytes()
    check_audio_bytes(data, claimed=file.name, name="the clip")
    return data


def decode_clip(data: bytes, extractor: RaClapFeatureExtractor) -> np.ndarray:
    """Decodes a checked clip as the speech tower reads it: (S,) float32.

    Raises:
        BadRequestError: it cannot be decoded, is silent, or longer than the tower reads.
    """
    try:
        waveform = extractor.load(data)
    except ValueError as error:
        reason = str(error).removeprefix("audio bytes: ")
        raise BadRequestError("unusable_audio", f"the clip cannot be judged: {reason}") from error
    seconds, longest = len(waveform) / extractor.sampling_rate, extractor.longest_seconds
    if longest is not None and seconds > longest:
        raise BadRequestError(
            "audio_too_long", f"the clip is {seconds:.1f} s long; this model reads at most {longest:g} s"
        )
    return waveform


def read_descriptions(text: str | None) -> list[str]:
    """Descriptions, one a line; empty lines are passed over and repeated ones dropped.

    Raises:
        BadRequestError: there is none, there are too many, or one is too long.

    Example:
        >>> read_descriptions("a calm voice\\n\\n a child \\na calm voice")
        ['a calm voice', 'a child']
    """
    lines = list(dict.fromkeys(line.strip() for line in (text or "").splitlines() if line.strip()))
    if not lines:
        raise BadRequestError("empty_text", "there is no description yet: write in words how the voice may sound")
    for number, line in enumerate(lines, start=1):
        check_description(line, name=f"description {number}")
    check_candidates(lines)
    return lines


def read_description(text: str | None) -> str:
    """A description to search for.

    Raises:
        BadRequestError: it is empty or too long.
    """
    check_description(text or "")
    return text.strip()
