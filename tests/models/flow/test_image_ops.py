"""Operations on planes that the flow layers are made of."""

import cv2
import numpy as np
import pytest

from ccsn_tf.models.flow.image_ops import (
    grey,
    halve,
    median,
    smooth,
)


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_grey_is_opencv_s():
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3)).astype("uint8")
    expected = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[0]])
    assert np.abs(np.asarray(grey(frames))[0] - expected).max() <= 1  # where OpenCV's fixed point rounds otherwise
    assert (np.asarray(grey(frames))[0] == expected).mean() > 0.99


@pytest.mark.parametrize("size", [(4, 6), (1, 3)])
def test_smooth(size):
    image = random(2, *size)
    kernel = np.outer((0.2, 0.6, 0.2), (0.2, 0.6, 0.2))
    wide = np.pad(image, [(0, 0), (1, 1), (1, 1)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(1, 2))
    np.testing.assert_allclose(smooth(image), (windows * kernel).sum(axis=(-2, -1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 3)])
def test_halve(size):
    image = random(1, *size)
    wide = np.pad(image[0], [(0, size[0] % 2), (0, size[1] % 2)], mode="edge")
    expected = wide.reshape(-(-size[0] // 2), 2, -(-size[1] // 2), 2).mean(axis=(1, 3))
    np.testing.assert_allclose(halve(image)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(6, 7), (1, 4), (3, 1)])
def test_median(size):
    fields = random(2, 2, *size)
    wide = np.pad(fields, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    np.testing.assert_array_equal(median(fields), np.median(windows, axis=(-2, -1)))
