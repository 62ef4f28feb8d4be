"""Attention between the streams, recomputed by plain loops."""

import itertools
import math

import numpy as np
import pytest
from block_reference import dense, joined
from layers import arrays, dtype_policy, features, randomise, weights_by_name

from ccsn_tf.models.connections.attention import POSITION_BIASES, CrossAttention, SharedAffinityConnection

MAPS = [(2, 3, 4, 8), (1, 2, 3, 2, 8)]  # (N, H, W, C) of a segment, (N, K, H, W, C) of a clip


def positions(shape):
    """Indices of all positions of a map: (y, x), or (k, y, x)."""
    return list(itertools.product(*(range(size) for size in shape[1:-1])))


def bias_between(weights, side, position, p, q, shape):
    """b(dy, dx) of every head, the segments left out."""
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


def made(block, spatial, temporal):
    block([spatial, temporal])
    randomise(block)
    return weights_by_name(block)


@pytest.mark.parametrize("position", POSITION_BIASES)
@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("heads", [1, 2])
def test_cross_attention_against_loops(position, shape, heads):
    spatial, temporal = features(*shape), features(*shape, seed=1)
    block = CrossAttention(heads, position, name="block")
    weights = made(block, spatial, temporal)
    expected = joined(
        weights,
        spatial,
        temporal,
        cross_message(weights, "spatial", spatial, temporal, heads, position),
        cross_message(weights, "temporal", temporal, spatial, heads, position),
    )
    for ours, theirs in zip(arrays(block([spatial, temporal])), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("heads", [1, 2])
def test_shared_affinity_against_loops(shape, heads):
    spatial, temporal = features(*shape), features(*shape, seed=1)
    block = SharedAffinityConnection(heads, name="block")
    weights = made(block, spatial, temporal)
    theta, phi = dense(weights, "theta", spatial), dense(weights, "phi", temporal)

    def none(p, q):
        return np.zeros(heads)

    to_spatial = gathered(theta, phi, dense(weights, "spatial_value", temporal), heads, none)
    to_temporal = gathered(phi, theta, dense(weights, "temporal_value", spatial), heads, none)  # transposed
    expected = joined(
        weights,
        spatial,
        temporal,
        dense(weights, "spatial_output", to_spatial),
        dense(weights, "temporal_output", to_temporal),
    )
    for ours, theirs in zip(arrays(block([spatial, temporal])), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "heads", "width"), [(64, 4, 32), (8, 4, 4), (96, 4, 48), (24, 5, 10), (6, 4, 4), (2, 4, 4)]
)
def test_inner_width_is_half_the_channels_in_whole_heads(channels, heads, width):
    for block in (CrossAttention(heads), SharedAffinityConnection(heads)):
        block.build([(None, 2, 2, channels)] * 2)
        assert block.width == width
        maps = features(1, 2, 2, channels)
        assert [array.shape for array in arrays(block([maps, maps]))] == [maps.shape] * 2


def to_spatial(block, spatial, temporal):
    return arrays(block.messages(spatial, temporal))[0]


@pytest.mark.parametrize(
    ("block", "blind"),
    [
        (CrossAttention(2, "none", name="block"), True),
        (SharedAffinityConnection(2, name="block"), True),
        (CrossAttention(2, "distance", name="block"), False),
        (CrossAttention(2, "mlp", name="block"), False),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (1, 2, 3, 2, 8)])
def test_only_a_position_bias_sees_where_the_other_stream_s_features_are(block, blind, shape):
    block = type(block).from_config(block.get_config())
    spatial, temporal = features(*shape), features(*shape, seed=1)
    made(block, spatial, temporal)
    flat = temporal.reshape(shape[0], -1, shape[-1])
    shuffled = flat[:, np.random.default_rng(0).permutation(flat.shape[1])].reshape(shape)
    difference = np.abs(to_spatial(block, spatial, shuffled) - to_spatial(block, spatial, temporal)).max()
    assert difference < 1e-5 if blind else difference > 1e-2


def test_with_distance_both_streams_moved_alike_bring_messages_moved_alike():
    """Away from the border: a motion belongs to the object at its place, wherever that is."""
    spatial, temporal = np.zeros((1, 8, 8, 8), "float32"), np.zeros((1, 8, 8, 8), "float32")
    spatial[0, 3, 3], temporal[0, 3, 4] = features(8), features(8, seed=1)
    block = CrossAttention(2, name="block")
    made(block, spatial, temporal)
    block.to_spatial["bias"].width.assign([2.0, 3.0])  # local: the border is far away
    before = to_spatial(block, spatial, temporal)
    moved = [np.roll(maps, (1, 1), axis=(1, 2)) for maps in (spatial, temporal)]
    after = to_spatial(block, *moved)
    np.testing.assert_allclose(after[:, 3:6, 3:6], before[:, 2:5, 2:5], atol=1e-4)
    assert np.abs(before[0, 3, 3] - before[0, 3, 4]).max() > 0.01


def test_over_a_clip_the_bias_is_that_of_the_place_and_segments_have_no_order():
    spatial, temporal = features(1, 3, 2, 2, 8), features(1, 3, 2, 2, 8, seed=1)
    block = CrossAttention(2, name="block")
    made(block, spatial, temporal)
    before = to_spatial(block, spatial, temporal)
    np.testing.assert_allclose(to_spatial(block, spatial, temporal[:, [2, 0, 1]]), before, atol=1e-5)
    np.testing.assert_allclose(to_spatial(block, spatial[:, [2, 0, 1]], temporal), before[:, [2, 0, 1]], atol=1e-5)


@pytest.mark.parametrize("make", [CrossAttention, SharedAffinityConnection])
def test_a_clip_of_one_segment_is_that_segment_and_other_segments_are_seen(make):
    spatial, temporal = features(2, 3, 4, 8), features(2, 3, 4, 8, seed=1)
    segment, clip = make(2, name="segment"), make(2, name="clip")
    made(segment, spatial, temporal)
    made(clip, spatial[:, None], temporal[:, None])
    clip.set_weights(segment.get_weights())
    for ours, theirs in zip(
        arrays(clip([spatial[:, None], temporal[:, None]])), arrays(segment([spatial, temporal])), strict=True
    ):
        np.testing.assert_allclose(ours[:, 0], theirs, rtol=1e-5, atol=1e-5)
    spatial, temporal = features(1, 2, 3, 4, 8), features(1, 2, 3, 4, 8, seed=1)
    before = to_spatial(clip, spatial, temporal)
    temporal[0, 1] += 1.0
    assert np.abs(to_spatial(clip, spatial, temporal) - before)[0, 0].max() > 1e-3


@pytest.mark.parametrize("make", [lambda: CrossAttention(2, "none", name="block"), lambda: SharedAffinityConnection(2)])
def test_weights_serve_maps_of_another_size(make):
    """At twice the resolution every place says the same four times: the messages stay what they were."""
    block, maps = make(), [features(1, 3, 4, 8), features(1, 3, 4, 8, seed=1)]
    made(block, *maps)
    for coarse, fine in zip(arrays(block(maps)), arrays(block([_doubled(x) for x in maps])), strict=True):
        np.testing.assert_allclose(fine, _doubled(coarse), rtol=1e-5, atol=1e-5)


def _doubled(maps):
    return maps.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize("make", [CrossAttention, SharedAffinityConnection])
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
    message = to_spatial(block, maps, maps)
    np.testing.assert_array_equal(message, 40.0)


@pytest.mark.parametrize("position", ["near", "", None])
def test_an_unknown_position_is_refused(position):
    with pytest.raises(ValueError, match=r"position must be one of distance, mlp, none\. Received: position="):
        CrossAttention(position=position)
