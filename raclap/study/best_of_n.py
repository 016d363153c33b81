"""Best of N: each prompt is spoken N times with random settings, and a model chooses by the prompt alone.

The voices, sentences and caption templates are those of an embedded corpus's test split, so every attribute of every
take is known exactly and no model has seen any of them. How often the chosen take has what the prompt asks for stands
between random choice (the exact expectation, not a draw) and the best that could be chosen.

Shapes: P prompts, N takes of a prompt, A attributes of the corpus.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from raclap.corpora.espeak import Synthesiser
from raclap.corpora.prosody import deliver
from raclap.corpora.synthetic import (
    SPECS,
    VERSION,
    Utterance,
    intentions,
    random_named,
    read_record,
    speak_all,
    speakers_of,
    style_of,
)
from raclap.corpora.synthetic_captions import ATTRIBUTES, PLAIN, describe
from raclap.corpora.synthetic_sentences import draw_sentences
from raclap.corpora.synthetic_voices import Speaker
from raclap.data.manifest import Caption, Pair
from raclap.errors import RaClapError
from raclap.files import write_json
from raclap.retrieval.rerank import Request, Reranker
from raclap.retrieval.statistics import bootstrap_interval, paired_difference

_SPLIT = "test"
_OF_SPEAKER = ("sex", "age")
_RECORD = "best_of_n.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked and how often it is spoken.

    Attributes:
        corpus: embedded corpus that voices, attributes and templates are those of.
        prompts: P.
        takes: N of each prompt.
        least, most: attributes that a prompt names, one of the manner of speaking at least.
        seed: decides everything else.
    """

    corpus: str = "craft_like"
    prompts: int = 200
    takes: int = 10
    least: int = 2
    most: int = 4
    seed: int = 0

    def __post_init__(self):
        if self.corpus not in SPECS:
            raise RaClapError(f"no synthetic corpus '{self.corpus}'; there are {', '.join(SPECS)}")
        if self.prompts < 2 or self.takes < 2:
            raise RaClapError("best of N needs at least 2 prompts, each spoken at least twice")
        known = len(SPECS[self.corpus].attributes)
        if not 1 <= self.least <= self.most <= known:
            raise RaClapError(
                f"a prompt names {self.least} to {self.most} attributes; expected 1 to {known}, the least first"
            )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A description, and the same as values.

    Attributes:
        text: the sentence that the model reads.
        asked: the values that it names, by attribute.
        transcript: what every take says.
    """

    text: str
    asked: dict[str, str]
    transcript: str


@dataclass(frozen=True, eq=False)
class Trial:
    """Prompts and their takes, nothing spoken yet.

    Attributes:
        prompts: P.
        takes: P · N, those of a prompt side by side.
        holds: (P, N, A) 1 where an asked attribute holds, 0 where it does not, NaN where it is not asked for.
    """

    setting: Setting
    prompts: tuple[Prompt, ...]
    takes: tuple[Utterance, ...]
    holds: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(P, N) share of the asked attributes that hold."""
        return np.nanmean(self.holds, axis=2)

    @property
    def complete(self) -> np.ndarray:
        """(P, N) 1 where everything asked for holds, else 0."""
        return np.nanmin(self.holds, axis=2)

    def requests(self, folder: Path) -> list[Request]:
        """Each prompt with its takes as files below a folder."""
        N = self.setting.takes
        files = [str(folder / take.pair.audio) for take in self.takes]
        return [Request(tuple(files[N * row : N * row + N]), prompt.text) for row, prompt in enumerate(self.prompts)]


def draw_trial(setting: Setting) -> Trial:
    """Draws prompts, and settings of their takes that know nothing of the prompt."""
    rng = random_named("best of n", *asdict(setting).values())
    speakers, styles = speakers_of(setting.corpus, _SPLIT), intentions(SPECS[setting.corpus])

    def take(pair_id: str, text: str) -> Utterance:
        return _take(setting.corpus, pair_id, text, speakers, styles, rng)

    prompts, takes = [], []
    for row, text in enumerate(draw_sentences(_SPLIT, setting.prompts, rng)):
        # What is asked for can be spoken: it is part of what a random setting gives.
        prompts.append(_prompt(setting, take("asked", text).pair, rng))
        takes += [take(f"prompt{row:04d}-take{number:02d}", text) for number in range(setting.takes)]
    attributes = SPECS[setting.corpus].attributes
    holds = np.full((setting.prompts, setting.takes, len(attributes)), np.nan)
    for place, spoken in enumerate(takes):
        row, column = divmod(place, setting.takes)
        for name, value in prompts[row].asked.items():
            holds[row, column, attributes.index(name)] = spoken.pair.attributes.get(name) == value
    return Trial(setting, tuple(prompts), tuple(takes), holds)


def speak_trial(trial: Trial, folder: Path, jobs: int | None = None) -> None:
    """Speaks the takes that are not in the folder yet.

    Args:
        trial: what to speak.
        folder: empty, or of the same trial.
        jobs: processes that speak; None takes one for each processor.

    Raises:
        RaClapError: espeak-ng is not installed, or the folder holds anything else.
    """
    key = {**asdict(trial.setting), "version": VERSION}
    if folder.is_dir() and any(folder.iterdir()) and read_record(folder / _RECORD) != key:
        raise RaClapError(f"{folder}: is not empty and holds no clips of these prompts; choose another folder")
    Synthesiser().close()  # so that a missing espeak-ng is found before anything is written
    write_json(folder / _RECORD, key)
    missing = [take for take in trial.takes if not (folder / take.pair.audio).is_file()]
    if missing:
        speak_all(missing, folder, jobs or os.cpu_count() or 1, "takes")


def score_takes(reranker: Reranker, trial: Trial, folder: Path) -> np.ndarray:
    """(P, N) score of every take with its prompt."""
    requests = trial.requests(folder)
    rankings, _ = reranker.rank(requests)
    found = [{clip.clip: clip.score for clip in ranking.clips} for ranking in rankings]
    return np.array(
        [[scores[clip] for clip in request.clips] for scores, request in zip(found, requests, strict=True)]
    )


def chosen(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What the best scored take of each prompt has.

    Args:
        values: (P, N) or (P, N, A).
        scores: (P, N), higher is better; among equally good ones each is chosen equally often.

    Returns:
        (P,) or (P, A), expected values.

    Example:
        >>> chosen(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.2, 0.7], [0.5, 0.5]]))
        array([0. , 0.5])
    """
    best = scores == scores.max(axis=1, keepdims=True)
    counts = best.sum(axis=1).reshape(-1, *[1] * (values.ndim - 2))
    return np.einsum("pn...,pn->p...", values, best.astype(np.float64)) / counts


def compare_choices(trial: Trial, scores: dict[str, np.ndarray], resamples: int = 10_000) -> dict[str, Any]:
    """What each model's choice has of what was asked, beside random choice and the best possible.

    Args:
        trial: prompts and takes.
        scores: (P, N) by model.
        resamples: of the bootstrap over prompts.

    Returns:
        `random`, `best_possible` and `models` (by name), each `{complete, share}` as value, low and high in percent;
        of models also `complete_gain` and `share_gain` over random choice (value, low, high, p in points);
        `attributes`: `{attribute: {prompts, random, best_possible, models}}`, percent.
    """
    measures = {"complete": 100 * trial.complete, "share": 100 * trial.shares}
    random = {name: values.mean(1) for name, values in measures.items()}
    best = {name: values.max(1) for name, values in measures.items()}
    models = {}
    for model, found in scores.items():
        ours = {name: chosen(values, found) for name, values in measures.items()}
        gains = {
            f"{name}_gain": asdict(paired_difference(values, random[name], resamples=resamples))
            for name, values in ours.items()
        }
        models[model] = {**_intervals(ours, resamples), **gains}
    return {
        "random": _intervals(random, resamples),
        "best_possible": _intervals(best, resamples),
        "models": models,
        "attributes": _by_attribute(trial, scores),
    }


def _intervals(values: dict[str, np.ndarray], resamples: int) -> dict[str, Any]:
    return {name: asdict(bootstrap_interval(each, resamples=resamples)) for name, each in values.items()}


def _by_attribute(trial: Trial, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    found = {}
    for place, name in enumerate(SPECS[trial.setting.corpus].attributes):
        asking = ~np.isnan(trial.holds[:, 0, place])
        if not asking.any():
            continue
        values = 100 * trial.holds[asking, :, place]
        found[name] = {
            "prompts": int(asking.sum()),
            "random": float(values.mean()),
            "best_possible": float(values.max(1).mean()),
            "models": {model: float(chosen(values, each[asking]).mean()) for model, each in scores.items()},
        }
    return found


def _take(
    corpus: str, pair_id: str, text: str, speakers: Sequence[Speaker], styles: Sequence[dict[str, str]], rng: Random
) -> Utterance:
    """A random voice with a random delivery."""
    intended = dict(rng.choice(styles))
    sex = intended.pop("sex")
    speaker = rng.choice([each for each in speakers if each.sex == sex])
    delivery = deliver(rng, **intended)
    pair = Pair(
        pair_id=pair_id,
        audio=f"{pair_id}.flac",
        captions=(Caption(text),),
        corpus=corpus,
        split=_SPLIT,
        transcript=text,
        speaker=speaker.name,
        attributes=style_of(SPECS[corpus], speaker, delivery),
    )
    return Utterance(pair, speaker, delivery)


def _prompt(setting: Setting, like: Pair, rng: Random) -> Prompt:
    """Asks for a part of what a clip has."""
    style = like.attributes
    manner = rng.choice([name for name in style if name not in _OF_SPEAKER])
    others = [name for name in style if name != manner]
    count = min(rng.randint(setting.least, setting.most), len(style))
    named = {manner, *rng.sample(others, count - 1)}
    names = tuple(name for name in ATTRIBUTES if name in named)
    of_manner = PLAIN[_SPLIT][1]
    text = describe(rng.choice(of_manner), style, names, quote="", rng=rng)
    return Prompt(text, {name: style[name] for name in names}, like.transcript)
