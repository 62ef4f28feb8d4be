from fractions import Fraction

import numpy as np
import pytest
from videos import moving, truncate, write_video

from ccsn_tf.data.container import Orientation, announced_bytes, stretched_width

IMAGE = np.arange(3 * 4 * 2).reshape(3, 4, 2)
ONE = 1 << 16  # in the matrix
HEADER, SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")


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


@pytest.mark.parametrize("name, says", [("a.mkv", True), ("a.webm", True), ("a.mp4", False), ("a.avi", False)])
def test_a_whole_file_is_as_long_as_it_says(tmp_path, name, says):
    path = write_video(tmp_path / name, moving(20))
    size = path.stat().st_size if says else None
    assert announced_bytes(path) == announced_bytes(truncate(path, 0.5)) == size


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", None),
        (HEADER, None),
        (HEADER + b"\x82ab", None),
        (HEADER + b"\x82ab" + SEGMENT, None),
        (HEADER + b"\x82ab" + SEGMENT + b"\x85hello", 17),
        (HEADER + b"\x82ab" + SEGMENT + b"\x40\x05hello", 18),
        (HEADER + b"\x82ab" + SEGMENT + b"\x01\0\0\0\0\0\0\x05hello", 24),
        (HEADER + b"\x82ab" + SEGMENT + b"\xff", None),  # unknown, as a live recording has it
        (HEADER + b"\x82ab" + SEGMENT + b"\x01" + b"\xff" * 7, None),
        (HEADER + b"\x82ab" + SEGMENT + b"\x00" + b"\x05" * 8, None),
        (HEADER + b"\xffab" + SEGMENT + b"\x85hello", None),
        (HEADER + b"\x82abXXXX\x85hello", None),
    ],
)
def test_lengths(tmp_path, content, expected):
    (tmp_path / "a.mkv").write_bytes(content)
    assert announced_bytes(tmp_path / "a.mkv") == expected
