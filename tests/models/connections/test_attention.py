"""Attention between the streams, recomputed by plain loops, and its position biases."""

import itertools
import math

import numpy as np
import pytest
from blocks import CLIP, SEGMENT, dense, joined, made, pair
from layers import arrays, dtype_policy, randomise

from ccsn_tf.models.connections.attention import (
    POSITION_BIASES,
    CrossAttention,
    DistanceBias,
    MLPBias,
    SharedAffinityConnection,
)

BIASES = [DistanceBias, MLPBias]
BOTH = pytest.mark.parametrize("make", [CrossAttention, SharedAffinityConnection])


def positions(shape):
    """Indices of all positions of a map: (y, x), or (k, y, x)."""
    return list(itertools.product(*(range(size) for size in shape[1:-1])))


def bias_between(weights, side, position, p, q, shape):
    """b(dy, dx) of every head, the segments left out; offsets in eighths of the frame's side."""
    dy, dx = ((p[-2 + axis] - q[-2 + axis]) * 8 / shape[-3 + axis] for axis in range(2))
    if position == "distance":
        return -np.log1p(np.exp(weights[f"{side}_bias/width"])) * (dy * dy + dx * dx)
    if position == "mlp":
        spaced = np.array([np.sign(o) * np.log1p(abs(o)) for o in (dy, dx)])
        hidden = np.maximum(dense(weights, f"{side}_bias/inner", spaced), 0)
        return dense(weights, f"{side}_bias/outer", hidden)
    return np.zeros(10)


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def gathered(queries, keys, values, heads, bias):
    """For every position of the queries' map, what it gathers from the other map; heads side by side."""
    d = queries.shape[-1] // heads
    out = np.zeros_like(queries)
    for n in range(len(queries)):
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            for p in positions(queries.shape):
                places = positions(keys.shape)
                logits = [
                    float(queries[n][p][part] @ keys[n][q][part]) / math.sqrt(d) + bias(p, q)[head] for q in places
                ]
                out[n][p][part] = sum(a * values[n][q][part] for a, q in zip(softmax(logits), places, strict=True))
    return out


def cross_message(weights, side, own, other, heads, position):
    query, key, value = (
        dense(weights, f"{side}_{name}", x) for name, x in (("query", own), ("key", other), ("value", other))
    )

    def bias(p, q):
        return bias_between(weights, side, position, p, q, own.shape)

    return dense(weights, f"{side}_output", gathered(query, key, value, heads, bias))


@pytest.mark.parametrize("position", POSITION_BIASES)
@pytest.mark.parametrize(("shape", "heads"), [(SEGMENT, 1), (CLIP, 2)])
def test_cross_attention_against_loops(position, shape, heads):
    spatial, temporal = maps = pair(shape)
    block = CrossAttention(heads, position, name="block")
    weights = made(block, maps)
    expected = joined(
        weights,
        *maps,
        cross_message(weights, "spatial", spatial, temporal, heads, position),
        cross_message(weights, "temporal", temporal, spatial, heads, position),
    )
    for ours, theirs in zip(arrays(block(maps)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "heads"), [(SEGMENT, 2), (CLIP, 1)])
def test_shared_affinity_against_loops(shape, heads):
    spatial, temporal = maps = pair(shape)
    block = SharedAffinityConnection(heads, name="block")
    weights = made(block, maps)
    theta, phi = dense(weights, "theta", spatial), dense(weights, "phi", temporal)

    def none(p, q):
        return np.zeros(heads)

    to_spatial = gathered(theta, phi, dense(weights, "spatial_value", temporal), heads, none)
    to_temporal = gathered(phi, theta, dense(weights, "temporal_value", spatial), heads, none)  # transposed
    expected = joined(
        weights,
        *maps,
        dense(weights, "spatial_output", to_spatial),
        dense(weights, "temporal_output", to_temporal),
    )
    for ours, theirs in zip(arrays(block(maps)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", POSITION_BIASES)
def test_only_a_position_bias_sees_where_the_other_stream_s_features_are(position):
    block, (spatial, temporal) = CrossAttention(2, position, name="block"), pair(SEGMENT)
    made(block, [spatial, temporal])
    shuffled = temporal.reshape(2, 12, 8)[:, np.random.default_rng(0).permutation(12)].reshape(SEGMENT)
    before, after = (arrays(block.messages(spatial, maps))[0] for maps in (temporal, shuffled))
    difference = np.abs(after - before).max()
    assert difference < 1e-5 if position == "none" else difference > 1e-2


@BOTH
def test_half_precision_does_not_overflow_before_the_scaling(make):
    """theta(S) phi(M)^T alone is 64 * 40 * 40 = 102,400 and float16 ends at 65,504; over sqrt(64) it is 12,800."""
    maps = np.zeros((1, 2, 2, 128), "float16")
    maps[..., 0] = [[1, 40], [2, 3]]
    with dtype_policy("mixed_float16"):
        block = make(1, name="block")
        block([maps, maps])
    for weight in block.weights:
        if weight.name == "kernel":
            kernel = np.zeros(weight.shape)
            kernel[0] = 1
            weight.assign(kernel)
    np.testing.assert_array_equal(arrays(block.messages(maps, maps))[0], 40.0)


@pytest.mark.parametrize("kind", BIASES)
def test_a_bias_fits_maps_of_every_size(kind):
    """Two cells of the fine map are one of the coarse one: the same offset has the same bias, along both sides."""
    layer = kind(3, name="bias")
    layer.build()
    randomise(layer)
    coarse, fine = np.asarray(layer(height=4, width=3)), np.asarray(layer(height=8, width=6))
    for p, q in itertools.product(positions((1, 4, 3, 1)), repeat=2):
        ours, theirs = coarse[:, p[0] * 3 + p[1], q[0] * 3 + q[1]], fine[:, p[0] * 12 + p[1] * 2, q[0] * 12 + q[1] * 2]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
