import pytest
from videos import moving, truncate, write_video

from ccsn_tf.data.matroska import announced_bytes

HEADER, SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_whole_file_is_as_long_as_it_says(tmp_path, name):
    path = write_video(tmp_path / name, moving(20))
    size = path.stat().st_size
    assert announced_bytes(path) == size
    for share in (0.2, 0.5, 0.99):
        assert announced_bytes(truncate(write_video(path, moving(20)), share)) == size


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_other_containers_say_nothing(tmp_path, name):
    assert announced_bytes(write_video(tmp_path / name, moving(3))) is None


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
