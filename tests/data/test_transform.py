import cv2
import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.data.transform import decode_snippets, network_input

K, L, H, W = 2, 3, 20, 26


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (K, H, W, 3), np.uint8)
    fields = rng.integers(0, 256, (K, L, 2, H, W), np.uint8)
    return frames, fields


def transform(frames, fields, box, mirrored, size):
    rgb, flow = network_input(tf.constant(frames), tf.constant(fields), tf.constant(box), tf.constant(mirrored), size)
    return rgb.numpy(), flow.numpy()


def test_crop_without_scaling_is_exact():
    frames, fields = inputs()
    rgb, flow = transform(frames, fields, [3, 5, 12], False, 12)
    assert rgb.dtype == flow.dtype == np.uint8
    np.testing.assert_array_equal(rgb, frames[:, 3:15, 5:17])
    assert flow.shape == (K, 12, 12, 2 * L)
    for field in range(L):
        for axis in range(2):  # channels x1, y1, x2, y2, ...
            np.testing.assert_array_equal(flow[..., 2 * field + axis], fields[:, field, axis, 3:15, 5:17])


@pytest.mark.parametrize("size", [12, 7, 16, 31])
def test_mirrored_is_the_mirror_image_with_x_turned_round(size):
    frames, fields = inputs()
    rgb, flow = transform(frames, fields, [2, 8, 16], False, size)
    mirrored_rgb, mirrored_flow = transform(frames, fields, [2, 8, 16], True, size)
    np.testing.assert_array_equal(mirrored_rgb, rgb[:, :, ::-1])
    np.testing.assert_array_equal(mirrored_flow[..., 0::2], 255 - flow[:, :, ::-1, 0::2])
    np.testing.assert_array_equal(mirrored_flow[..., 1::2], flow[:, :, ::-1, 1::2])


@pytest.mark.parametrize("mirrored", [False, True])
def test_both_streams_are_scaled_alike(mirrored):
    frames, fields = inputs()
    fields[:] = frames[:, None, None, :, :, 0]  # every flow field is a copy of the red channel
    rgb, flow = transform(frames, fields, [1, 4, 18], mirrored, 13)
    for channel in range(2 * L):
        expected = 255 - rgb[..., 0] if mirrored and channel % 2 == 0 else rgb[..., 0]
        np.testing.assert_array_equal(flow[..., channel], expected)


def test_scaling_rounds_and_keeps_the_extremes():
    frames, fields = inputs()
    frames[:], fields[:] = 255, 0
    rgb, flow = transform(frames, fields, [0, 0, 20], False, 33)
    assert (rgb == 255).all() and (flow == 0).all()


def test_halving_is_the_bilinear_mean():
    ramp = np.tile(np.arange(0, 2 * W, 2, dtype=np.uint8)[None, None, :, None], (K, H, 1, 3))
    _, fields = inputs()
    rgb, _ = transform(ramp, fields, [0, 0, 20], False, 10)
    np.testing.assert_array_equal(rgb[0, 0, :, 0], 4 * np.arange(10) + 1)


def test_shapes_are_known_in_the_graph():
    @tf.function
    def graph(frames, fields, box, mirrored):
        rgb, flow = network_input(frames, fields, box, mirrored, 9)
        assert rgb.shape[1:] == (9, 9, 3) and flow.shape[1:] == (9, 9, 2 * L)
        return rgb, flow

    frames, fields = (tf.constant(values) for values in inputs())
    for mirrored in (False, True):
        eager = network_input(frames, fields, tf.constant([0, 1, 15]), tf.constant(mirrored), 9)
        traced = graph(frames, fields, tf.constant([0, 1, 15]), tf.constant(mirrored))
        for a, b in zip(eager, traced, strict=True):
            np.testing.assert_array_equal(a, b)


def jpegs(values, height, channels):
    images = (np.full((height, W, channels), value, np.uint8) for value in values)
    return tf.constant([tf.io.encode_jpeg(image, quality=100).numpy() for image in images])


@pytest.mark.parametrize("length, starts", [(1, [0, 11]), (2, [0, 4, 10]), (5, [0, 3, 3, 7]), (12, [0])])
def test_middle_frame_and_the_fields_of_each_snippet(length, starts):
    rgb = jpegs(range(0, 130, 10), H, 3)  # frame i is 10 i everywhere
    flow = jpegs(range(100, 220, 10), 2 * H, 1)  # field i is 100 + 10 i
    frames, fields = decode_snippets(rgb, flow, tf.constant(starts, tf.int64), length)
    assert frames.shape == (len(starts), H, W, 3) and fields.shape == (len(starts), length, 2, H, W)
    assert frames.dtype == fields.dtype == tf.uint8
    for index, start in enumerate(starts):
        np.testing.assert_allclose(frames[index], 10 * (start + length // 2), atol=1)
        for field in range(length):
            np.testing.assert_allclose(fields[index, field], 100 + 10 * (start + field), atol=1)


def test_jpegs_are_decoded_as_exactly_as_elsewhere():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (2 * H, W), np.uint8), (0, 0), 1)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    frames = jpegs([0, 0], H, 3)
    _, fields = decode_snippets(frames, tf.constant([jpeg.tobytes()]), tf.constant([0], tf.int64), 1)
    np.testing.assert_array_equal(fields.numpy().reshape(2 * H, W), cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE))


def test_x_is_above_y():
    image = np.concatenate([np.full((H, W, 1), 40, np.uint8), np.full((H, W, 1), 200, np.uint8)])
    flow = tf.constant([tf.io.encode_jpeg(image, quality=100).numpy()])
    _, fields = decode_snippets(jpegs([0, 0], H, 3), flow, tf.constant([0], tf.int64), 1)
    np.testing.assert_allclose(fields[0, 0, 0, :-8], 40, atol=2)
    np.testing.assert_allclose(fields[0, 0, 1, 8:], 200, atol=2)
