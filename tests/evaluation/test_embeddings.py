import json
import math
import statistics

import numpy as np
import pytest

from ccsn_tf.evaluation import embeddings
from ccsn_tf.evaluation.embeddings import embedding_report


def unit_rows(rng, count, width):
    rows = rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def reference(spatial, temporal, labels):
    """The report once more, by plain loops over pairs of clips."""
    clips = range(len(labels))
    streams = {"spatial": spatial.astype(float), "temporal": temporal.astype(float)}

    def mean(values):
        values = [value for value in values if value is not None]
        return statistics.fmean(values) if values else None

    def distance(one, i, other, j):
        return math.dist(streams[one][i], streams[other][j])

    def variation(one, other):
        return mean(
            mean(distance(one, i, other, j) for j in clips if labels[j] == labels[i] and (one != other or i != j))
            for i in clips
        )

    def nearest(one, other):
        return [min((distance(one, i, other, j) for j in clips if labels[j] != labels[i]), default=None) for i in clips]

    def retrieval(query, gallery):
        precisions, hits = [], []
        for i in clips:
            ranking = sorted((distance(query, i, gallery, j), labels[j] == labels[i]) for j in clips if j != i)
            relevant = [found for _, found in ranking]  # False before True: at equal distance the others come first
            if any(relevant):
                hits.append(relevant[0])
                precisions.append(mean(sum(relevant[: n + 1]) / (n + 1) for n, found in enumerate(relevant) if found))
        return {"queries": len(hits), "recall_at_1": mean(hits), "mean_average_precision": mean(precisions)}

    return {
        "clips": len(labels),
        "classes": len(set(labels.tolist())),
        "not_finite": 0,
        "variation": {
            "spatial": variation("spatial", "spatial"),
            "temporal": variation("temporal", "temporal"),
            "cross": variation("spatial", "temporal"),
        },
        "nearest_other_class": {
            "spatial": mean(nearest("spatial", "spatial")),
            "temporal": mean(nearest("temporal", "temporal")),
            "cross": mean(nearest("spatial", "temporal") + nearest("temporal", "spatial")),
        },
        "retrieval": {
            "flow_to_rgb": retrieval("temporal", "spatial"),
            "rgb_to_flow": retrieval("spatial", "temporal"),
        },
    }


def assert_equal(report, expected):
    assert report.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_equal(report[key], value)
        else:
            assert report[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("elements", [1, 60])  # a row at a time; a remainder at the end, or all at once
@pytest.mark.parametrize(
    "labels",
    [
        np.random.default_rng(0).integers(0, 4, 37) * 3 + 5,  # any integers will do
        np.random.default_rng(1).integers(0, 10, 12),
        np.zeros(9, int),  # one class
        np.arange(4),  # no two clips of a class
        np.zeros(1, int),
        np.zeros(0, int),
    ],
    ids=len,
)
def test_equals_plain_loops(labels, elements, monkeypatch):
    monkeypatch.setattr(embeddings, "_ELEMENTS_A_CHUNK", elements)
    rng = np.random.default_rng(2)
    spatial, temporal = unit_rows(rng, len(labels), 3), unit_rows(rng, len(labels), 3)
    lengths = rng.uniform(0.1, 9, (len(labels), 1)).astype(np.float32)  # do not matter
    report = embedding_report(3 * spatial, temporal * lengths, labels)
    assert_equal(report, reference(spatial, temporal, labels))
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_collapsed_network_is_not_rewarded():
    # Every embedding is the same, up to float32 rounding: all distances tie.
    rng = np.random.default_rng(2)
    same = np.tile(unit_rows(rng, 1, 64), (50, 1))
    noisy = same * (1 + 1e-7 * rng.normal(size=same.shape).astype(np.float32))
    labels = np.arange(50) % 2
    report = embedding_report(same, noisy, labels)
    assert report["variation"]["cross"] == 0.0
    assert report["nearest_other_class"]["cross"] == 0.0
    for figures in report["retrieval"].values():
        assert figures["recall_at_1"] == 0.0
        expected = statistics.fmean(j / (j + 25) for j in range(1, 25))  # behind the 25 clips of the other class
        assert figures["mean_average_precision"] == pytest.approx(expected)


def test_embeddings_that_are_not_finite_are_counted_and_not_hidden():
    rng = np.random.default_rng(4)
    spatial, temporal = unit_rows(rng, 6, 3), unit_rows(rng, 6, 3)
    spatial[1, 0] = temporal[1, 1] = np.nan
    temporal[4, 2] = np.inf
    report = embedding_report(spatial, temporal, np.arange(6) % 2)
    assert (report["clips"], report["classes"], report["not_finite"]) == (6, 2, 2)
    assert set(report["variation"].values()) == set(report["nearest_other_class"].values()) == {None}
    assert report["retrieval"]["rgb_to_flow"] == {"queries": 0, "recall_at_1": None, "mean_average_precision": None}


def test_close_embeddings_keep_their_digits():
    apart = 1e-4
    pair = np.array([[1, 0], [math.cos(apart), math.sin(apart)]])
    report = embedding_report(pair, pair, np.zeros(2, int))
    assert report["variation"]["spatial"] == pytest.approx(apart, rel=1e-6)
