import numpy as np
import pytest

from ccsn_tf.evaluation.protocol import EMBEDDINGS, LOGITS, average_views, protocol_in_words


def outputs(clips=2, crops=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    made = {name: rng.normal(0, 3, (clips * crops, classes)).astype("float32") for name in LOGITS.values()}
    for name in EMBEDDINGS:
        vectors = rng.normal(size=(clips * crops, 5))
        made[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")
    return made


def test_logits_are_averaged_as_they_are():
    views = outputs()
    means = average_views(views, 3)
    for name in LOGITS.values():
        for clip in range(2):
            np.testing.assert_allclose(means[name][clip], sum(views[name][3 * clip : 3 * clip + 3]) / 3, rtol=1e-5)


def test_probabilities_are_averaged_and_given_as_logarithms():
    views = outputs()
    means = average_views(views, 3, "probabilities")
    for name in LOGITS.values():
        for clip in range(2):
            expected = np.zeros(4)
            for view in views[name][3 * clip : 3 * clip + 3].astype(float):
                expected += np.exp(view) / np.exp(view).sum() / 3
            np.testing.assert_allclose(np.exp(means[name][clip]), expected, rtol=1e-4)


def test_the_two_averages_can_disagree():
    """One crop is very sure of class 0, two are a little surer of class 1; a probability is at most 1."""
    views = {name: np.array([[30.0, 0], [-1, 1], [-1, 1]], "float32") for name in LOGITS.values()}
    views |= {name: np.ones((3, 2), "float32") for name in EMBEDDINGS}
    assert average_views(views, 3)["logits"].argmax() == 0
    assert average_views(views, 3, "probabilities")["logits"].argmax() == 1


def test_impossible_classes_stay_finite():
    views = {name: np.array([[0.0, -500.0]], "float32") for name in LOGITS.values()}
    views |= {name: np.ones((1, 2), "float32") for name in EMBEDDINGS}
    assert np.isfinite(average_views(views, 1, "probabilities")["logits"]).all()


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_embeddings_keep_their_length(average):
    means = average_views(outputs(), 3, average)
    for name in EMBEDDINGS:
        np.testing.assert_allclose(np.linalg.norm(means[name], axis=1), 1, rtol=1e-6)


def test_words_name_all_that_differs():
    words = {protocol_in_words(s, c, a) for s in (3, 25) for c in (1, 3, 5, 10) for a in ("logits", "probabilities")}
    assert len(words) == 16
    assert protocol_in_words(25, 10) == "25 segments x 10 crops a clip, logits averaged, fused by the model"
