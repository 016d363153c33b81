"""Three corpora of synthetic speech in the manner of PromptSpeech, TextrolSpeech and SpeechCraft.

They are made, not downloaded: espeak-ng speaks, every attribute is known exactly, and each one can be heard.
They show that the whole road works; they say nothing of natural speech.

- `prompt_like`: sex, pitch, speed and volume; short captions name all four; combinations equally frequent.
- `textrol_like`: emotion as well, with valence and arousal; a caption names a part of what is known.
- `craft_like`: age and voice texture as well; long captions that quote what is said and name a part.

Splits share no voice, no sentence and no caption template, and no voice speaks in two corpora.
"""

import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from tqdm import tqdm

from raclap.corpora.espeak import SAMPLE_RATE, Synthesiser
from raclap.corpora.prosody import (
    EMOTIONS,
    GESTURES,
    PITCH,
    SPEED,
    TEXTURES,
    VOLUME,
    Delivery,
    deliver,
    voice_lines,
)
from raclap.corpora.synthetic_captions import ATTRIBUTES, TEMPLATES, describe
from raclap.corpora.synthetic_sentences import draw_sentences
from raclap.corpora.synthetic_voices import SEXES, Speaker, cast
from raclap.data.manifest import SPLITS, Caption, Pair, write_manifest
from raclap.errors import RaClapError
from raclap.files import replacing, write_json

VERSION = 2  # of everything that decides what a build contains

# The text, captions and sound are ours. espeak-ng is GPL-3 or later; its licence does not reach what it says.
LICENCE = "CC0-1.0"

_SILENCE = SAMPLE_RATE // 10  # before and after the speech
_PEAK = 32_000
_UNMARKED = ("normal", "neutral", "modal", "adult")  # values that are no tag
_DONE, _UNDER_WAY = "build.json", "unfinished.json"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a corpus holds.

    Attributes:
        clips: their number in each split at scale 1.
        attributes: what is known of a clip.
        ages: of the speakers.
        voices: speakers of each sex and age in each split.
        captions: captions of a clip in each split.
        least_named: fewest attributes that a caption names.
    """

    clips: dict[str, int]
    attributes: tuple[str, ...]
    ages: tuple[str, ...]
    voices: dict[str, int]
    captions: dict[str, int]
    least_named: int


def _each(train: int, validation: int, test: int) -> dict[str, int]:
    return dict(zip(SPLITS, (train, validation, test), strict=True))


SPECS: dict[str, Spec] = {
    "prompt_like": Spec(
        clips=_each(600, 150, 720),
        attributes=("sex", "pitch", "speed", "volume"),
        ages=("adult",),
        voices=_each(12, 4, 4),
        captions=_each(2, 1, 1),
        least_named=4,
    ),
    "textrol_like": Spec(
        clips=_each(1500, 200, 400),
        attributes=("sex", "pitch", "speed", "volume", "emotion"),
        ages=("adult",),
        voices=_each(12, 4, 4),
        captions=_each(3, 1, 1),
        least_named=2,
    ),
    "craft_like": Spec(
        clips=_each(3000, 200, 400),
        attributes=ATTRIBUTES,
        ages=("child", "adult", "old"),
        voices=_each(6, 2, 2),
        captions=_each(2, 1, 1),
        least_named=3,
    ),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """A manifest row and how its clip is spoken."""

    pair: Pair
    speaker: Speaker
    delivery: Delivery


def default_cache() -> Path:
    """`$RACLAP_CACHE`, else `~/.cache/raclap/corpora`."""
    named = os.environ.get("RACLAP_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "raclap" / "corpora"


def plan(name: str, scale: float = 1.0, seed: int = 0) -> list[Utterance]:
    """Decides who says what, and how, and what the captions say of it; speaks nothing.

    Args:
        name: of `SPECS`.
        scale: factor on the numbers of clips.
        seed: another one gives other voices, deliveries and captions.

    Raises:
        RaClapError: there is no such corpus, or the scale is not positive.
    """
    if name not in SPECS:
        raise RaClapError(f"no synthetic corpus '{name}'; there are {', '.join(SPECS)}")
    if not scale > 0:
        raise RaClapError(f"the scale of a synthetic corpus is above 0, not {scale}")
    return [utterance for split in SPLITS for utterance in _plan_split(name, split, scale, seed)]


def build(
    cache: Path,
    names: Sequence[str] | None = None,
    scale: float = 1.0,
    seed: int = 0,
    jobs: int | None = None,
) -> dict[str, Path]:
    """Speaks the corpora, once; a build that was broken off is finished, a different one is replaced.

    Args:
        cache: gets a folder for each corpus, with `manifest.parquet` and `audio/<split>/<pair_id>.flac`.
        names: of `SPECS`; None means all.
        scale: factor on the numbers of clips.
        seed: decides everything else.
        jobs: processes that speak; None takes one for each processor.

    Returns:
        The manifests by corpus.

    Raises:
        RaClapError: espeak-ng is not installed, a name is unknown, or a folder in the way is not a build.
    """
    manifests = {}
    for name in SPECS if names is None else names:
        folder = Path(cache) / name
        utterances = plan(name, scale, seed)
        manifests[name] = folder / "manifest.parquet"
        key = {"corpus": name, "version": VERSION, "scale": scale, "seed": seed, "clips": len(utterances)}
        if read_record(folder / _DONE) == key and manifests[name].is_file():
            continue
        Synthesiser().close()  # so that a missing espeak-ng is found before a former build is removed
        _make_room(folder, key)
        missing = [u for u in utterances if not (folder / u.pair.audio).is_file()]
        speak_all(missing, folder, jobs or os.cpu_count() or 1, name)
        write_manifest(manifests[name], (u.pair for u in utterances), folder)
        write_json(folder / _DONE, key)
        (folder / _UNDER_WAY).unlink(missing_ok=True)
    return manifests


def read_record(path: Path) -> dict | None:
    """What was recorded of a build; None where nothing was."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _make_room(folder: Path, key: dict) -> None:
    """Leaves the folder empty or with clips of the same build."""
    if read_record(folder / _UNDER_WAY) == key:
        return
    ours = (folder / _DONE).is_file() or (folder / _UNDER_WAY).is_file()
    if folder.exists() and any(folder.iterdir()) and not ours:
        raise RaClapError(f"{folder}: is not empty and not a synthetic corpus; choose another cache folder")
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / _UNDER_WAY, key)


def random_named(*parts: object) -> Random:
    """A generator that depends on its name alone: Python's own hash of text differs between processes."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return Random(int.from_bytes(digest, "big"))


def _plan_split(name: str, split: str, scale: float, seed: int) -> Iterator[Utterance]:
    spec = SPECS[name]
    count = max(2, round(spec.clips[split] * scale))
    rng = random_named(name, split, seed)
    speakers = speakers_of(name, split, seed)
    turns = {sex: _endless([s for s in speakers if s.sex == sex], rng) for sex in SEXES}
    styles = _endless(intentions(spec), rng)
    texts = draw_sentences(split, count, rng)
    for index, text in enumerate(texts):
        intended = dict(next(styles))
        speaker = next(turns[intended.pop("sex")])
        delivery = deliver(rng, **intended)
        pair = _pair(name, split, index, text=text, speaker=speaker, delivery=delivery, rng=rng)
        yield Utterance(pair, speaker, delivery)


def speakers_of(name: str, split: str, seed: int = 0) -> list[Speaker]:
    """The voices that are cast in a split of a corpus."""
    spec = SPECS[name]
    return cast(f"{name}-{split}", spec.ages, spec.voices[split], random_named("voices", name, split, seed))


def intentions(spec: Spec) -> list[dict[str, str]]:
    """All combinations of sex and intended delivery, so that dealing them out balances the classes."""
    values = {
        "sex": SEXES,
        "pitch": tuple(PITCH),
        "speed": tuple(SPEED),
        "volume": tuple(VOLUME),
        "emotion": EMOTIONS,
        "texture": TEXTURES,
    }
    values = {name: values[name] for name in values if name in spec.attributes}
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def _endless(items: list, rng: Random) -> Iterator:
    """Deals all items in random order, then all again."""
    while True:
        yield from rng.sample(items, len(items))


def _pair(name: str, split: str, index: int, *, text: str, speaker: Speaker, delivery: Delivery, rng: Random) -> Pair:
    spec = SPECS[name]
    style = style_of(spec, speaker, delivery)
    pair_id = f"{name}-{split}-{index:05d}"
    emotional = "emotion" in spec.attributes
    return Pair(
        pair_id=pair_id,
        audio=f"audio/{split}/{pair_id}.flac",
        captions=_captions(name, split, style, text, rng),
        corpus=name,
        split=split,
        transcript=text,
        speaker=speaker.name,
        sex=speaker.sex,
        age=speaker.age,
        language="en",
        emotion=delivery.emotion if emotional else None,
        valence=delivery.valence if emotional else None,
        arousal=delivery.arousal if emotional else None,
        attributes=style,
        tags=tuple(value for value in style.values() if value not in _UNMARKED),
        style_key="|".join(f"{key}={style[key]}" for key in sorted(style)),
        licence=LICENCE,
    )


def style_of(spec: Spec, speaker: Speaker, delivery: Delivery) -> dict[str, str]:
    """The attributes of a clip, as they are heard."""
    known = {name: getattr(speaker if name in ("sex", "age") else delivery, name) for name in spec.attributes}
    if delivery.texture == "whispered":
        del known["pitch"]  # a whisper has none
    return known


def _captions(name: str, split: str, style: dict[str, str], text: str, rng: Random) -> tuple[Caption, ...]:
    spec = SPECS[name]
    captions = []
    for template in rng.sample(TEMPLATES[name][split], spec.captions[split]):
        names = _named(spec, style, rng)
        quote = text.removesuffix(".")
        text_of_caption = describe(template, style, names, quote=quote, rng=rng)
        captions.append(Caption(text_of_caption, names))
    return tuple(captions)


def _named(spec: Spec, style: dict[str, str], rng: Random) -> tuple[str, ...]:
    """The attributes that a caption names: all, or a random part that holds two of the manner of speaking."""
    known = [name for name in ATTRIBUTES if name in style]
    if spec.least_named >= len(known):
        return tuple(known)
    manner = [name for name in known if name not in ("sex", "age")]
    chosen = set(rng.sample(manner, 2))
    if style["emotion"] != "neutral" and rng.random() < 0.8:
        chosen.add("emotion")
    others = [name for name in known if name not in chosen]
    wanted = rng.randint(spec.least_named, len(known))
    chosen.update(rng.sample(others, max(0, min(wanted - len(chosen), len(others)))))
    return tuple(name for name in known if name in chosen)


def speak_all(utterances: Sequence[Utterance], folder: Path, jobs: int, name: str) -> None:
    """Speaks clips into the files below a folder that their rows name.

    Args:
        utterances: what to say.
        folder: the audio root.
        jobs: processes that speak.
        name: of the whole, for the progress bar.
    """
    batches = [utterances[at : at + 16] for at in range(0, len(utterances), 16)]
    work = [(batch, folder) for batch in batches]
    with tqdm(total=len(utterances), desc=f"speaking {name}", unit="clip") as bar:
        for done in _spread(work, min(jobs, len(work))):
            bar.update(done)


def _spread(work: list[tuple[list[Utterance], Path]], jobs: int) -> Iterable[int]:
    if jobs <= 1:
        yield from map(_speak_batch, work)
        return
    # Started afresh, because a fork of a process with threads, such as PyTorch's, may hang.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_speak_batch, work)


def _speak_batch(job: tuple[list[Utterance], Path]) -> int:
    import soundfile

    utterances, folder = job
    with Synthesiser() as synthesiser:
        for utterance in utterances:
            samples = speak(utterance, synthesiser)
            with replacing(folder / utterance.pair.audio) as beside:
                soundfile.write(beside, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(utterances)


def speak(utterance: Utterance, synthesiser: Synthesiser) -> np.ndarray:
    """Speaks one utterance.

    Returns:
        Samples, int16, at `SAMPLE_RATE`, with a tenth of a second of silence at either end.
    """
    delivery = utterance.delivery
    samples = synthesiser.speak(
        utterance.pair.transcript,
        voice_lines(utterance.speaker, delivery),
        accent=utterance.speaker.accent,
        rate=delivery.rate,
        word_gap=GESTURES[delivery.emotion].word_gap,
        volume=50,
    )
    return np.pad(_at_level(samples, delivery.level), _SILENCE)


def _at_level(samples: np.ndarray, level: float) -> np.ndarray:
    """Scales to a root mean square in dBFS, or as near as the peak allows.

    In integers, so that the samples are the same on every machine.
    """
    wide = samples.astype(np.int64)
    now = math.isqrt(int((wide * wide).sum()) // len(wide))
    wanted = round(32_768 * 10 ** (level / 20))
    peak = int(np.abs(wide).max())
    if wanted * peak > _PEAK * now:
        wanted, now = _PEAK, peak
    return ((wide * wanted + now // 2) // now).astype(np.int16)
