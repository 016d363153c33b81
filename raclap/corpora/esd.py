"""ESD: ten speakers of English and ten of Mandarin say 350 sentences each in five emotions.

`0011/Sad/0011_001348.wav`, in some copies one folder deeper (`0011/Sad/test/...`, train, evaluation, test), and
`0011/0011.txt`: identifier, sentence and emotion between tabs. Speakers 0001-0010 speak Mandarin, 0011-0020 English.
The emotion is that of the folder.

The files of sentences are not alike: ten are UTF-16, five of the Mandarin ones GB2312, two of the English ones
Latin-1 or Windows-1252, the others UTF-8; some lines lack a tab. They are told apart by their bytes and by what comes
out: Han characters, or none. A recording without a sentence has no transcript.

The folders train, evaluation and test share all speakers. By default the splits here are by speaker, and each has
both sexes in both languages; `splits` takes the folders instead (train=train validation=evaluation test=test).

Source: Zhou et al. (2021), Seen and unseen emotional style transfer for voice conversion with a new emotional speech
dataset, ICASSP.
"""

import codecs
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from raclap.corpora.listing import (
    CorpusListing,
    collect,
    describe,
    find_recordings,
    look_up,
    split_by_speaker,
    tables_of_splits,
)
from raclap.data.manifest import Pair
from raclap.errors import ManifestError

LICENCE = "ESD: for research only"
_MEN = ("0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020")
_MANDARIN = tuple(f"{number:04d}" for number in range(1, 11))
_ENGLISH = tuple(f"{number:04d}" for number in range(11, 21))
SPEAKERS = _MANDARIN + _ENGLISH
_VALIDATION, _TEST = ("0007", "0008", "0014", "0018"), ("0009", "0010", "0019", "0020")
_TRAIN = tuple(speaker for speaker in SPEAKERS if speaker not in _VALIDATION + _TEST)
_FOLDERS = {"train": "train", "validation": "evaluation", "test": "test"}
_EMOTIONS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprised"}

# Speaker, emotion, perhaps a split, and recording in a path below the root.
_PATH = re.compile(r"(?:.*/)?(\d{4})/([A-Za-z]+)/(?:([A-Za-z]+)/)?((\d{4})_\d{6})")
# Identifier, sentence, and perhaps the emotion: in English or in the Mandarin of the release.
_LINE = re.compile(
    r"(\d{4}_\d{6})\s+(.*?)\s*(?:\b(?:Angry|Happy|Neutral|Sad|Surprise)|生气|快乐|中立|伤心|惊喜)?\s*", re.IGNORECASE
)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def read(
    root: Path,
    skip_bad: bool = False,
    *,
    train_speakers: tuple[str | int, ...] = _TRAIN,
    validation_speakers: tuple[str | int, ...] = _VALIDATION,
    test_speakers: tuple[str | int, ...] = _TEST,
    splits: Mapping[str, str] = {},
    captions: int = 6,
    workers: int | None = None,
) -> CorpusListing:
    """Reads the recordings of both languages.

    Args:
        root: the folder that holds `0001` and so on.
        skip_bad: list misnamed and unusable recordings instead of stopping at the first.
        train_speakers, validation_speakers, test_speakers: of each split; a speaker in none is left out.
        splits: folder of each split, where the released division is wanted; the speakers named above are then all
            that are read, whichever split they are named for.
        captions: most captions a clip.
        workers: processes that measure; None takes one a core.

    Raises:
        ManifestError: there are no recordings, a path is not as released, or a file of sentences cannot be decoded.
        AudioError: a recording cannot be measured.
        RecipeError: a speaker does not exist or is in two splits; there is no such split.
    """
    root = Path(root)
    speakers = split_by_speaker(SPEAKERS, train=train_speakers, validation=validation_speakers, test=test_speakers)
    paths = find_recordings(root, "**", "0011/Sad/0011_001348.wav and so on")
    folders = {theirs: ours for ours, theirs in tables_of_splits(_FOLDERS, splits)} if splits else None
    parse = partial(_parse, root, speakers, folders, _Sentences())
    return describe(collect(root, paths, parse, skip_bad), root, captions=captions, skip_bad=skip_bad, workers=workers)


def _parse(
    root: Path, speakers: dict[str, str], folders: Mapping[str, str] | None, sentences: "_Sentences", path: Path
) -> Pair | str:
    match = _PATH.fullmatch(path.relative_to(root).with_suffix("").as_posix())
    if match is None:
        raise ManifestError(f"{path}: expected speaker, emotion and recording, as in 0011/Sad/0011_001348.wav")
    speaker, folder, part, name, named = match.groups()
    if named != speaker:
        raise ManifestError(f"{path}: speaker '{named}'; expected the one of folder {speaker}")
    look_up(path, "speaker", speaker, dict.fromkeys(SPEAKERS))
    emotion = look_up(path, "emotion", folder.capitalize(), _EMOTIONS)
    if speaker not in speakers:
        return f"speaker {speaker} is in no split"
    if folders is not None and part not in folders:
        if part in _FOLDERS.values():
            return f"folder {part} is in no split"
        raise ManifestError(f"{path}: folder '{part or folder}' is no split; expected {', '.join(folders)}")
    sex = "male" if speaker in _MEN else "female"
    home = path.parents[2 if part else 1]
    return Pair(
        pair_id=f"esd_{name}",
        audio=path.relative_to(root).as_posix(),
        captions=(),
        corpus="esd",
        split=speakers[speaker] if folders is None else folders[part],
        transcript=sentences.of(home / f"{speaker}.txt").get(name),
        speaker=f"esd_{speaker}",
        sex=sex,
        language="zh" if speaker in _MANDARIN else "en",
        emotion=emotion,
        attributes={"emotion": emotion, "sex": sex},
        licence=LICENCE,
    )


class _Sentences:
    """The sentences of each speaker, read when first asked for."""

    def __init__(self) -> None:
        self._files: dict[Path, dict[str, str]] = {}

    def of(self, path: Path) -> dict[str, str]:
        """The sentence of each recording; none where the file is missing, or empty on a line.

        Raises:
            ManifestError: the file is in none of the encodings of the release.
        """
        if path not in self._files:
            self._files[path] = _read_sentences(path) if path.is_file() else {}
        return self._files[path]


def _read_sentences(path: Path) -> dict[str, str]:
    text = _decoded(path.read_bytes(), path.stem in _MANDARIN)
    if text is None:
        raise ManifestError(f"{path}: expected UTF-8, UTF-16, GB 18030 or Windows-1252 text")
    lines = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] for match in lines if match and match[2]}


def _decoded(content: bytes, mandarin: bool) -> str | None:
    """The text, by the first encoding that fits the bytes and gives the characters of the language."""
    if not content.strip():
        return ""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content[:2]:
        encodings = ["utf-16-le" if content[1] == 0 else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "gb18030", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if mandarin == bool(_HAN.search(text)):
            return text
    return None
