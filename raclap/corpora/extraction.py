"""Audio from inside rows and archives, written as files below a folder: whole or not at all, and once."""

from pathlib import Path

from raclap.corpora.listing import AUDIO_SUFFIXES
from raclap.errors import ManifestError
from raclap.files import replacing

# How recordings begin, where no name tells what they are.
_BEGINNINGS = {
    b"RIFF": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    b"\xff\xfb": ".mp3",
    b"\xff\xf3": ".mp3",
    b"\xff\xf2": ".mp3",
    b"FORM": ".aiff",
    b"\x1aE\xdf\xa3": ".webm",
}


def audio_suffix(name: str | None, audio: bytes) -> str | None:
    """What a recording is to be called, told by its name or by its first bytes; None where neither tells it.

    Example:
        >>> audio_suffix("a.FLAC", b""), audio_suffix(None, b"RIFF...."), audio_suffix("a.txt", b"hello")
        ('.flac', '.wav', None)
    """
    suffix = Path(name or "").suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return suffix
    if audio[4:8] == b"ftyp":
        return ".m4a"
    return next((known for beginning, known in _BEGINNINGS.items() if audio.startswith(beginning)), None)


def write_audio(folder: Path, path: str, audio: bytes) -> None:
    """Writes a recording, unless it is there already.

    Args:
        folder: that all are written below.
        path: below it, see `below_root`.
        audio: the bytes of the file.

    Raises:
        ManifestError: another file lies there, a link leads out of the folder, or it cannot be written.
    """
    target = folder / path
    try:
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ManifestError(f"{target}: a link leads out of {folder}")
        if target.is_file():
            if target.read_bytes() != audio:
                raise ManifestError(f"{target}: another recording is there; --extract-to names another folder")
            return
        with replacing(target) as beside:
            beside.write_bytes(audio)
    except (OSError, RuntimeError) as error:
        raise ManifestError(f"{target}: cannot be written ({error})") from error
