from fractions import Fraction

import numpy as np
import pytest

from ccsn_tf.data.display import Orientation, scaled_size, stretched_width

IMAGE = np.arange(3 * 4 * 2).reshape(3, 4, 2)
ONE = 1 << 16  # in the matrix


@pytest.mark.parametrize(
    "size, short_side, expected",
    [
        ((320, 240), 256, (320, 240)),
        ((320, 240), 120, (160, 120)),
        ((240, 320), 120, (120, 160)),
        ((1920, 1080), 256, (455, 256)),
        ((33, 17), 16, (31, 16)),
        ((5000, 20), 16, (4000, 16)),
        ((1, 1), 16, (1, 1)),
    ],
)
def test_scaled_size(size, short_side, expected):
    assert scaled_size(*size, short_side) == expected


@pytest.mark.parametrize(
    "width, aspect, expected",
    [
        (720, Fraction(16, 15), 768),
        (720, Fraction(64, 45), 1024),
        (720, Fraction(8, 9), 640),
        (352, Fraction(12, 11), 384),
        (320, None, 320),
        (320, Fraction(0), 320),
        (320, Fraction(-1), 320),
        (320, Fraction(1), 320),
        (160, Fraction(4096, 4083), 160),  # what scaling leaves behind: UCF101's copies have it
        (16, Fraction(1, 1000), 1),
    ],
)
def test_width_in_square_pixels(width, aspect, expected):
    assert stretched_width(width, aspect) == expected


def by_definition(matrix, image):
    """Moves every pixel to where the matrix says: (x, y) to (a x + c y, b x + d y), the corner back to zero."""
    a, b, c, d = (matrix[index] // ONE for index in (0, 1, 3, 4))
    pixels = {(a * x + c * y, b * x + d * y): image[y, x] for y, x in np.ndindex(image.shape[:2])}
    left, top = (min(place[axis] for place in pixels) for axis in (0, 1))
    width, height = (max(place[axis] for place in pixels) + 1 - low for axis, low in ((0, left), (1, top)))
    shown = np.zeros((height, width, *image.shape[2:]), image.dtype)
    for (x, y), pixel in pixels.items():
        shown[y - top, x - left] = pixel
    return shown


@pytest.mark.parametrize(
    "a, b, c, d", [(s, 0, 0, t) for s in (1, -1) for t in (1, -1)] + [(0, s, t, 0) for s in (1, -1) for t in (1, -1)]
)
def test_all_eight_orientations(a, b, c, d):
    matrix = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 7 * ONE, 9 * ONE, 1 << 30]
    upright = Orientation.of_matrix(matrix).apply(IMAGE)
    np.testing.assert_array_equal(upright, by_definition(matrix, IMAGE))
    assert upright.flags.c_contiguous


def test_angles_between_go_to_the_nearest_orientation():
    for degrees in range(0, 360, 10):
        if degrees % 90 in (40, 50):
            continue
        turn = np.deg2rad(-degrees)
        a, b = (round(ONE * value) for value in (np.cos(turn), np.sin(turn)))
        nearest = np.rot90(IMAGE, round(degrees / 90))
        np.testing.assert_array_equal(Orientation.of_matrix([a, b, 0, -b, a, 0, 0, 0, 1 << 30]).apply(IMAGE), nearest)


def test_extreme_matrices_do_no_harm():
    for entry in (0, -(2**31), 2**31 - 1):
        assert sorted(Orientation.of_matrix(np.full(9, entry, np.int32)).apply(IMAGE).shape) == [2, 3, 4]
    assert Orientation.of_matrix(np.zeros(9, np.int32)) == Orientation()


@pytest.mark.parametrize("degrees", [-270, -180, -90.0001, -89.9999, 0, 90, 179.99, 270])
def test_angle_alone(degrees):
    upright = Orientation.of_rotation(degrees).apply(IMAGE)
    np.testing.assert_array_equal(upright, np.rot90(IMAGE, round(degrees / 90)))


def test_nothing_to_do_copies_nothing():
    assert Orientation().apply(IMAGE) is IMAGE
