import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from raclap.errors import RaClapError
from raclap.retrieval.classification import class_embeds, classify, score_classification

CLASSES = ("angry", "calm", "happy", "sad")


def random_answers(N: int, seed: int, classes=CLASSES) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, N, p=[0.6] + [0.4 / (len(classes) - 1)] * (len(classes) - 1))
    right = rng.random(N) < 0.6
    return labels.tolist(), np.where(right, labels, rng.choice(CLASSES, N)).tolist()


def test_scores_are_those_of_scikit_learn():
    labels, predictions = random_answers(200, 0)
    scores = score_classification(labels, predictions, CLASSES)
    assert scores.accuracy.value == pytest.approx(100 * np.mean(np.array(labels) == np.array(predictions)))
    recall = balanced_accuracy_score(labels, predictions)
    assert scores.unweighted_average_recall.value == pytest.approx(100 * recall)
    assert scores.macro_f1.value == pytest.approx(100 * f1_score(labels, predictions, average="macro"))
    assert scores.confusion.sum() == 200
    assert scores.confusion[0].sum() == labels.count("angry")
    assert scores.confusion[:, 3].sum() == predictions.count("sad")


def test_a_class_without_labels_is_no_class_to_be_found():
    labels, predictions = ["sad", "sad", "calm"], ["sad", "happy", "calm"]
    scores = score_classification(labels, predictions, CLASSES)
    assert scores.unweighted_average_recall.value == pytest.approx(75)
    assert scores.macro_f1.value == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert scores.confusion.tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [0, 0, 1, 1]]


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_are_those_of_drawing_one_by_one(clustered):
    labels, predictions = (np.array(side) for side in random_answers(90, 1, CLASSES[:3]))
    clusters = np.arange(90) // 6 if clustered else np.arange(90)
    rng, recalls, f1 = np.random.default_rng(2), [], []
    for _ in range(300):
        drawn = rng.choice(np.unique(clusters), len(np.unique(clusters)))
        rows = np.concatenate([np.flatnonzero(clusters == cluster) for cluster in drawn])
        average = {"labels": np.unique(labels[rows]), "average": "macro", "zero_division": 0}
        recalls.append(100 * recall_score(labels[rows], predictions[rows], **average))
        f1.append(100 * f1_score(labels[rows], predictions[rows], **average))
    known = clusters.tolist() if clustered else None
    scores = score_classification(labels.tolist(), predictions.tolist(), CLASSES, known, resamples=4000)
    for found, plain in ((scores.unweighted_average_recall, recalls), (scores.macro_f1, f1)):
        assert [found.low, found.high] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=3)


def test_recall_of_a_class_is_drawn_where_the_class_occurs():
    # One speaker alone has "calm": half of it right. Resamples without that speaker say nothing of its recall.
    labels = ["calm"] * 4 + ["sad"] * 8
    predictions = ["calm"] * 2 + ["sad"] * 6 + ["calm"] * 4
    speakers = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    scores = score_classification(labels, predictions, CLASSES, speakers)
    assert list(scores.recalls) == ["calm", "sad"]
    assert [scores.recalls["calm"].low, scores.recalls["calm"].high] == [50, 50]
    assert scores.recalls["sad"].value == 50
    assert [scores.recalls["sad"].low, scores.recalls["sad"].high] == [0, 100]


def test_a_perfect_classifier_leaves_no_doubt():
    labels, _ = random_answers(50, 3)
    scores = score_classification(labels, labels, CLASSES)
    for interval in (scores.accuracy, scores.unweighted_average_recall, scores.macro_f1):
        assert (interval.value, interval.low, interval.high) == pytest.approx((100, 100, 100))


def test_a_constant_answer_has_the_recall_of_chance():
    labels = [name for name in CLASSES for _ in range(5)]
    scores = score_classification(labels, ["sad"] * 20, CLASSES)
    assert scores.unweighted_average_recall.value == 25


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (["sad", "bored"], ["sad", "sad"], "row 1: label 'bored' is none of the classes"),
        (["sad", None], ["sad", "sad"], "row 1: label 'None'"),
        (["sad"], ["bored"], "row 0: prediction 'bored'"),
        ([], [], "at least one"),
        (["sad"], ["sad", "sad"], "equally many"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, predictions, message):
    with pytest.raises(RaClapError, match=message):
        score_classification(labels, predictions, CLASSES)


def test_a_class_is_the_mean_direction_of_its_prompts():
    prompts = {"one": torch.tensor([[5.0, 0.0], [0.0, 0.1]]), "two": torch.tensor([[-1.0, 0.0]])}
    torch.testing.assert_close(class_embeds(prompts), torch.tensor([[0.5**0.5] * 2, [-1, 0]]))
    audio = torch.tensor([[0.1, 1.0], [-3.0, 0.1], [1.0, -0.9]])
    assert classify(audio, prompts) == ["one", "two", "one"]
