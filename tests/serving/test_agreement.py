"""Agreement of two sets of scores."""

import numpy as np
import pytest

from ccsn_tf.evaluation.metrics import Scores
from ccsn_tf.serving.agreement import compare_scores

LOGITS = np.array([[4.0, 0, 0], [0, 3, 0], [0, 0, 2], [1, 0, 0]])
LABELS = np.array([0, 1, 1, 0])


def scores(logits):
    return Scores(LABELS, dict.fromkeys(("spatial", "temporal", "fused"), np.asarray(logits)), {})


def test_what_changed_is_counted():
    report = compare_scores(scores(LOGITS), scores(LOGITS))
    assert report["num_clips"] == 4
    figures = {"agreement": 1.0, "top1_reference": 0.75, "top1": 0.75, "mean_change": 0.0, "largest_change": 0.0}
    assert report["fused"] == figures
    other = LOGITS.copy()
    other[2] = [0, 2, 0]  # from wrong to right
    report = compare_scores(scores(LOGITS), scores(other))["temporal"]
    assert (report["agreement"], report["top1_reference"], report["top1"]) == (0.75, 0.75, 1.0)
    probability = np.exp(2) / (np.exp(2) + 2)
    change = probability - (1 - probability) / 2
    assert report["largest_change"] == pytest.approx(change) and report["mean_change"] == pytest.approx(change / 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_clip_without_a_number_agrees_with_nothing(value):
    other = LOGITS.copy()
    other[0, 0] = value  # where the best class was
    report = compare_scores(scores(LOGITS), scores(other))["fused"]
    assert report["agreement"] == 0.75 and report["largest_change"] == 1.0 and np.isfinite(report["mean_change"])
