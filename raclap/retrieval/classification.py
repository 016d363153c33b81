"""Zero-shot classification: a class is a handful of captions, a clip belongs to the class nearest to it.

Shapes: N clips, D joint size, P prompts of a class, C classes, R resamples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from torch import Tensor

from raclap.errors import RaClapError, RecipeError
from raclap.retrieval.statistics import Interval, resampled_counts
from raclap.settings_file import read_settings


class LabelError(RaClapError):
    """The labels of an evaluation do not fit its classes."""


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """The captions that stand for each class.

    Attributes:
        column: of the manifest, or the name of an attribute, that holds the labels.
        classes: prompts of each class, in the order of the confusion matrix.
    """

    column: str
    classes: dict[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """Results of one classification, in percent.

    Attributes:
        accuracy: share of clips that are right.
        unweighted_average_recall: mean recall of the classes that occur among the labels.
        macro_f1: mean F1 of the classes that occur among the labels.
        classes: order of the confusion matrix.
        confusion: (C, C) int64, clips of class `row` taken for class `column`.
    """

    accuracy: Interval
    unweighted_average_recall: Interval
    macro_f1: Interval
    classes: tuple[str, ...]
    confusion: np.ndarray


def load_prompts(path: Path | str) -> ClassPrompts:
    """Reads class prompts: `{column: emotion, classes: {angry: ["a person speaking angrily", ...], ...}}`.

    Raises:
        RecipeError: the file is missing, is not YAML or a key has not the form above.
    """
    path = Path(path)
    content = read_settings(path, "a file of prompts", RecipeError)
    for key in content:
        if key not in ("column", "classes"):
            raise RecipeError(f"{path}: unknown key '{key}'; the keys are column, classes")
    column, classes = content.get("column"), content.get("classes")
    if not isinstance(column, str) or not column:
        raise RecipeError(f"{path}: 'column' must name what holds the labels")
    if not isinstance(classes, dict) or len(classes) < 2:
        raise RecipeError(f"{path}: 'classes' must hold the prompts of at least two classes")
    return ClassPrompts(column, {name: _prompts(path, name, value) for name, value in classes.items()})


def _prompts(path: Path, name: Any, value: Any) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise RecipeError(f"{path}: classes.{name}: YAML reads this name as {type(name).__name__}; put it in quotes")
    sentences = value if isinstance(value, list) else []
    if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
        raise RecipeError(f"{path}: classes.{name}: expected a list of sentences, at least one, none empty")
    return tuple(sentences)


def class_embeds(prompt_embeds: Mapping[str, Tensor]) -> Tensor:
    """One unit vector a class: the mean direction of its prompts.

    Args:
        prompt_embeds: (P, D) for each class; P may differ.

    Returns:
        (C, D) in the order of the mapping.

    Example:
        >>> class_embeds({"calm": torch.tensor([[2.0, 0.0], [0.0, 1.0]])})
        tensor([[0.7071, 0.7071]])
    """
    means = [F.normalize(embeds.float(), dim=-1).mean(0) for embeds in prompt_embeds.values()]
    return F.normalize(torch.stack(means), dim=-1)


def classify(audio_embeds: Tensor, prompt_embeds: Mapping[str, Tensor]) -> list[str]:
    """The nearest class of each clip.

    Args:
        audio_embeds: (N, D).
        prompt_embeds: (P, D) for each class.

    Returns:
        N class names.
    """
    names = list(prompt_embeds)
    cosines = F.normalize(audio_embeds.float(), dim=-1) @ class_embeds(prompt_embeds).T
    return [names[place] for place in cosines.argmax(1).tolist()]


def zero_shot(
    audio_embeds: Tensor,
    prompt_embeds: Mapping[str, Tensor],
    labels: Sequence[str],
    clusters: Sequence[Any] | None = None,
    seed: int = 0,
) -> ClassificationScores:
    """Classifies clips by their nearest class and scores the outcome; see `classify`, `score_classification`."""
    return score_classification(
        labels, classify(audio_embeds, prompt_embeds), list(prompt_embeds), clusters, seed=seed
    )


def score_classification(
    labels: Sequence[str],
    predictions: Sequence[str],
    classes: Sequence[str],
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> ClassificationScores:
    """Accuracy, unweighted average recall and macro-F1 with bootstrap intervals.

    Averages are over the classes that occur among the labels: a class nobody could have found has no recall.
    In resamples they are over those that occur in the resample.

    Args:
        labels: N true classes.
        predictions: N predicted classes.
        classes: all C classes, in the order of the confusion matrix.
        clusters: N speakers, as in `bootstrap_interval`.
        resamples: how many to draw.
        seed: of the draws.
        level: of the intervals.

    Raises:
        LabelError: there is no label, or a label or prediction is none of the classes.

    Example:
        >>> scores = score_classification(["sad", "sad", "sad", "angry"], ["sad"] * 4, ["angry", "sad"])
        >>> scores.accuracy.value, scores.unweighted_average_recall.value
        (75.0, 50.0)
        >>> scores.confusion.tolist()
        [[0, 1], [0, 3]]
    """
    truth, guess = _codes(labels, classes, "label"), _codes(predictions, classes, "prediction")
    if not 0 < len(truth) == len(guess):
        raise LabelError(f"{len(truth)} labels and {len(guess)} predictions: there must be equally many, at least one")
    C, present = len(classes), np.unique(truth)
    average = {"labels": present, "average": "macro", "zero_division": 0}
    values = (
        accuracy_score(truth, guess),
        recall_score(truth, guess, **average),
        f1_score(truth, guess, **average),
    )
    drawn = np.concatenate(list(_resampled_confusions(truth * C + guess, C, clusters, resamples, seed)))
    bounds = 100 * np.quantile(_measures(drawn), [(1 - level) / 2, (1 + level) / 2], axis=0)
    intervals = [
        Interval(100 * float(value), float(low), float(high)) for value, low, high in zip(values, *bounds, strict=True)
    ]
    return ClassificationScores(*intervals, tuple(classes), confusion_matrix(truth, guess, labels=range(C)))


def _codes(names: Sequence[str], classes: Sequence[str], what: str) -> np.ndarray:
    places = {name: place for place, name in enumerate(classes)}
    for row, name in enumerate(names):
        if name not in places:
            raise LabelError(f"row {row}: {what} '{name}' is none of the classes {', '.join(classes)}")
    return np.array([places[name] for name in names], np.int64)


def _resampled_confusions(
    cells: np.ndarray, C: int, clusters: Sequence[Any] | None, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Yields blocks (r, C, C) of confusion matrices; cells (N,) number their entries row by row."""
    occurring, category = np.unique(cells, return_inverse=True)
    for counts in resampled_counts(category, clusters, resamples, seed):
        confusions = np.zeros((len(counts), C * C), counts.dtype)
        confusions[:, occurring] = counts
        yield confusions.reshape(-1, C, C)


def _measures(confusions: np.ndarray) -> np.ndarray:
    """(R, 3) accuracy, unweighted average recall and macro-F1 of confusion matrices (R, C, C)."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    true, taken = confusions.sum(2), confusions.sum(1)
    occurring = true > 0
    recall = right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + taken, 1)
    means = [(measure * occurring).sum(1) / occurring.sum(1) for measure in (recall, f1)]
    return np.column_stack([right.sum(1) / true.sum(1), *means])
