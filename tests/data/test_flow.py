import itertools

import cv2
import numpy as np
import pytest
from videos import moving

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import dequantise, field_size, flow_fields, grey_of, make_estimator, quantise
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations

BOUND = 20.0


def inner(field, margin=8):
    return field[margin:-margin, margin:-margin]


def fields_of(frames, **settings):
    return list(flow_fields(frames, make_estimator(DataConfig(**settings))))


def test_quantise_is_the_formula_of_the_method():
    values = np.linspace(-25, 25, 2001, dtype=np.float32)
    exact = [255 * (min(max(float(v), -20.0), 20.0) + 20) / 40 for v in values]
    stored = quantise(values, BOUND)
    assert stored.dtype == np.uint8 and np.abs(stored - exact).max() <= 0.5 + 1e-4
    assert quantise(np.float32([-1e9, -20, -0.0784, 0, 20, 1e9]), BOUND).tolist() == [0, 0, 127, 128, 255, 255]


@pytest.mark.parametrize("bound", [1.0, 20.0])
def test_there_and_back(bound):
    values = np.random.default_rng(0).uniform(-bound, bound, 10000).astype(np.float32)
    error = np.abs(dequantise(quantise(values, bound), bound) - values)
    assert 0.99 * bound / 255 < error.max() <= bound / 255 * (1 + 1e-5)  # half a step
    stored = np.arange(256, dtype=np.uint8)
    assert dequantise(stored, bound).dtype == np.float32
    np.testing.assert_array_equal(quantise(dequantise(stored, bound), bound), stored)
    np.testing.assert_allclose(dequantise(255 - stored, bound), -dequantise(stored, bound), atol=1e-5)  # mirrored


@pytest.mark.parametrize(
    "flow, step, size",
    [
        ("dis", (-3, 1), (72, 96)),
        ("dis", (1, 3), (72, 96)),
        ("farneback", (0, -2), (72, 96)),
        ("tvl1", (2, -1), (40, 48)),
    ],
)
def test_translation(flow, step, size):
    frames = moving(3, step, *size)
    for field in fields_of(frames, flow=flow):
        assert field.shape == (*size, 2) and field.dtype == np.float32
        assert np.abs(inner(field) - step).mean() < (0.3 if flow == "tvl1" else 0.1)


def square_on_still_ground():
    """A square of 12 pixels moves by two."""
    ground, square = moving(1, seed=1, height=72, width=96)[0], moving(1, seed=2, height=12, width=12)[0]
    frames = np.stack([ground, ground])
    for index, frame in enumerate(frames):
        frame[30:42, 40 + 2 * index : 52 + 2 * index] = square
    return frames


def test_finest_scale_matters_for_small_objects():
    seen = [fields_of(square_on_still_ground(), dis_finest_scale=scale)[0][32:40, 44:52, 0] for scale in (0, 1, 2)]
    errors = [np.abs(field - 2).mean() for field in seen]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.3 and errors[2] > 1


@pytest.mark.parametrize("height, width, coarsest", [(12, 16, 0), (36, 48, 1), (72, 96, 2), (144, 130, 2)])
def test_finest_scale_beyond_the_coarsest_is_the_coarsest(height, width, coarsest):
    frames = moving(4, (1, 0), height=height, width=width)
    fields = [fields_of(frames, dis_finest_scale=scale) for scale in range(5)]
    for scale in range(coarsest, 5):
        np.testing.assert_array_equal(fields[scale], fields[coarsest])
    for scale in range(coarsest):
        assert np.abs(np.array(fields[scale]) - fields[scale + 1]).max() > 0.05


@pytest.mark.parametrize("flow", ["dis", "farneback", "tvl1"])
def test_nothing_moves_in_still_and_in_flat_frames(flow):
    for frames in (moving(2, (0, 0)), np.full((2, 36, 48, 3), 99, np.uint8), np.zeros((2, 36, 48, 3), np.uint8)):
        (field,) = fields_of(frames, flow=flow)
        assert np.abs(field).max() < 0.08
        assert set(np.unique(quantise(field, BOUND))) <= {127, 128}


@pytest.mark.parametrize("scale", [0, 4])
@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_estimator_has_no_memory(flow, scale):
    # A clip's record must not depend on the clips that the process has seen before.
    frames, others = moving(3, (1, 1), height=144, width=130), moving(3, (-3, 0), height=16, width=20, seed=5)
    estimator = make_estimator(DataConfig(flow=flow, dis_finest_scale=scale))
    first = list(flow_fields(frames, estimator))
    list(flow_fields(others, estimator))
    for field, again in zip(first, flow_fields(frames, estimator), strict=True):
        np.testing.assert_array_equal(field, again)


@pytest.mark.parametrize("num_frames, stride", [*itertools.product((0, 1, 3, 7), (1, 2, 5))])
def test_stride_by_a_plain_loop(num_frames, stride):
    frames = [np.full((4, 4, 3), index, np.uint8) for index in range(num_frames)]
    pairs = flow_fields(frames, lambda previous, following: (previous[0, 0], following[0, 0]), stride)
    expected, start = [], 0
    while start + stride < num_frames:  # the stored frame behind the field is there
        expected.append((start, start + 1))
        start += stride
    assert list(pairs) == expected


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_frames_are_scaled_to_the_working_size(flow):
    frames = moving(2, (6, -3), height=75, width=98)
    (field,) = fields_of(frames, flow=flow, flow_side=50)  # 50x65: each axis has its own scale
    small = [cv2.resize(frame, (65, 50), interpolation=cv2.INTER_AREA) for frame in map(grey_of, frames)]
    expected = make_estimator(DataConfig(flow=flow))(*small) * np.float32([98 / 65, 75 / 50])
    np.testing.assert_allclose(field, expected, atol=1e-5)
    assert field.shape == (*field_size(75, 98, 50), 2) == (50, 65, 2) and field.dtype == np.float32
    assert np.abs(inner(field, 16) - (6, -3)).mean() < 0.2  # in pixels of the frames as given


@pytest.mark.slow
def test_tvl1_graph_is_the_network_s_layer_and_mirrors_with_the_frames():
    frames = moving(2, (1, 0), height=12, width=16)
    (field,) = fields_of(frames, flow="tvl1_graph", flow_side=0)
    greys = np.stack([grey_of(frame) for frame in frames])
    with iterations(LOOPED):
        layer, mirrored = (np.asarray(TVL1Flow()(each[None])[0]) for each in (greys, greys[..., ::-1]))
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, layer, atol=1e-2)
    # Not to the last pixel: forward differences of the field look one way.
    assert np.abs(mirrored - field[:, ::-1] * np.float32([-1, 1])).mean() < 0.1
