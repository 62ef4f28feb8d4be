"""Accuracies of a set of scored clips.

Whoever scores a clip, its scores (C,) are judged alike everywhere below. Ties are resolved against the prediction: a
class that scores as much as the true one counts as ranked before it, so that a network that gives every class the same
score is right about nothing. A clip with a NaN among its scores is wrong, whatever k.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of N clips: `labels` int32 (N,), `logits` {"spatial", "temporal", "fused"}: (N, classes), `embeddings` (N, E)."""

    labels: np.ndarray
    logits: dict[str, np.ndarray]
    embeddings: dict[str, np.ndarray]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def with_scores(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network's outputs, and the scores of its three logits by their names: `scores`, `spatial_scores`, ..."""
    logits = {name: value for name, value in outputs.items() if name.endswith("logits")}
    return {**outputs, **{name.replace("logits", "scores"): softmax(value) for name, value in logits.items()}}


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share, 0..1, of N clips whose true class, integers (N,), is among the k highest scores (N, C).

    For k of C or more every clip without NaN is right.
    """
    return float(np.mean(_true_class_ranks(scores, labels) < min(k, np.shape(scores)[1])))


def per_class_accuracy(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Top-1 accuracy among the clips of each class: float64 (C,), 0..1, NaN for a class without clips."""
    hits = _true_class_ranks(scores, labels) == 0
    classes = np.shape(scores)[1]
    clips = np.bincount(labels, minlength=classes)
    right = np.bincount(labels, weights=hits, minlength=classes)
    return np.divide(right, clips, out=np.full(classes, np.nan), where=clips > 0)


def predictions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The predicted classes: int64 (N,); -1 for a clip with NaN among its scores.

    Where the true class shares the highest score, it is the first of the others that do.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    ranks = _true_class_ranks(scores, labels)
    count, classes = scores.shape
    predicted = np.where(ranks < classes, labels, -1)
    wrong = (ranks > 0) & (ranks < classes)
    if wrong.any():
        # The true class is cut out, not set to -infinity: among scores that all are, it could still come first.
        others = scores[np.arange(classes) != labels[:, None]].reshape(count, classes - 1)
        best = np.argmax(others[wrong], axis=1)
        predicted[wrong] = best + (best >= labels[wrong])
    return predicted


def confusion_matrix(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Clips by true class (row) and predicted class (column): int64 (C, C).

    The diagonal is what `top_k_accuracy` with k = 1 counts as right. A clip with NaN scores has no prediction and is
    left out: its row adds up to less than the clips of its class.
    """
    predicted = predictions(scores, labels)
    scored, classes = predicted >= 0, np.shape(scores)[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (np.asarray(labels)[scored], predicted[scored]), 1)
    return confusion


def most_confused(confusion: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """At most `count` of the commonest mistakes of a `confusion_matrix`, as (true class, predicted class, clips).

    Most clips first; equal ones by true, then by predicted class.
    """
    mistakes = np.array(confusion)
    np.fill_diagonal(mistakes, 0)
    truth, predicted = np.nonzero(mistakes)
    clips = mistakes[truth, predicted]
    order = np.argsort(-clips, kind="stable")[:count]
    return [(int(truth[i]), int(predicted[i]), int(clips[i])) for i in order]


def summarise(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """{"top1", "top5", "mean_class"} as fractions, 0..1."""
    return {
        "top1": top_k_accuracy(scores, labels, 1),
        "top5": top_k_accuracy(scores, labels, 5),
        # Of the classes that occur: what TSN's evaluation prints as "Accuracy".
        "mean_class": float(np.nanmean(per_class_accuracy(scores, labels))),
    }


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """How far the highest probability is from the share of clips that are named right, over bins of equal width.

    Of probabilities (N, C) and labels (N,): the mean over clips of |share right in the clip's bin - mean probability
    there|, 0..1.
    """
    right, sure = _true_class_ranks(probabilities, labels) == 0, np.nan_to_num(np.max(probabilities, axis=1))
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(place, right - sure.astype(np.float64))).sum() / len(sure))


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve: the chance that one of `known` (N,) is above one of `unknown` (M,); ties are half."""
    below, not_above = (np.searchsorted(np.sort(unknown), known, side=side) for side in ("left", "right"))
    return float(np.mean(below + not_above) / 2 / len(unknown))


def _true_class_ranks(scores, labels):
    """Other classes that score at least what the true one does: int64 (N,), 0 is right; C where a score is NaN."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    own = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    return np.where(np.isnan(scores).any(axis=1), scores.shape[1], np.sum(scores >= own, axis=1) - 1)
