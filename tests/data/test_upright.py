from fractions import Fraction

import numpy as np
import pytest

from ccsn_tf.data.upright import Orientation, stretched_width

IMAGE = np.arange(3 * 4 * 2).reshape(3, 4, 2)
ONE = 1 << 16  # in the matrix


@pytest.mark.parametrize(
    "width, aspect, expected",
    [
        (720, Fraction(16, 15), 768),
        (720, Fraction(64, 45), 1024),
        (720, Fraction(8, 9), 640),
        (320, None, 320),
        (320, Fraction(0), 320),
        (320, Fraction(-1), 320),
        (160, Fraction(4096, 4083), 160),  # what scaling leaves behind: UCF101's copies have it
        (16, Fraction(1, 1000), 1),
    ],
)
def test_width_in_square_pixels(width, aspect, expected):
    assert stretched_width(width, aspect) == expected


@pytest.mark.parametrize("degrees", [-270, -180, -90.0001, -89.9999, 0, 20, 50, 90, 170, 179.99, 230, 270, 350])
def test_other_angles_go_to_the_nearest_orientation(degrees):
    upright = Orientation.of_rotation(degrees).apply(IMAGE)
    np.testing.assert_array_equal(upright, np.rot90(IMAGE, round(degrees / 90)))
