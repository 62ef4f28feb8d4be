import dataclasses

import cv2
import numpy as np
import pytest
from videos import moving

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import dequantise, flow_fields, grey_of, make_estimator, quantise

BOUND = 20.0


def inner(field, margin=8):
    return field[margin:-margin, margin:-margin]


def fields_of(frames, **settings):
    return list(flow_fields(frames, make_estimator(DataConfig(**settings))))


def test_quantise_is_the_formula_of_the_method():
    values = np.linspace(-25, 25, 20001, dtype=np.float32)
    expected = [round(255 * (min(max(float(v), -20.0), 20.0) + 20) / 40) for v in values]
    stored = quantise(values, BOUND)
    assert stored.dtype == np.uint8
    away_from_ties = np.abs((255 * (values.astype(float) + 20) / 40) % 1 - 0.5) > 1e-4
    np.testing.assert_array_equal(stored[away_from_ties], np.array(expected)[away_from_ties])


@pytest.mark.parametrize("value, stored", [(-20, 0), (-1e9, 0), (20, 255), (1e9, 255), (0, 128), (-0.0784, 127)])
def test_quantise_marks(value, stored):
    assert quantise(np.float32(value), BOUND) == stored


@pytest.mark.parametrize("bound", [1.0, 15.0, 20.0])
def test_error_is_at_most_half_a_step(bound):
    values = np.random.default_rng(0).uniform(-bound, bound, 10000).astype(np.float32)
    error = np.abs(dequantise(quantise(values, bound), bound) - values)
    assert error.max() <= bound / 255 * (1 + 1e-5)
    assert error.max() > 0.99 * bound / 255


def test_stored_values_survive():
    stored = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(stored, BOUND), BOUND), stored)
    assert dequantise(stored, BOUND).dtype == np.float32


def test_mirrored_x_flow_is_255_minus_the_value():
    stored = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(dequantise(255 - stored, BOUND), -dequantise(stored, BOUND), atol=1e-5)


@pytest.mark.parametrize("step", [(2, 0), (0, -2), (-3, 1), (1, 3)])
@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_translation(flow, step):
    fields = fields_of(moving(3, step, height=72, width=96), flow=flow)
    assert len(fields) == 2
    for field in fields:
        assert field.shape == (72, 96, 2) and field.dtype == np.float32
        assert np.abs(inner(field) - step).mean() < 0.1
        assert np.quantile(np.abs(inner(field) - step), 0.99) < 0.3


def test_translation_tvl1():
    (field,) = fields_of(moving(2, (2, -1), height=40, width=48), flow="tvl1")
    assert field.shape == (40, 48, 2) and field.dtype == np.float32
    assert np.abs(inner(field) - (2, -1)).mean() < 0.3


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


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_presets_keep_the_finest_scale_that_was_asked_for(preset):
    (field,) = fields_of(moving(2, (1, 0), height=48, width=64), dis_preset=preset)
    assert np.abs(inner(field) - (1, 0)).mean() < 0.2


@pytest.mark.parametrize("flow", ["dis", "farneback", "tvl1"])
def test_nothing_moves_in_still_and_in_flat_frames(flow):
    for frames in (moving(2, (0, 0)), np.full((2, 36, 48, 3), 99, np.uint8), np.zeros((2, 36, 48, 3), np.uint8)):
        (field,) = fields_of(frames, flow=flow)
        assert np.abs(field).max() < 0.08
        assert set(np.unique(quantise(field, BOUND))) <= {127, 128}


@pytest.mark.parametrize("scale", [0, 2, 4])
@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_estimator_has_no_memory(flow, scale):
    # A clip's record must not depend on the clips that the process has seen before.
    frames, others = moving(3, (1, 1), height=144, width=130), moving(3, (-3, 0), height=16, width=20, seed=5)
    estimator = make_estimator(DataConfig(flow=flow, dis_finest_scale=scale))
    first = list(flow_fields(frames, estimator))
    list(flow_fields(others, estimator))
    for field, again in zip(first, flow_fields(frames, estimator), strict=True):
        np.testing.assert_array_equal(field, again)


def test_field_i_goes_from_frame_i_to_the_next():
    fields = fields_of(moving(8, (2, 0), still=4))
    moved = [float(inner(field)[..., 0].mean()) for field in fields]
    np.testing.assert_allclose(moved, [0, 0, 0, 0, 2, 2, 2], atol=0.2)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("num_frames", range(13))
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
    frames = moving(2, (6, -3), height=108, width=144)
    (field,) = fields_of(frames, flow=flow, flow_side=36)
    small = [cv2.resize(frame, (48, 36), interpolation=cv2.INTER_AREA) for frame in map(grey_of, frames)]
    expected = 3 * cv2.resize(make_estimator(DataConfig(flow=flow))(*small), (144, 108))
    np.testing.assert_allclose(field, expected, atol=1e-5)
    assert field.shape == (108, 144, 2) and field.dtype == np.float32
    assert np.abs(inner(field, 24) - (6, -3)).mean() < 0.2


def test_each_axis_has_its_own_scale():
    frames = moving(2, (4, 4), height=75, width=98)
    (field,) = fields_of(frames, flow="farneback", flow_side=50)  # 50x65
    np.testing.assert_allclose(inner(field, 20).mean(axis=(0, 1)), [4, 4], atol=0.1)


@pytest.mark.parametrize("side, scaled", [(0, False), (71, True), (72, False), (500, False)])
def test_only_larger_frames_are_scaled(side, scaled):
    frames = moving(2, (1, 2), height=72, width=96)
    (field,), (as_stored,) = fields_of(frames, flow_side=side), fields_of(frames, flow_side=0)
    assert np.array_equal(field, as_stored) != scaled


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_frames_have_no_flow(count):
    assert fields_of(moving(2)[:count]) == []


def test_frames_are_taken_one_by_one():
    taken = []

    def frames():
        for frame in moving(5):
            taken.append(frame)
            yield frame

    fields = flow_fields(frames(), make_estimator(DataConfig(flow="farneback")))
    next(fields)
    assert len(taken) == 2


def test_grey_is_made_of_red_green_blue():
    seen = []
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    frames[..., 0] = 200
    list(flow_fields(frames, lambda previous, following: seen.append(previous) or np.zeros((16, 16, 2))))
    assert set(np.unique(seen[0])) == {60}  # 0.299 * 200


def test_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="--flow must be one of dis, farneback, tvl1"):
        dataclasses.replace(DataConfig(), flow="lucas_kanade")
