"""Zero-shot classification: a class is a handful of captions, a clip belongs to the class nearest to it.

Shapes: N clips, D joint size, P prompts of a class, C classes, R resamples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from torch import Tensor

from raclap.errors import RaClapError
from raclap.retrieval.statistics import Interval, resampled_counts

MEASURES = ("accuracy", "UAR", "macro_F1")


class LabelError(RaClapError):
    """The labels of an evaluation do not fit its classes."""


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """Results of one classification, in percent.

    Attributes:
        accuracy: share of clips that are right.
        unweighted_average_recall: mean recall of the classes that occur among the labels.
        macro_f1: mean F1 of the classes that occur among the labels.
        classes: order of the confusion matrix.
        confusion: (C, C) int64, clips of class `row` taken for class `column`.
        recalls: of each class that occurs among the labels; bounds over the resamples in which it occurs.
    """

    accuracy: Interval
    unweighted_average_recall: Interval
    macro_f1: Interval
    classes: tuple[str, ...]
    confusion: np.ndarray
    recalls: dict[str, Interval]

    @property
    def measures(self) -> dict[str, Interval]:
        """The figures by the names in `MEASURES`."""
        return dict(zip(MEASURES, (self.accuracy, self.unweighted_average_recall, self.macro_f1), strict=True))


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
    truth, guess = class_codes(labels, classes, "label"), class_codes(predictions, classes, "prediction")
    if not 0 < len(truth) == len(guess):
        raise LabelError(f"{len(truth)} labels and {len(guess)} predictions: there must be equally many, at least one")
    C, present = len(classes), np.unique(truth)
    average = {"labels": present, "average": "macro", "zero_division": 0}
    values = (
        accuracy_score(truth, guess),
        recall_score(truth, guess, **average),
        f1_score(truth, guess, **average),
    )
    recalls = recall_score(truth, guess, labels=present, average=None, zero_division=0)
    drawn = np.concatenate(list(_resampled_confusions(truth * C + guess, C, clusters, resamples, seed)))
    intervals = _intervals(values, measures(drawn), level)
    of_classes = _intervals(recalls, _recalls(drawn)[:, present], level)
    return ClassificationScores(
        *intervals,
        classes=tuple(classes),
        confusion=confusion_matrix(truth, guess, labels=range(C)),
        recalls=dict(zip([classes[place] for place in present], of_classes, strict=True)),
    )


def _intervals(values: Sequence[float], drawn: np.ndarray, level: float) -> list[Interval]:
    """Values and the bounds of their columns in draws (R, M), as percentages; NaN are no draws."""
    bounds = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*(100 * float(x) for x in each)) for each in zip(values, *bounds, strict=True)]


def class_codes(names: Sequence[str], classes: Sequence[str], what: str) -> np.ndarray:
    """(N,) place of each name among the classes.

    Raises:
        LabelError: one is none of the classes; the message calls it `what`.
    """
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


def measures(confusions: np.ndarray) -> np.ndarray:
    """(R, 3) the `MEASURES` of confusion matrices (R, C, C), as shares; averages are over classes that occur."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    true, taken = confusions.sum(2), confusions.sum(1)
    occurring = true > 0
    f1 = 2 * right / np.maximum(true + taken, 1)
    return np.column_stack(
        [
            right.sum(1) / true.sum(1),
            np.nanmean(_recalls(confusions), axis=1),
            (f1 * occurring).sum(1) / occurring.sum(1),
        ]
    )


def _recalls(confusions: np.ndarray) -> np.ndarray:
    """(R, C) recall of each class in confusion matrices (R, C, C); NaN where a class does not occur."""
    right, true = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(2)
    return np.divide(right, true, out=np.full(true.shape, np.nan), where=true > 0)
