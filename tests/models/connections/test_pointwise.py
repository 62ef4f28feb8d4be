"""Sum, product and concatenation, recomputed."""

import numpy as np
import pytest
from block_reference import dense, joined
from layers import arrays, features, randomise, weights_by_name

from ccsn_tf.models.connections.block import ConcatConnection, ProductConnection, SumConnection

KINDS = [SumConnection, ProductConnection, ConcatConnection]
SHAPES = [(2, 3, 4, 8), (2, 3, 2, 4, 8)]


def messages(kind, weights, spatial, temporal):
    if kind is ConcatConnection:
        both = np.concatenate([spatial, temporal], axis=-1)
        return dense(weights, "to_spatial", both), dense(weights, "to_temporal", both)
    to_spatial, to_temporal = dense(weights, "to_spatial", temporal), dense(weights, "to_temporal", spatial)
    return (to_spatial, to_temporal) if kind is SumConnection else (spatial * to_spatial, temporal * to_temporal)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_against_numpy(kind, shape):
    spatial, temporal = features(*shape), features(*shape, seed=1)
    block = kind(name="block")
    block([spatial, temporal])
    randomise(block)
    weights = weights_by_name(block)
    expected = joined(weights, spatial, temporal, *messages(kind, weights, spatial, temporal))
    for ours, theirs in zip(arrays(block([spatial, temporal])), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_concat_starts_as_the_sum():
    spatial, temporal = features(2, 3, 4, 8), features(2, 3, 4, 8, seed=1)
    block = ConcatConnection(name="block")
    block.build([spatial.shape, temporal.shape])
    for message in arrays(block.messages(spatial, temporal)):
        np.testing.assert_array_equal(message, spatial + temporal)


@pytest.mark.parametrize("kind", KINDS)
def test_a_position_hears_of_its_own_place_alone(kind):
    spatial, temporal = features(1, 4, 4, 8), features(1, 4, 4, 8, seed=1)
    block = kind(name="block")
    block([spatial, temporal])
    randomise(block)
    before, _ = arrays(block([spatial, temporal]))
    temporal[0, 2, 1] += 1.0
    after, _ = arrays(block([spatial, temporal]))
    changed = np.abs(after - before).max(axis=-1)[0] > 0
    np.testing.assert_array_equal(np.argwhere(changed), [[2, 1]])
