"""Videos that are damaged, cut or no videos at all: what is said of them."""

import os
import subprocess
import sys

import pytest
from odd_videos import HOPELESS
from videos import moving, truncate, write_video

from ccsn_tf.data.video import VideoError, announced_bytes, decode_whole, iter_frames


def frames_of(path):
    return list(iter_frames(str(path), 256))


def cut_between_frames(path):
    chunks = write_video(path, moving(40)).read_bytes().split(b"00dc")
    path.write_bytes(b"00dc".join(chunks[:21]))
    return path


def cut_inside_a_frame(path):
    return truncate(write_video(path, moving(20), "mjpeg", {"strict": "unofficial"}), 0.5)


def cut_inside_the_header(path):
    # The table of the streams is there, what says how they are coded is not.
    content = write_video(path, moving(40)).read_bytes()
    path.write_bytes(content[: content.index(b"stsd") + 4])
    return path


def link(target):
    return lambda path: path.symlink_to(target) or path


BAD = {
    "cut.avi": (cut_between_frames, "is truncated, .* of 40 frames are there"),
    "cut.webm": (
        lambda path: truncate(write_video(path, moving(40)), 0.7),
        r"is truncated, \d+ of \d+ bytes",
    ),
    "cut.mp4": (cut_inside_the_header, "is damaged|cannot be read"),
    "frames.avi": (cut_inside_a_frame, "is truncated|is damaged after frame"),
    "absent.avi": (lambda path: path, "does not exist"),
    "folder.avi": (lambda path: path.mkdir() or path, "is a folder, not a video file"),
    "pipe.avi": (lambda path: os.mkfifo(path) or path, "is a device or pipe, not a video file"),
    "device.avi": (link("/dev/zero"), "is a device or pipe, not a video file"),
    "loop.avi": (link("loop.avi"), "cannot be read .Too many levels of symbolic links"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_video_is_named_with_the_reason(tmp_path, name):
    make, reason = BAD[name]
    path = make(tmp_path / name)
    for look in (frames_of, decode_whole):
        with pytest.raises(VideoError, match=f"^{path} ({reason})"):
            look(str(path))


def test_announced_size_costs_no_memory(tmp_path):
    path = HOPELESS["picture-announced.avi"](tmp_path / "huge.avi")
    program = (
        "import resource, sys; from ccsn_tf.data.video import VideoError, decode_whole\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode_whole(sys.argv[1])\n"
        "except VideoError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 100 * 1024  # KiB; the picture alone would take 750 MiB


# What a Matroska file says of its length

HEADER, SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")


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
