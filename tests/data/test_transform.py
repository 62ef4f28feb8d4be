import cv2
import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.data.transform import decode_field, decode_frame, empty_input, network_input
from ccsn_tf.errors import UserError

K, L, H, W = 2, 3, 20, 26


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (K, H, W, 3), np.uint8)
    fields = rng.integers(0, 256, (K, L, 2, H, W), np.uint8)
    return frames, fields


def test_crop_without_scaling_is_exact():
    frames, fields = inputs()
    rgb, flow = network_input(frames, fields, [3, 5, 12, 12], False, 12)
    assert rgb.dtype == flow.dtype == np.uint8
    np.testing.assert_array_equal(rgb, frames[:, 3:15, 5:17])
    assert flow.shape == (K, 12, 12, 2 * L)
    for field in range(L):
        for axis in range(2):  # channels x1, y1, x2, y2, ...
            np.testing.assert_array_equal(flow[..., 2 * field + axis], fields[:, field, axis, 3:15, 5:17])


@pytest.mark.parametrize("size", [12, 7, 16, 31])
def test_mirrored_is_the_mirror_image_with_x_turned_round(size):
    frames, fields = inputs()
    rgb, flow = network_input(frames, fields, [2, 8, 16, 16], False, size)
    mirrored_rgb, mirrored_flow = network_input(frames, fields, [2, 8, 16, 16], True, size)
    np.testing.assert_array_equal(mirrored_rgb, rgb[:, :, ::-1])
    np.testing.assert_array_equal(mirrored_flow[..., 0::2], 255 - flow[:, :, ::-1, 0::2])
    np.testing.assert_array_equal(mirrored_flow[..., 1::2], flow[:, :, ::-1, 1::2])


@pytest.mark.parametrize("size", [7, 13, 31])
@pytest.mark.parametrize("mirrored", [False, True])
def test_both_streams_are_scaled_alike(mirrored, size):
    frames, fields = inputs()
    frames[:] = frames[..., :1]
    fields[:] = frames[:, None, None, :, :, 0]  # every flow field is a copy of the grey picture
    rgb, flow = network_input(frames, fields, [1, 4, 18, 18], mirrored, size)
    for channel in range(2 * L):
        expected = 255 - rgb[..., 0] if mirrored and channel % 2 == 0 else rgb[..., 0]
        np.testing.assert_array_equal(flow[..., channel], expected)


def test_scaling_rounds_and_keeps_the_extremes():
    frames, fields = inputs()
    frames[:], fields[:] = 255, 0
    rgb, flow = network_input(frames, fields, [0, 0, 20, 20], False, 33)
    assert (rgb == 255).all() and (flow == 0).all()


def test_halving_is_the_bilinear_mean():
    ramp = np.tile(np.arange(0, 2 * W, 2, dtype=np.uint8)[None, None, :, None], (K, H, 1, 3))
    _, fields = inputs()
    rgb, _ = network_input(ramp, fields, [0, 0, 20, 20], False, 10)
    np.testing.assert_array_equal(rgb[0, 0, :, 0], 4 * np.arange(10) + 1)


@pytest.mark.parametrize("size", [5, 11, 19, 20, 37])
def test_scaling_is_tensorflows_to_one_level(size):
    """As `serving.decoding` scales, inside a graph."""
    frames, fields = inputs()
    rgb, flow = network_input(frames, fields, [0, 3, 20, 20], False, size)
    expected = tf.image.resize(frames[:, :, 3:23], (size, size), method="bilinear").numpy()
    assert np.abs(rgb - expected).max() <= 1
    stacked = fields.transpose(0, 3, 4, 1, 2).reshape(K, H, W, 2 * L)[:, :, 3:23]
    assert np.abs(flow - tf.image.resize(stacked, (size, size), method="bilinear").numpy()).max() <= 1


def test_writes_into_arrays_that_are_given():
    frames, fields = inputs()
    expected = network_input(frames, fields, [1, 2, 15, 15], True, 9)
    rgb, flow = empty_input((3, K), L, 9)
    rgb[:], flow[:] = 1, 2
    network_input(frames, fields, [1, 2, 15, 15], True, 9, (rgb[1], flow[1]))
    np.testing.assert_array_equal(rgb[1], expected[0])
    np.testing.assert_array_equal(flow[1], expected[1])
    assert (rgb[[0, 2]] == 1).all() and (flow[[0, 2]] == 2).all()


def test_most_fields_a_snippet_can_have():
    frames, fields = np.zeros((1, H, W, 3), np.uint8), np.zeros((1, 64, 2, H, W), np.uint8)
    fields[:] = np.arange(128, dtype=np.uint8).reshape(1, 64, 2, 1, 1)
    _, flow = network_input(frames, fields, [0, 0, 20, 20], False, 16)  # OpenCV merges 128 channels at most
    assert (flow == np.arange(128)).all()


def test_tensorflow_takes_the_arrays_as_they_are():
    for array in empty_input((2, 3), 5, 21):
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous and array.dtype == np.uint8


def jpeg(image, quality=95):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]


def test_a_frame_is_decoded_as_tensorflow_does():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8), (0, 0), 1)
    encoded = jpeg(image)
    expected = tf.io.decode_jpeg(encoded.tobytes(), channels=3, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decode_frame(encoded), expected)
    assert np.abs(decode_frame(encoded)[..., ::-1].astype(int) - image).mean() < 8  # OpenCV writes BGR


def test_a_field_is_decoded_as_tensorflow_does():
    encoded = jpeg(cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (2 * H, W), np.uint8), (0, 0), 1))
    expected = tf.io.decode_jpeg(encoded.tobytes(), channels=1, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decode_field(encoded), expected.reshape(2, H, W))


def test_x_is_above_y():
    field = decode_field(jpeg(np.concatenate([np.full((H, W), 40, np.uint8), np.full((H, W), 200, np.uint8)]), 100))
    assert field.shape == (2, H, W)
    np.testing.assert_allclose(field[0, :-8], 40, atol=2)
    np.testing.assert_allclose(field[1, 8:], 200, atol=2)


@pytest.mark.parametrize("decode", [decode_frame, decode_field])
def test_what_is_no_jpeg(decode):
    with pytest.raises(UserError, match="damaged JPEG"):
        decode(np.arange(100, dtype=np.uint8))
