"""Real clips in a model folder, and what the model says of them: the examples of its card.

No hosted widget runs a model with code of its own, so the output is computed here and shown as it is.

Shapes: S samples, k labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.audio import decode
from raclap.data.manifest import Manifest, Pair
from raclap.hub.licences import find_licence

FOLDER = "examples"
LONGEST_SECONDS = 10.0

_LABELS = 5
_MOST_ROWS = 500  # of a corpus that examples are chosen from
_LONGEST_CAPTION = 80  # characters, as a label
# Said only of voices that differ from most.
_UNMARKED = frozenset({"normal", "neutral", "medium", "modal", "adult", "unknown", "average", "moderate"})
_SPEAKERS = {"female": "woman", "male": "man"}
_CHILDREN = {"female": "girl", "male": "boy"}
_ASPECTS = {"pitch": "{} pitch", "speed": "{} speech", "volume": "{} volume", "texture": "{} voice"}
# Of a model whose corpora are not at hand.
_PLAIN_LABELS = ("a woman", "a man", "a sad voice", "an excited voice", "fast speech")


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording to be shown.

    Attributes:
        waveform: (S,) float32, mono.
        rate: Hz, that of the model.
        title: what a person reads over it.
        source: corpus and licence, or file; for attribution.
    """

    waveform: np.ndarray
    rate: int
    title: str
    source: str


@dataclass(frozen=True, eq=False)
class Example:
    """A clip, and how well descriptions fit it in the eyes of the model.

    Attributes:
        clip: the recording.
        scores: descriptions and scores, best first.
        calibrated: whether scores are probabilities that each fits; else they are shares that add up to 1.
    """

    clip: Clip
    scores: tuple[tuple[str, float], ...]
    calibrated: bool

    @property
    def title(self) -> str:
        """What a person reads over it."""
        return self.clip.title

    def file(self, number: int) -> str:
        """Where it lies in the model folder; numbers count from 1."""
        return f"{FOLDER}/{number}.flac"


def clips_of_files(files: Sequence[Path], rate: int, count: int) -> list[Clip]:
    """The first recordings of a list.

    Args:
        files: any format that is read.
        rate: Hz, of the model.
        count: at most.

    Raises:
        AudioError: a recording cannot be read; the message names it.
    """
    return [
        Clip(_beginning(decode(path, rate), rate), rate, path.stem.replace("_", " "), path.name)
        for path in files[:count]
    ]


def clips_of_corpora(corpora: Sequence[Manifest], rate: int, count: int) -> tuple[list[Clip], list[str]]:
    """Clips of a run's own corpora that may be handed on, as unlike in style as can be, and descriptions to try.

    Args:
        corpora: rows that the model was not trained on.
        rate: Hz, of the model.
        count: of the clips, at most; from one corpus after the other.

    Returns:
        Clips and labels: of each clip its own description, and descriptions of other styles. Both may be empty.

    Raises:
        AudioError: a recording cannot be read.
    """
    rows = [[(corpus, pair) for pair in islice(corpus, _MOST_ROWS)] for corpus in corpora]
    allowed = [[own for own in each if _may_be_handed_on(own[1])] for each in rows]
    chosen = _unlike(allowed, count)
    clips = []
    for corpus, pair in chosen:
        waveform = decode(corpus.audio_path(pair), rate, pair.start, pair.end)
        source = f"{pair.corpus} ({find_licence(pair.licence).name})"
        clips.append(Clip(_beginning(waveform, rate), rate, describe(pair) or pair.pair_id, source))
    others = _unlike(rows, 4 * _LABELS)
    labels = dict.fromkeys(label for _, pair in [*chosen, *others] if (label := describe(pair)))
    return clips, list(labels)[: max(_LABELS, len(chosen))]


@torch.inference_mode()
def make_examples(
    model: RaClapModel, processor: RaClapProcessor, clips: Sequence[Clip], labels: Sequence[str]
) -> tuple[Example, ...]:
    """Scores every description on every clip: as probabilities where the model is calibrated, else by softmax.

    Args:
        model, processor: the model, in eval mode.
        clips: what is heard.
        labels: k descriptions; none: some plain ones.
    """
    if not clips:
        return ()
    labels = tuple(labels) or _PLAIN_LABELS
    inputs = processor(text=list(labels), audio=[clip.waveform for clip in clips], sampling_rate=clips[0].rate)
    output = model(**inputs.to(model.device))
    calibrated = model.calibration is not None
    if calibrated:
        scores = model.match_probability(output.audio_embeds, output.text_embeds)
    else:
        scores = output.logits_per_audio.softmax(dim=1)
    return tuple(
        Example(clip, tuple(sorted(zip(labels, _rounded(row), strict=True), key=lambda pair: -pair[1])), calibrated)
        for clip, row in zip(clips, scores, strict=True)
    )


def write_examples(examples: Sequence[Example], folder: Path) -> None:
    """Writes `examples/1.flac`, ... into a model folder: mono, 16 bits, at the model's rate."""
    for number, example in enumerate(examples, 1):
        path = folder / example.file(number)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, example.clip.waveform, example.clip.rate, format="FLAC", subtype="PCM_16")


def describe(pair: Pair) -> str:
    """A short description of how a clip sounds, by its attributes, or by a caption that is short; else empty.

    Example:
        >>> heard = {"sex": "female", "emotion": "sad", "pitch": "low"}
        >>> describe(Pair("1", "1.wav", (), "corpus", "test", attributes=heard))
        'a sad woman, low pitch'
    """
    said = {name: value for name, value in pair.attributes.items() if value and value not in _UNMARKED}
    if not pair.attributes:
        captions = sorted((caption.text for caption in pair.captions), key=len)
        return captions[0] if captions and len(captions[0]) <= _LONGEST_CAPTION else ""
    age, emotion = said.pop("age", ""), said.pop("emotion", "")
    sexes = _CHILDREN if age == "child" else _SPEAKERS
    who = sexes.get(said.pop("sex", ""), "child" if age == "child" else "voice")
    words = [emotion, "" if age == "child" else age, who]
    subject = " ".join(word for word in words if word)
    aspects = [_ASPECTS.get(name, "{} " + name).format(value) for name, value in said.items()]
    return ", ".join([f"{_article(subject)} {subject}", *aspects])


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def _rounded(row: torch.Tensor) -> list[float]:
    return [round(score, 4) for score in row.tolist()]


def _beginning(waveform: np.ndarray, rate: int) -> np.ndarray:
    return waveform[: round(LONGEST_SECONDS * rate)]


def _may_be_handed_on(pair: Pair) -> bool:
    return pair.licence is not None and find_licence(pair.licence).hand_on


def _unlike(corpora: Sequence[Sequence[tuple[Manifest, Pair]]], count: int) -> list[tuple[Manifest, Pair]]:
    """Takes rows of each corpus in turn, every time the one that differs most from those taken already."""
    chosen: list[tuple[Manifest, Pair]] = []
    left = [list(rows) for rows in corpora if rows]
    while left and len(chosen) < count:
        rows = left.pop(0)
        best = max(rows, key=lambda row: min((_distance(row[1], other) for _, other in chosen), default=0))
        if chosen and not min(_distance(best[1], other) for _, other in chosen):
            continue  # nothing new in this corpus
        chosen.append(best)
        rows.remove(best)
        if rows:
            left.append(rows)
    return chosen


def _distance(one: Pair, other: Pair) -> int:
    """In how many attributes two clips differ; without attributes, whether their styles or captions do."""
    if one.attributes or other.attributes:
        names = one.attributes.keys() | other.attributes.keys()
        return sum(one.attributes.get(name) != other.attributes.get(name) for name in names)
    return int((one.style_key, one.captions[0].text) != (other.style_key, other.captions[0].text))
