"""How sure an answer is, and whether it is about any of the classes at all.

Temperatures: Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Ways to tell a clip of an unknown class:
the highest probability (Hendrycks and Gimpel, ICLR 2017), the same after the temperature, the energy (Liu et al.,
NeurIPS 2020), and the distance of both embeddings to their mean in the predicted class.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from ccsn_tf.config.settings import PREDICTIONS, STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_arrays, read_evaluation
from ccsn_tf.evaluation.metrics import Scores, auroc, expected_calibration_error, softmax
from ccsn_tf.files import whole_file

WAYS = ("energy", "embedding", "temperature", "softmax")  # the first is the default: docs/WATCH.md has the figures
KEPT = 0.95  # share of the validation clips that a threshold keeps
_FILE = "class_embeddings.npz"
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures; of clips that are all named right, the likelihood wants 0
_FARTHEST = 2.0  # between unit vectors: the distance to a class without clips

Means = dict[str, np.ndarray]  # of each stream: float (C, E), the mean embedding of a class; NaN where it has no clip


def calibrate(
    scores: Scores, groups: Sequence[str], unknown: Scores | None = None, ways: Sequence[str] = WAYS
) -> tuple[dict, dict, Means]:
    """Temperatures, thresholds and mean embeddings of classes, by validation clips: those of an evaluation.

    What is said of them is cross-fitted, or it would be too good: the clips are cut into two halves by group, and each
    is judged by the temperature and the means of the other. What is kept is fitted on all of them, and so is the
    temperature behind the threshold of "temperature".

    Args:
        scores: of the validation clips.
        groups: of each; clips of one group are alike.
        unknown: of clips of classes that the model does not know, to see how well they are told apart.
        ways: of `WAYS`; probabilities that were averaged have no energy.

    Returns:
        {prediction: {"temperature", "ece_before", "ece_after"}}, expected calibration errors as fractions;
        {way: {"threshold"}}, of `knownness`, with "auroc" against `unknown`; and the means.
    """
    halves, calibration = _halves(groups, scores.labels), {}
    for name in PREDICTIONS:
        logits, cross = scores.logits[name], np.ones(len(scores.labels))
        for part in (halves, ~halves):
            cross[part] = fit_temperature(logits[~part], scores.labels[~part])
        calibration[name] = {
            "temperature": fit_temperature(logits, scores.labels),
            "ece_before": expected_calibration_error(softmax(logits), scores.labels),
            "ece_after": expected_calibration_error(softmax(logits / cross[:, None]), scores.labels),
        }
    fused, rejection = scores.logits["fused"], {}
    temperature, count = calibration["fused"]["temperature"], fused.shape[1]
    means = class_means(scores.embeddings, scores.labels, count)
    parts = []
    for part in (halves, ~halves):
        own, other = ({name: values[side] for name, values in scores.embeddings.items()} for side in (part, ~part))
        parts.append((part, own, class_means(other, scores.labels[~part], count)))
    for way in ways:
        known = np.empty(len(scores.labels))
        for part, own, cross in parts:
            known[part] = knownness(way, fused[part], own, cross, temperature)
        finite = known[np.isfinite(known)]
        rejection[way] = {"threshold": float(np.quantile(finite, 1 - KEPT, method="lower")) if finite.size else 0.0}
        if unknown:
            found = knownness(way, unknown.logits["fused"], unknown.embeddings, means, temperature)
            rejection[way]["auroc"] = auroc(known, found)
    return calibration, rejection, means


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, 0.05 to 20, by which logits (N, C) are divided for the highest likelihood of the labels (N,).

    The negative log-likelihood is convex in 1 / temperature: the sign of its slope leads to the minimum. Clips with
    scores that are not finite say nothing; without any other it is 1.
    """
    finite = np.isfinite(logits).all(axis=1)
    logits, labels = np.asarray(logits, np.float64)[finite], labels[finite]
    if not len(labels):
        return 1.0
    own, low, high = logits[np.arange(len(labels)), labels], np.log(_COLDEST), np.log(_HOTTEST)
    for _ in range(50):
        middle = (low + high) / 2
        expected = np.sum(softmax(logits / np.exp(middle)) * logits, axis=1)
        low, high = (middle, high) if np.mean(expected - own) > 0 else (low, middle)
    return float(np.exp((low + high) / 2))


def class_means(embeddings: dict[str, np.ndarray], labels: np.ndarray, classes: int) -> Means:
    """The mean embedding of each class in each stream; not of unit length: classes that scatter lie nearer to 0."""
    counts = np.bincount(labels, minlength=classes)[:, None]
    means = {}
    for stream in STREAMS:
        sums = np.zeros((classes, embeddings[stream].shape[1]))
        np.add.at(sums, labels, embeddings[stream])
        means[stream] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means


def knownness(
    way: str, logits: np.ndarray, embeddings: dict[str, np.ndarray], means: Means, temperature: float
) -> np.ndarray:
    """How much clips are like those of known classes, by one of `WAYS`: float (N,), the higher the more.

    Logits (N, C) and temperature are those of the fused prediction, embeddings (N, E) by stream.
    """
    if way == "energy":
        return np.logaddexp.reduce(np.asarray(logits, np.float64), axis=1)
    if way != "embedding":
        return softmax(logits / (temperature if way == "temperature" else 1.0)).max(axis=1)
    best = np.argmax(logits, axis=1)
    distances = [np.linalg.norm(embeddings[stream] - means[stream][best], axis=1) for stream in STREAMS]
    return -np.mean(np.nan_to_num(distances, nan=_FARTHEST), axis=0)


def _halves(groups, labels):
    """bool (N,): every other group of each class; of a class of one group, every other clip."""
    groups, halves = np.asarray(groups), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        names, number = np.unique(groups[own], return_inverse=True)
        halves[own] = (number if len(names) > 1 else np.arange(len(own))) % 2 == 1
    return halves


def write_means(workdir: str | pathlib.Path, classes: Sequence[str], means: Means) -> None:
    """Writes the mean embeddings beside a run's evaluation.json."""
    with whole_file(pathlib.Path(workdir, _FILE)) as beside:
        np.savez(beside, classes=np.array(classes), **means)


def rejection_of(workdir: str | pathlib.Path, way: str, classes: Sequence[str]) -> Callable[[dict], bool]:
    """`rejection` by what an evaluation has left beside a run.

    Raises:
        UserError: see `rejection`; or the run was not evaluated, or not by this version or with these classes.
    """
    report, means = read_evaluation(workdir), read_arrays(workdir, _FILE)
    if means.pop("classes").tolist() != list(classes):
        raise UserError(f"{workdir}/{_FILE} is of other classes than the model: run evaluate.py --workdir={workdir}.")
    return rejection(report, way, means)


def rejection(report: dict | None, way: str, means: Means | None = None) -> Callable[[dict], bool]:
    """Whether an answer of a model is about none of the classes: a function of `StreamModel.answer`'s outputs.

    Args:
        report: evaluation.json of its run, if that was evaluated.
        way: of `WAYS`.
        means: of `calibrate`; None: not known, as of exports, whose answers may lack logits too.

    Raises:
        UserError: an unknown way, or one that has no threshold, or needs the means.
    """
    if way not in WAYS:
        raise UserError(f"--reject={way} is no way to reject: name one of {', '.join(WAYS)}.")
    try:
        threshold, temperature = report["rejection"][way]["threshold"], report["calibration"]["fused"]["temperature"]
    except (KeyError, TypeError):
        raise UserError(
            f"--reject={way} has no threshold: run evaluate.py, with --average=logits, and export again, if at all."
        ) from None
    if way in ("embedding", "energy") and means is None:
        raise UserError(f"--reject={way} needs a work directory as --model: name one, or pass --reject=softmax.")

    def rejects(outputs):
        logits = outputs["logits"] if "logits" in outputs else np.log(np.maximum(outputs["scores"], 1e-30))
        embeddings = {stream: outputs[f"{stream}_embedding"][None] for stream in STREAMS}
        return bool(knownness(way, logits[None], embeddings, means, temperature)[0] < threshold)

    return rejects
