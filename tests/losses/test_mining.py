"""Distances and triplets, against plain loops."""

import numpy as np
import pytest
import tensorflow as tf
from reference import CASES, distance_between, mine, unit_rows

from ccsn_tf.losses.mining import MINING, pair_masks, pairwise_distance


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


def found(triplets):
    """Sorted (anchor, positive distance, negative distance) of a `Triplets`, as the reference lists them."""
    positive, negative, valid = np.broadcast_arrays(*(np.asarray(x) for x in triplets))
    return sorted((int(i[0]), float(positive[tuple(i)]), float(negative[tuple(i)])) for i in np.argwhere(valid))


@pytest.mark.parametrize("same_modality", [True, False])
@pytest.mark.parametrize(("distance", "mining"), CASES)
def test_finds_the_triplets_of_plain_loops(distance, mining, same_modality):
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 2, 0, 0, 0, 3, 1])  # 2 and 3 have no positive within a modality
    a = unit_rows(rng, 9, 3)
    b = a if same_modality else unit_rows(rng, 9, 3)
    distances = np.array([[distance_between(u, v, distance) for v in b] for u in a], np.float32)
    triplets = found(MINING[mining](distances, *pair_masks(labels, labels, same_modality)))
    expected = sorted(mine(a, b, labels, labels, same_modality, distance, mining))
    assert len(triplets) == len(expected) > 0
    np.testing.assert_allclose(triplets, expected, atol=1e-6)


def test_references_may_be_another_set():
    rng = np.random.default_rng(1)
    distances = rng.uniform(size=(2, 5)).astype(np.float32)
    positives, negatives = pair_masks(np.array([4, 7]), np.array([7, 7, 4, 9, 4]), same_modality=False)
    np.testing.assert_array_equal(positives, [[0, 0, 1, 0, 1], [1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(negatives, np.logical_not(positives))
    assert [len(found(MINING[name](distances, positives, negatives))) for name in MINING] == [2, 4, 12]


def test_semi_hard_by_hand():
    # Anchor 0 has positives at 1 and 3, negatives at 1, 2 and 2.5: the nearest one that is strictly farther; then there
    # is none, and the farthest.
    distances = np.array([[1.0, 3.0, 1.0, 2.0, 2.5]], np.float32)
    positives, negatives = pair_masks(np.array([0]), np.array([0, 0, 1, 1, 1]), same_modality=False)
    assert found(MINING["semi_hard"](distances, positives, negatives)) == [(0, 1.0, 2.0), (0, 3.0, 2.5)]


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[0, 1, 2], [3, 3, 3], [0]])
def test_without_positives_or_negatives_there_is_no_triplet(mining, labels):
    labels = np.array(labels)
    distances = np.random.default_rng(2).uniform(size=(len(labels), len(labels))).astype(np.float32)
    triplets = MINING[mining](distances, *pair_masks(labels, labels, same_modality=True))
    assert found(triplets) == []
    assert all(np.isfinite(part).all() for part in triplets)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`anchor_labels` must be a vector.*Received: shape \(3, 1\)"):
        pair_masks(np.zeros((3, 1), int), np.zeros(3, int), same_modality=False)
    with pytest.raises(ValueError, match=r"same clips. Received: 3 and 4 clips"):
        pair_masks(np.zeros(3, int), np.zeros(4, int), same_modality=True)
