"""What all connection blocks have in common, and sum, product and concatenation, recomputed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from blocks import CLIP, SEGMENT, dense, joined, made, pair
from layers import arrays, features, run_layer_test

from ccsn_tf.models.connections import connection_maker
from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConcatConnection, ProductConnection, SumConnection, without_messages

# A bias in front of batch normalisation is taken out by it; one that is the same for all keys, by the softmax.
AFTER_ALL = ["_output/bias", "_value/bias", "_key/bias"]
LAYERS = [
    (ProductConnection, {}, SEGMENT, []),
    (ConcatConnection, {}, CLIP, ["to_spatial/bias", "to_temporal/bias"]),
    (SharedAffinityConnection, {"heads": 2}, CLIP, ["_output/bias", "_value/bias"]),
    (CrossAttention, {"heads": 2, "position": "distance"}, CLIP, AFTER_ALL),
    (CrossAttention, {"heads": 2, "position": "mlp"}, SEGMENT, [*AFTER_ALL, "_bias/outer/bias"]),
]


def make_connection(kind, position="distance", dropout=0.0):
    return connection_maker(kind, heads=2, position=position, dropout=dropout)("block")


@pytest.mark.parametrize(("layer", "arguments", "shape", "still"), LAYERS)
def test_layer(layer, arguments, shape, still):
    run_layer_test(layer, arguments, pair((2, *shape[1:])), still)


def messages(kind, weights, spatial, temporal):
    if kind is ConcatConnection:
        both = np.concatenate([spatial, temporal], axis=-1)
        return dense(weights, "to_spatial", both), dense(weights, "to_temporal", both)
    to_spatial, to_temporal = dense(weights, "to_spatial", temporal), dense(weights, "to_temporal", spatial)
    return (to_spatial, to_temporal) if kind is SumConnection else (spatial * to_spatial, temporal * to_temporal)


@pytest.mark.parametrize("kind", [SumConnection, ProductConnection, ConcatConnection])
@pytest.mark.parametrize("shape", [SEGMENT, CLIP])
def test_pointwise_against_numpy(kind, shape):
    maps = pair(shape)
    block = kind(name="block")
    weights = made(block, maps)
    expected = joined(weights, *maps, *messages(kind, weights, *maps))
    for ours, theirs in zip(arrays(block(maps)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_concat_starts_as_the_sum():
    spatial, temporal = pair(SEGMENT)
    block = ConcatConnection(name="block")
    block.build([spatial.shape, temporal.shape])
    for message in arrays(block.messages(spatial, temporal)):
        np.testing.assert_array_equal(message, spatial + temporal)


@pytest.mark.parametrize("kind", ["product", "concat", "shared_affinity", "cross_attention"])
def test_a_new_block_is_exactly_the_identity_and_only_its_last_scale_learns(kind):
    """While BN_0's scale is zero nothing behind it has a gradient: it must itself have one."""
    block, maps = make_connection(kind), pair(SEGMENT)
    for training in (False, True):
        outputs = block(maps, training=training)
        assert isinstance(outputs, tuple)
        for output, stream in zip(arrays(outputs), maps, strict=True):
            np.testing.assert_array_equal(output, stream)
    with tf.GradientTape() as tape:
        outputs = block(maps, training=True)
        loss = sum(keras.ops.sum(output * features(*output.shape, seed=5)) for output in outputs)
    variables = block.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    moving = {v.path for v, g in zip(variables, gradients, strict=True) if np.abs(g.numpy()).max() > 1e-6}
    assert moving == {f"block/{side}_norm/{part}" for side in ("spatial", "temporal") for part in ("gamma", "beta")}


@pytest.mark.parametrize("shape", [SEGMENT, CLIP])
def test_dropout_leaves_out_whole_messages_in_training_alone(shape):
    maps = pair((40, *shape[1:]))
    kept, dropping = (make_connection("product", dropout=rate) for rate in (0.0, 0.5))
    made(kept, maps)
    dropping(maps)
    sources = {weight.path: weight for weight in kept.weights}
    for weight in dropping.weights:
        if weight.path in sources:  # not the random state
            weight.assign(sources[weight.path])
    keras.utils.set_random_seed(3)
    messages = [out - own for out, own in zip(arrays(kept(maps, training=True)), maps, strict=True)]
    dropped = [out - own for out, own in zip(arrays(dropping(maps, training=True)), maps, strict=True)]
    shares = []
    for whole, part in zip(messages, dropped, strict=True):
        axes = tuple(range(1, whole.ndim))
        share = (whole * part).sum(axes) / (whole * whole).sum(axes)
        np.testing.assert_allclose(part, share.reshape(-1, *[1] * len(axes)) * whole, atol=1e-4)
        shares.append(share.round(3))
    assert {*shares[0], *shares[1]} == {0.0, 2.0}
    assert 20 < (np.array(shares) == 0).sum() < 60 and not np.array_equal(*shares), "each direction by itself"
    for a, b in zip(arrays(kept(maps)), arrays(dropping(maps)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_without_messages_the_streams_stay_as_they_are():
    block, (spatial, temporal) = SumConnection(), pair(SEGMENT)
    made(block, [spatial, temporal])
    joined_before = arrays(block([spatial, temporal]))
    assert not np.array_equal(joined_before[0], spatial)
    with without_messages([block]):
        for before, after in zip((spatial, temporal), block([spatial, temporal]), strict=True):
            np.testing.assert_array_equal(before, after)
    for before, after in zip(joined_before, arrays(block([spatial, temporal])), strict=True):
        np.testing.assert_array_equal(before, after)
