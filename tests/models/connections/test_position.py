"""Position biases: functions of the offset alone, whatever the map's size."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from layers import POLICIES, dtype_policy, randomise

from ccsn_tf.config import ModelConfig, settings
from ccsn_tf.models.connections.attention import POSITION_BIASES, DistanceBias, MLPBias, offsets

BIASES = [DistanceBias, MLPBias]


def cells(height, width):
    """(row, column) of every position, in the order of the flattened map."""
    return [(row, column) for row in range(height) for column in range(width)]


def between(one, other, height, width):
    """Offset in eighths of the frame's side."""
    return (one[0] - other[0]) * 8 / height, (one[1] - other[1]) * 8 / width


def random_bias(kind, heads=3):
    layer = kind(heads, name="bias")
    layer.build()
    randomise(layer)
    return layer


def softplus(x):
    return np.log1p(np.exp(np.asarray(x, "float64")))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5), (1, 6)])
def test_offsets(height, width):
    expected = [[between(p, q, height, width) for q in cells(height, width)] for p in cells(height, width)]
    np.testing.assert_allclose(np.asarray(offsets(height, width)), expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5)])
def test_distance_against_loops(height, width):
    layer = random_bias(DistanceBias)
    bias = np.asarray(layer(height=height, width=width))
    assert bias.shape == (3, height * width, height * width)
    for head, precision in enumerate(softplus(layer.width.numpy())):
        for p, one in enumerate(cells(height, width)):
            for q, other in enumerate(cells(height, width)):
                dy, dx = between(one, other, height, width)
                assert bias[head, p, q] == pytest.approx(-precision * (dy * dy + dx * dx), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 5)])
def test_mlp_against_loops(height, width):
    layer = random_bias(MLPBias)
    w1, b1, w2, b2 = (weight.numpy() for weight in layer.weights)
    assert (w1.shape, w2.shape) == ((2, 32), (32, 3))
    bias = np.asarray(layer(height=height, width=width))
    for p, one in enumerate(cells(height, width)):
        for q, other in enumerate(cells(height, width)):
            offset = np.array(between(one, other, height, width))
            spaced = np.sign(offset) * np.log1p(np.abs(offset))
            expected = np.maximum(spaced @ w1 + b1, 0) @ w2 + b2
            np.testing.assert_allclose(bias[:, p, q], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 2), (3, 5)])
def test_a_shift_of_both_positions_changes_nothing(kind, height, width):
    bias = np.asarray(random_bias(kind)(height=height, width=width))
    seen = {}
    for p, one in enumerate(cells(height, width)):
        for q, other in enumerate(cells(height, width)):
            seen.setdefault((one[0] - other[0], one[1] - other[1]), []).append(bias[:, p, q])
    assert len(seen) == (2 * height - 1) * (2 * width - 1)
    for group in seen.values():
        np.testing.assert_allclose(group, np.broadcast_to(group[0], np.shape(group)), rtol=1e-5, atol=1e-5)
    first = np.array([group[0] for group in seen.values()])
    assert np.ptp(first, axis=0).min() > 0.01


def test_distance_is_zero_in_place_negative_elsewhere_and_symmetric():
    bias = np.asarray(random_bias(DistanceBias)(height=3, width=5))
    for head in bias:
        np.testing.assert_array_equal(np.diag(head), 0.0)
        assert head[~np.eye(15, dtype=bool)].max() < 0
        np.testing.assert_array_equal(head, head.T)


def test_mlp_tells_directions_apart():
    bias = np.asarray(random_bias(MLPBias)(height=3, width=5))
    assert np.abs(bias - bias.transpose(0, 2, 1)).max() > 0.1


@pytest.mark.parametrize("kind", BIASES)
def test_one_set_of_weights_fits_every_size(kind):
    layer = random_bias(kind)
    small, large = (np.asarray(layer(height=side, width=side)) for side in (4, 8))
    number = {cell: i for i, cell in enumerate(cells(8, 8))}
    for p, one in enumerate(cells(4, 4)):
        for q, other in enumerate(cells(4, 4)):
            # The same offsets from the middle of things: two cells of the fine map are one of the coarse one.
            dy, dx = 2 * (one[0] - other[0]), 2 * (one[1] - other[1])
            start = (max(0, -dy), max(0, -dx))
            fine = large[:, number[start[0] + dy, start[1] + dx], number[start]]
            np.testing.assert_allclose(small[:, p, q], fine, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", BIASES)
def test_a_frame_is_as_wide_as_it_is_high(kind):
    """On a non-square map the offset is a share of each side: the far corner is as far on 2x8 as on 8x2."""
    layer = random_bias(kind)
    wide, high = np.asarray(layer(height=2, width=8)), np.asarray(layer(height=8, width=2))
    if kind is DistanceBias:
        order = [row * 2 + column for column in range(2) for row in range(8)]
        np.testing.assert_allclose(wide, high[:, order][:, :, order], rtol=1e-5)
    # Half the frame down: one cell of 2x8, four of 8x2.
    np.testing.assert_allclose(wide[:, 8, 0], high[:, 8, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_widths_start_geometric_from_local_to_flat(heads):
    layer = DistanceBias(heads)
    layer.build()
    deviations = np.sqrt(1 / (2 * softplus(layer.width.numpy())))
    np.testing.assert_allclose(deviations, [0.5 * 16 ** (i / max(1, heads - 1)) for i in range(heads)], rtol=1e-5)
    windows = np.exp(np.asarray(layer(height=8, width=8))[:, 0, :8])  # along one row of the frame
    assert windows[0, 1] < 0.14 and windows[0, 2] < 1e-3
    assert heads == 1 or windows[-1, 7] > 0.6


def test_the_start_is_the_inverse_of_softplus():
    layer = DistanceBias(4)
    layer.build()
    precisions = 1 / (2 * np.geomspace(0.5, 8, 4) ** 2)
    np.testing.assert_allclose(np.asarray(ops.softplus(layer.width.value)), precisions, rtol=2e-6)
    bias = np.asarray(layer(height=8, width=8))
    np.testing.assert_allclose(bias[:, 0, 1], -precisions, rtol=2e-6)  # neighbours on an 8x8 map are one unit apart


def test_mlp_starts_at_zero_and_can_leave_it():
    layer = MLPBias(3)
    layer.build()
    np.testing.assert_array_equal(np.asarray(layer(height=3, width=4)), 0.0)
    assert all(np.ptp(weight.numpy()) > 0 for weight in layer.weights if weight.path.endswith("inner/kernel"))


@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_bias_is_float32_to_the_last_bit(kind, policy):
    layer = random_bias(kind)
    with dtype_policy(policy):
        typed = kind(3, name="bias")
        typed.build()
        typed.set_weights(layer.get_weights())
        bias = np.asarray(typed(height=4, width=4))
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, np.asarray(layer(height=4, width=4)))


@pytest.mark.parametrize(("kind", "arguments"), [(DistanceBias, {}), (MLPBias, {"hidden": 7})])
def test_serialisation(kind, arguments):
    layer = kind(3, **arguments, name="bias")
    before = np.asarray(layer(height=2, width=3))  # builds it
    assert before.shape == (3, 6, 6)
    randomise(layer)
    twin = kind.from_config(json.loads(json.dumps(layer.get_config())))
    twin.build()
    assert [(w.path, w.shape) for w in twin.weights] == [(w.path, w.shape) for w in layer.weights]
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.asarray(twin(height=2, width=3)), np.asarray(layer(height=2, width=3)))
    assert keras.saving.get_registered_object(f"ccsn_tf>{kind.__name__}") is kind


def test_registry_is_the_flag_s_choices():
    (field,) = (field for _, field in settings() if field.name == "position")
    assert set(POSITION_BIASES) == set(field.metadata["choices"])
    assert ModelConfig().position in POSITION_BIASES
