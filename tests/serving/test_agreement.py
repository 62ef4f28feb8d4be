"""Agreement of two sets of scores, and the cache of the trained model's."""

import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.predict import Scores, make_forward
from ccsn_tf.models.build import load_model
from ccsn_tf.serving.agreement import EvaluationClips, compare_scores

LOGITS = np.array([[4.0, 0, 0], [0, 3, 0], [0, 0, 2], [1, 0, 0]])
LABELS = np.array([0, 1, 1, 0])


def scores(logits):
    return Scores(LABELS, dict.fromkeys(("spatial", "temporal", "fused"), np.asarray(logits)), {})


def test_equal_scores_agree():
    report = compare_scores(scores(LOGITS), scores(LOGITS))
    assert report["num_clips"] == 4
    assert report["fused"] == {
        "agreement": 1.0,
        "top1_reference": 0.75,
        "top1": 0.75,
        "mean_change": 0.0,
        "largest_change": 0.0,
    }


def test_what_changed_is_counted():
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


def test_softmax_of_large_numbers():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000], [-1000, 0]])), [[0.5, 0.5], [0, 1]])


@pytest.fixture
def clips(workdir_config):
    return EvaluationClips(workdir_config, ("MoveDown", "MoveLeft", "MoveRight"), 2)


@pytest.fixture
def model(workdir_config):
    return load_model(f"{workdir_config.train.workdir}/model.keras")


def no_progress(done, total):
    assert 0 < done <= total == 6


def test_reference_scores_are_computed_once(clips, model, tmp_path):
    calls = []

    def counted(done, total):
        calls.append(done)

    cache = tmp_path / "below" / "scores.npz"
    first = clips.reference(model, cache, counted)
    assert calls[-1] == 6 and cache.is_file()
    again = clips.reference(model, cache, lambda *_: pytest.fail("was computed again"))
    direct = clips.scores(make_forward(model), no_progress)
    for stream in first.logits:
        np.testing.assert_array_equal(first.logits[stream], again.logits[stream])
        np.testing.assert_allclose(first.logits[stream], direct.logits[stream], atol=1e-6)
    np.testing.assert_array_equal(again.labels, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("change", ["weights", "segments", "damage"])
def test_the_cache_of_something_else_is_replaced(change, clips, model, workdir_config, tmp_path):
    cache = tmp_path / "scores.npz"
    before = clips.reference(model, cache, no_progress)
    if change == "weights":
        model.weights[0].assign(model.weights[0] * 1.5)
    elif change == "segments":
        clips = EvaluationClips(workdir_config, clips.classes, 3)
    else:
        cache.write_bytes(cache.read_bytes()[:100])
    after = clips.reference(model, cache, no_progress)
    same = np.array_equal(before.logits["fused"], after.logits["fused"])
    assert same == (change == "damage")
    kept = clips.reference(model, cache, lambda *_: pytest.fail("was computed again"))
    np.testing.assert_array_equal(kept.logits["fused"], after.logits["fused"])


def test_absent_records_are_an_error(workdir_config, model, tmp_path):
    clips = EvaluationClips(workdir_config.replace(record_dir=str(tmp_path)), ("MoveDown", "MoveLeft", "MoveRight"), 2)
    with pytest.raises(UserError, match="holds no finished records"):
        clips.reference(model, tmp_path / "scores.npz", no_progress)
