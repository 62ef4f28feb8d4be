"""Distances and triplets, against plain loops."""

import numpy as np
import pytest
import tensorflow as tf
from reference import distance_between, unit_rows

from ccsn_tf.losses.mining import pair_masks, pairwise_distance


@pytest.mark.parametrize("squared", [False, True])
def test_distances_equal_plain_loops(squared):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    kind = "squared" if squared else "euclidean"
    expected = [[distance_between(u, v, kind) for v in b] for u in a]
    np.testing.assert_allclose(pairwise_distance(a, b, squared=squared), expected, rtol=1e-5, atol=1e-6)
    x = np.array([[np.nan, 0.0], [1.0, 0.0]], np.float32)  # which is not hidden
    np.testing.assert_array_equal(np.isnan(pairwise_distance(x, x, squared=squared)), [[True, True], [True, False]])


def test_close_embeddings_keep_their_digits():
    # Through |a|^2 - 2ab + |b|^2 this distance would be wrong in its first digit.
    a = np.array([[0.6, 0.8]], np.float32)
    b = a + np.array([[1e-4, 0.0]], np.float32)
    np.testing.assert_allclose(pairwise_distance(a, b), [[float(b[0, 0]) - float(a[0, 0])]], rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])  # only XLA gives NaN for 0 times infinity in sqrt
@pytest.mark.parametrize("squared", [False, True])
def test_equal_embeddings_are_at_0_with_gradient_0(squared, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            distances = pairwise_distance(x, x, squared=squared)
            coincident = tf.linalg.trace(distances) + distances[0, 1] + distances[3, 2]
        return coincident, tape.gradient(coincident, x)

    x = np.repeat(unit_rows(np.random.default_rng(1), 2, 8), 2, axis=0)
    value, gradient = value_and_gradient(tf.constant(x))
    assert value.numpy() == 0.0
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`anchor_labels` must be a vector.*Received: shape \(3, 1\)"):
        pair_masks(np.zeros((3, 1), int), np.zeros(3, int), same_modality=False)
    with pytest.raises(ValueError, match=r"same clips. Received: 3 and 4 clips"):
        pair_masks(np.zeros(3, int), np.zeros(4, int), same_modality=True)
