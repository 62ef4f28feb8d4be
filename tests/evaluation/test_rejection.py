"""Calibration and rejection, against plain loops and what they were made of."""

import itertools
import json
import math

import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import Scores, auroc, expected_calibration_error, softmax
from ccsn_tf.evaluation.rejection import (
    WAYS,
    calibrate,
    class_means,
    fit_temperature,
    rejection,
    rejection_of,
    write_means,
)

CLASSES, WIDTH = ("a", "b", "c"), 4


def clips(count=400, scale=3.0, strange=False, seed=0):
    """`Scores` whose labels follow softmax(logits / scale): too sure by that factor. Strange ones lie elsewhere."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(0, 0.5 if strange else 2, (count, 3))
    labels = np.array([rng.choice(3, p=each) for each in softmax(logits / scale)], np.int32)
    near = rng.normal(0, 0.3, (count, WIDTH)) + (
        np.eye(3, WIDTH)[logits.argmax(axis=1)] if not strange else [0, 0, 0, 1]
    )
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype("float32")
    return Scores(labels, dict.fromkeys(("spatial", "temporal", "fused"), logits), {"spatial": near, "temporal": near})


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(2, 9, 40) / 2, rng.integers(0, 7, 30) / 2  # with ties
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(known, unknown)]
    assert auroc(known, unknown) == pytest.approx(sum(pairs) / len(pairs))
    assert [auroc([1.0], each) for each in ([0.0], [1.0], [2.0])] == [1, 0.5, 0]


def test_calibration_error_is_that_of_the_bins():
    scores = clips(50)
    probabilities, error = softmax(scores.logits["fused"]), 0.0
    for low in range(5):
        inside = [n for n, each in enumerate(probabilities.max(axis=1)) if low / 5 <= each < (low + 1) / 5 + (low == 4)]
        if inside:
            right = sum(probabilities[n].argmax() == scores.labels[n] for n in inside) / len(inside)
            error += len(inside) / 50 * abs(right - sum(probabilities[n].max() for n in inside) / len(inside))
    assert expected_calibration_error(probabilities, scores.labels, bins=5) == pytest.approx(error)
    assert expected_calibration_error(np.eye(3), np.array([0, 1, 0])) == pytest.approx(1 / 3)


def test_the_temperature_is_that_of_the_highest_likelihood():
    scores = clips(2000)
    logits, labels = scores.logits["fused"], scores.labels

    def loss(temperature):
        return -np.mean([math.log(p[y]) for p, y in zip(softmax(logits / temperature), labels, strict=True)])

    found = fit_temperature(logits, labels)
    assert found == pytest.approx(3.0, rel=0.15)  # what they were made by
    assert loss(found) <= min(loss(found * factor) for factor in (0.5, 0.98, 1.02, 2))
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(0.05)  # all right: no end to it
    assert fit_temperature(np.full((2, 3), np.nan), np.array([0, 1])) == 1


def test_means_are_those_of_the_clips():
    scores = clips(60)
    means = class_means(scores.embeddings, scores.labels, 4)
    for label, stream in itertools.product(range(3), ("spatial", "temporal")):
        own = [each for each, y in zip(scores.embeddings[stream], scores.labels, strict=True) if y == label]
        np.testing.assert_allclose(means[stream][label], np.mean(own, axis=0), atol=1e-6)
    assert np.isnan(means["spatial"][3]).all()


def test_what_an_evaluation_keeps_rejects_what_is_strange(tmp_path):
    known, strange = clips(), clips(300, strange=True, seed=1)
    calibration, thresholds, means = calibrate(known, np.arange(400) // 4, strange)
    assert calibration["fused"]["temperature"] == pytest.approx(3.0, rel=0.3)
    assert calibration["spatial"]["ece_after"] < 0.06 < 0.1 < calibration["spatial"]["ece_before"]
    assert set(thresholds) == set(WAYS) and all(each["auroc"] > 0.6 for each in thresholds.values())
    assert thresholds["embedding"]["auroc"] > 0.95
    report = {"calibration": calibration, "rejection": thresholds}
    (tmp_path / "evaluation.json").write_text(json.dumps(report, allow_nan=False))
    write_means(tmp_path, CLASSES, means)

    def rejected(way, scores):
        rejects = rejection_of(tmp_path, way, CLASSES)
        outputs = [
            {"logits": logits, "spatial_embedding": s, "temporal_embedding": t}
            for logits, s, t in zip(scores.logits["fused"], *scores.embeddings.values(), strict=True)
        ]
        return np.mean([rejects(each) for each in outputs])

    for way in WAYS:
        assert rejected(way, known) < 0.07
    assert rejected("embedding", strange) > 0.8
    for way, classes, words in (("guess", CLASSES, "--reject=guess"), ("energy", ("a", "c", "b"), "other classes")):
        with pytest.raises(UserError, match=words):
            rejection_of(tmp_path, way, classes)
    rejects, certain = rejection(report, "temperature"), np.array([0.99, 0.005, 0.005])  # of an export
    ends = {f"{stream}_embedding": np.zeros(WIDTH) for stream in ("spatial", "temporal")}
    assert rejects({"scores": np.full(3, 1 / 3), **ends}) and not rejects({"scores": certain, **ends})
    for way in ("embedding", "energy"):
        with pytest.raises(UserError, match=f"--reject={way} needs a work directory"):
            rejection(report, way)
    (tmp_path / "evaluation.json").write_text("{}")  # of an earlier version
    with pytest.raises(UserError, match=r"run evaluate\.py"):
        rejection_of(tmp_path, "energy", CLASSES)


def test_classes_of_one_clip_or_none_have_thresholds_too():
    few = clips(5)
    _, rejection, means = calibrate(few, ["g"] * 5)
    assert all(np.isfinite(each["threshold"]) and "auroc" not in each for each in rejection.values())
    assert means["spatial"].shape == (3, WIDTH)
