import numpy as np

from ccsn_tf.evaluation.report.clips import most_confident, predictions


def choose(logits, labels, count=6, names=None):
    logits = np.array(logits, np.float32)
    return most_confident(logits, np.array(labels), names or [f"clip{i:02d}" for i in range(len(labels))], count)


def test_the_surest_first():
    right, wrong = choose([[3, 0, 0], [0, 5, 0], [9, 0, 0], [0, 0, 2], [4, 0, 0]], [0, 1, 1, 1, 2])
    assert right == [1, 0] and wrong == [2, 4, 3]


def test_one_clip_a_class_and_a_kind_of_mistake():
    right, wrong = choose([[3, 0], [4, 0], [0, 5], [5, 0], [6, 0]], [0, 0, 1, 1, 1])
    assert right == [2, 1] and wrong == [4]


def test_no_more_than_asked():
    right, wrong = choose(np.eye(5) * np.arange(1, 6)[:, None], range(5), count=2)
    assert right == [4, 3] and wrong == []


def test_probabilities_that_round_to_one_are_told_apart():
    right, _ = choose([[60, 0, 0], [0, 70, 0], [0, 0, 65]], [0, 1, 2])
    assert right == [1, 2, 0]


def test_names_decide_between_equals():
    logits = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert choose(logits, [0, 1, 2], names=["c", "a", "b"])[0] == [1, 2, 0]
    assert choose(logits, [0, 1, 2], names=["a", "b", "c"])[0] == [0, 1, 2]


def test_a_tie_is_wrong_and_nan_is_neither():
    right, wrong = choose([[1, 1, 0], [np.nan, 9, 0], [0, 3, 0]], [0, 1, 1])
    assert right == [2] and wrong == [0]
    assert predictions(np.array([[1.0, 1.0, 0.0]]), np.array([0])).tolist() == [1]
