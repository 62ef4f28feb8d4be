"""Operations on planes that the flow layers are made of."""

import cv2
import numpy as np
import pytest

from ccsn_tf.models.flow.image_ops import (
    derivatives,
    divergence,
    forward_differences,
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


def test_derivatives_are_exact_on_cubics():
    x, y = np.meshgrid(np.arange(9.0), np.arange(8.0))
    found = derivatives((x**3 - 2 * y**2)[None].astype("float32"))
    np.testing.assert_allclose(found[0][0, :, 2:-2], (3 * x**2)[:, 2:-2], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found[1][0, 2:-2], (-4 * y)[2:-2], rtol=1e-4, atol=1e-3)


def test_divergence_is_minus_the_adjoint():
    u, v = random(2, 1, 4, 5), random(2, 2, 1, 4, 5)
    v[0, ..., -1] = 0
    v[1, ..., -1, :] = 0
    x, y = forward_differences(u)
    assert not np.asarray(x)[..., -1].any() and not np.asarray(y)[..., -1, :].any()
    left = np.sum(np.asarray(x) * v[0] + np.asarray(y) * v[1])
    np.testing.assert_allclose(left, -np.sum(u * np.asarray(divergence(*v))), rtol=1e-4)


@pytest.mark.parametrize("size", [(6, 7), (1, 4), (3, 1)])
def test_median(size):
    fields = random(2, 2, *size)
    wide = np.pad(fields, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    np.testing.assert_array_equal(median(fields), np.median(windows, axis=(-2, -1)))
