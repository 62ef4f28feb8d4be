import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import distance_between, unit_rows

from ccsn_tf.losses.mining import pairwise_distance


@pytest.mark.parametrize("squared", [False, True])
def test_equals_plain_loops(squared):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    kind = "squared" if squared else "euclidean"
    expected = [[distance_between(u, v, kind) for v in b] for u in a]
    distances = pairwise_distance(a, b, squared=squared)
    assert distances.shape == (5, 7)
    assert keras.backend.standardize_dtype(distances.dtype) == "float32"
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-6)


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


def test_gradient_is_the_unit_vector_between():
    rng = np.random.default_rng(2)
    a, b = tf.constant(unit_rows(rng, 3, 4)), unit_rows(rng, 1, 4)
    with tf.GradientTape() as tape:
        tape.watch(a)
        distances = pairwise_distance(a, b)
    difference = a.numpy() - b
    np.testing.assert_allclose(
        tape.gradient(distances, a), difference / np.linalg.norm(difference, axis=1, keepdims=True), atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_any_float_becomes_float32_before_the_subtraction(dtype):
    rng = np.random.default_rng(3)
    a, b = tf.cast(unit_rows(rng, 4, 6), dtype), tf.cast(unit_rows(rng, 4, 6), dtype)
    distances = pairwise_distance(a, b)
    assert distances.dtype == tf.float32
    np.testing.assert_array_equal(distances, pairwise_distance(tf.cast(a, "float32"), tf.cast(b, "float32")))


@pytest.mark.parametrize("squared", [False, True])
def test_nan_is_not_hidden(squared):
    x = np.array([[np.nan, 0.0], [1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(np.isnan(pairwise_distance(x, x, squared=squared)), [[True, True], [True, False]])
