"""Agreement of two sets of scores; how many segments clients are told to send, and what is said of other numbers."""

import kept_models
import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.evaluation.metrics import Scores
from ccsn_tf.serving import agreement
from ccsn_tf.serving.agreement import accuracy_by_segments, compare_scores, for_clients
from ccsn_tf.serving.clips import clips_to_try

LOGITS = np.array([[4.0, 0, 0], [0, 3, 0], [0, 0, 2], [1, 0, 0]])
LABELS = np.array([0, 1, 1, 0])


def scores(logits):
    return Scores(LABELS, dict.fromkeys(("spatial", "temporal", "fused"), np.asarray(logits)), {})


def test_what_changed_is_counted():
    report = compare_scores(scores(LOGITS), scores(LOGITS))
    assert report["num_clips"] == 4
    assert report["fused"] == {"agreement": 1.0, "top1_reference": 0.75, "top1": 0.75}
    other = LOGITS.copy()
    other[2] = [0, 2, 0]  # from wrong to right
    report = compare_scores(scores(LOGITS), scores(other))["temporal"]
    assert (report["agreement"], report["top1_reference"], report["top1"]) == (0.75, 0.75, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_clip_without_a_number_agrees_with_nothing(value):
    other = LOGITS.copy()
    other[0, 0] = value  # where the best class was
    report = compare_scores(scores(LOGITS), scores(other))["fused"]
    assert report["agreement"] == 0.75 and report["top1"] == 0.5


def test_eight_unless_asked_for_or_related():
    config = Config().replace(num_segments=4, test_segments=4)
    assert for_clients(config, asked_for=False).eval.test_segments == 8
    assert for_clients(config, asked_for=True).eval.test_segments == 4
    assert for_clients(config.replace(consensus="trn"), asked_for=False).eval.test_segments == 4


def test_accuracy_of_each_number_is_that_of_the_clips_one_by_one(exported, monkeypatch):
    kept_models.keep(monkeypatch, agreement)
    said, classes = [], list(exported.model.classes)
    found = accuracy_by_segments(exported.model, exported.config, 100, said.append)
    assert (found["clips"], found["of"], list(found["top1"])) == (6, 6, ["3", "8", "25"])
    with clips_to_try(exported.config, tuple(classes), 6, must_be_real=True) as clips:
        labels = np.array([classes.index(clip.label) for clip in clips.stored])
        for number, share in found["top1"].items():
            scores = kept_models.as_exported(exported.model)(clips.arrays(int(number)))["scores"]
            assert share == np.mean(scores.argmax(axis=1) == labels)
    shares = ", ".join(f"{100 * share:.1f} % with {number}" for number, share in found["top1"].items())
    said_of_all = f"Top-1 by segments per clip (6 test clips, centre crop): {shares}. Clients are told to send 3."
    assert said == [said_of_all]


def test_the_command_prints_it_and_card_and_metadata_keep_it(exported):
    found = exported.metadata["accuracy_by_segments"]
    assert (found["clips"], found["of"]) == (5, 6)
    line = "Top-1 by segments per clip (5 of 6 test clips, evenly spaced, centre crop): "
    assert line in exported.printed and line in (exported.path / "MODEL_CARD.md").read_text()


def test_without_records_a_line_says_so(exported, tmp_path):
    said = []
    elsewhere = exported.config.replace(record_dir=str(tmp_path), test_segments=10)
    assert accuracy_by_segments(exported.model, elsewhere, 0, said.append) is None and not said
    assert accuracy_by_segments(exported.model, elsewhere, 5, said.append) is None
    assert len(said) == 1 and f"--record_dir={tmp_path} holds no finished records" in said[0]
    assert said[0].startswith("Accuracy with 3, 8, 10, 25 segments is not measured, for which --record_dir ")
