import math

import numpy as np
import pytest

from ccsn_tf.evaluation.metrics import (
    confusion_matrix,
    most_confused,
    per_class_accuracy,
    summarise,
    top_k_accuracy,
)

NAN, INF = float("nan"), float("inf")


def random_case(clips=200, classes=7, seed=0):
    """Scores with many ties and some NaN; the last class has no clip."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (clips, classes)).astype(np.float32)
    scores[rng.random(clips) < 0.1, rng.integers(0, classes)] = NAN
    return scores, rng.integers(0, classes - 1, clips)


def is_right(row, label, k):
    """By the definition: with every tie against it, the true class is still among the first k."""
    if any(math.isnan(score) for score in row):
        return False
    return sum(score >= row[label] for j, score in enumerate(row) if j != label) < k


@pytest.mark.parametrize("k", [1, 5, 100])
def test_top_k_equals_plain_loops(k):
    scores, labels = random_case()
    expected = sum(is_right(row, label, k) for row, label in zip(scores.tolist(), labels, strict=True)) / len(labels)
    value = top_k_accuracy(scores, labels, k)
    assert type(value) is float
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ([1.0, NAN], False),  # the true class scores highest of those that score at all
        ([NAN, NAN], False),
        ([INF, INF], False),
        ([0.0, -INF], True),
        ([-INF, -INF], False),
    ],
)
def test_scores_that_are_not_finite(row, right):
    scores, labels = np.array([row]), np.array([0])
    assert top_k_accuracy(scores, labels, 1) == right
    # Any rank will do for k = C, but not a missing score.
    assert top_k_accuracy(scores, labels, 2) == (not np.isnan(row).any())


def test_per_class_and_its_mean():
    scores = np.eye(4)[[0, 0, 1, 2, 0]]
    labels = np.array([0, 0, 0, 2, 2])
    np.testing.assert_array_equal(per_class_accuracy(scores, labels), [2 / 3, NAN, 1 / 2, NAN])
    assert summarise(scores, labels)["mean_class"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert top_k_accuracy(scores, labels, 1) == pytest.approx(3 / 5)  # what the mean over classes is not


def test_confusion_agrees_with_the_accuracies():
    scores, labels = random_case(clips=500)
    confusion = confusion_matrix(scores, labels)
    assert confusion.shape == (7, 7)
    assert confusion.dtype == np.int64
    scored = ~np.isnan(scores).any(axis=1)
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(labels[scored], minlength=7))
    assert np.trace(confusion) / len(labels) == pytest.approx(top_k_accuracy(scores, labels, 1))
    expected = np.zeros((7, 7), int)
    for row, label in zip(scores[scored].tolist(), labels[scored], strict=True):
        first = [j for j, score in enumerate(row) if score == max(row)]
        expected[label, label if first == [label] else next(j for j in first if j != label)] += 1
    np.testing.assert_array_equal(confusion, expected)


def test_most_confused_is_sorted_and_skips_the_diagonal_and_zeros():
    confusion = np.array([[9, 2, 0], [5, 9, 2], [0, 0, 9]])
    assert most_confused(confusion, 2) == [(1, 0, 5), (0, 1, 2)]
    assert most_confused(confusion, 9) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert most_confused(np.eye(3, dtype=int), 3) == []
    assert confusion[0, 0] == 9  # the argument is left alone
    assert all(type(number) is int for entry in most_confused(confusion, 9) for number in entry)
