import itertools
from fractions import Fraction

import cv2
import numpy as np
import pytest
from videos import moving, write_video

from ccsn_tf.data.frames import count_frames
from ccsn_tf.data.upright import scaled_size
from ccsn_tf.data.video import Decoded, VideoError, decode_whole, iter_frames


def frames_of(path, short_side=256, wanted=None):
    return list(iter_frames(str(path), short_side, wanted))


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.webm"])
def test_frames_come_in_order_and_in_colour(tmp_path, name):
    written = moving(num_frames=7)
    path = write_video(tmp_path / name, written)
    frames = frames_of(path)
    assert len(frames) == count_frames(str(path)) == 7
    for frame, original in zip(frames, written, strict=True):
        assert frame.shape == original.shape and frame.dtype == np.uint8
        differences = [np.abs(frame.astype(int) - other.astype(int)).mean() for other in written]
        assert differences[np.argmin(differences)] == np.abs(frame.astype(int) - original.astype(int)).mean() < 12


@pytest.mark.parametrize("height, width", [(37, 49), (17, 90)])
def test_even_and_odd_sizes(tmp_path, height, width):
    # MPEG-4 Part 2 stores odd sizes as they are, with half of a chroma sample to spare.
    path = write_video(tmp_path / "a.avi", moving(3, height=height, width=width))
    assert {frame.shape for frame in frames_of(path)} == {(height, width, 3)}
    assert {frame.shape for frame in frames_of(path, 16)} == {(*scaled_size(width, height, 16)[::-1], 3)}


def test_wanted_frames_alone_are_yielded(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(10))
    every = frames_of(path)
    for wanted in ([0], [9], [2, 3, 7], [4, 4, 5]):
        frames = frames_of(path, wanted=wanted)
        assert len(frames) == len(set(wanted))
        for frame, index in zip(frames, sorted(set(wanted)), strict=True):
            np.testing.assert_array_equal(frame, every[index])
    with pytest.raises(VideoError, match=r"a\.mp4 ends after 10 frames, before frame 16"):
        frames_of(path, wanted=[1, 15])


@pytest.mark.parametrize("colour", [(1, 1), (1, 2), (5, 1), (5, 2), (9, 1)], ids=str)
def test_colour_space_and_range_are_those_of_the_file(tmp_path, colour):
    path = write_video(tmp_path / "a.mp4", np.full((4, 32, 32, 3), (200, 60, 90), np.uint8), colour=colour)
    for short_side in (32, 16):  # a scaler of its own for each
        frame = frames_of(path, short_side)[0]
        np.testing.assert_allclose(frame.reshape(-1, 3), np.tile([200, 60, 90], (short_side**2, 1)), atol=5)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_turned_and_mirrored_videos_are_upright(tmp_path, suffix, degrees):
    for mirror_x, mirror_y in itertools.product((False, True), repeat=2):
        path = write_video(tmp_path / f"a{suffix}", moving(3), "mpeg4", display=(degrees, mirror_x, mirror_y))
        lying = frames_of(write_video(tmp_path / f"lying{suffix}", moving(3), "mpeg4"))
        for frame, other in zip(frames_of(path), lying, strict=True):
            shown = np.rot90(other, degrees // 90)
            shown = shown[:, ::-1] if mirror_x else shown
            np.testing.assert_array_equal(frame, shown[::-1] if mirror_y else shown)
            assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    "name, codec, pix_fmt",
    [("a.mp4", "libx264", "yuv420p"), ("a.mpg", "mpeg2video", "yuv420p"), ("a.mov", "qtrle", "rgb24")],
)
def test_anamorphic_videos_have_square_pixels(tmp_path, name, codec, pix_fmt):
    # In the first two the decoder knows, in the last the container alone.
    aspect = Fraction(4, 3)
    square = frames_of(write_video(tmp_path / name, moving(4), codec, pix_fmt=pix_fmt))
    path = write_video(tmp_path / name, moving(4), codec, pix_fmt=pix_fmt, aspect=aspect)
    for frame, other in zip(frames_of(path), square, strict=True):
        assert frame.shape == (36, 64, 3)
        brightness, expected = (image.mean(axis=2) for image in (frame, cv2.resize(other, (64, 36))))
        assert np.abs(brightness - expected).mean() < 4
    assert frames_of(path, 18)[0].shape == (18, 32, 3)
    assert decode_whole(str(path)) == Decoded(frames=4, width=64, height=36, concealed=0)


def test_pixels_are_stretched_before_the_picture_is_turned(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(4), aspect=Fraction(4, 3), display=(90, False, False))
    assert frames_of(path)[0].shape == (64, 36, 3)
    assert decode_whole(str(path)) == Decoded(frames=4, width=36, height=64, concealed=0)


def test_pixel_format_that_changes_in_between(tmp_path):
    parts = [
        write_video(tmp_path / f"{pix_fmt}.h264", moving(4, seed=seed), "libx264", pix_fmt=pix_fmt)
        for seed, pix_fmt in enumerate(("yuv420p", "yuv444p", "gray", "yuv420p10le"))
    ]
    path = tmp_path / "all.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    apart = [frame for part in parts for frame in frames_of(part, 20)]
    np.testing.assert_array_equal(frames_of(path, 20), apart)


@pytest.mark.parametrize("group", [4, 100])  # frames before the first key frame that is shown are not even decoded
@pytest.mark.parametrize("hidden", [3, 15])
def test_frames_hidden_by_an_edit_list_are_no_loss(tmp_path, group, hidden):
    written = moving(20)
    path = write_video(tmp_path / "trimmed.mp4", written, options={"bf": "0", "g": str(group)}, advance=hidden)
    frames = frames_of(path)
    assert len(frames) == count_frames(str(path)) == 20 - hidden
    assert np.abs(frames[0].astype(int) - written[hidden].astype(int)).mean() < 12


def test_frames_dropped_by_the_recorder_are_no_loss(tmp_path):
    # AVI keeps an empty place for each, and counts it.
    times = [0, 1, 2, 6, 7, 11, 12, 13, 18, 19]
    path = write_video(tmp_path / "a.avi", moving(10), times=times)
    assert len(frames_of(path)) == count_frames(str(path)) == 10


@pytest.mark.parametrize("name", ["rtp:clip.mp4", "a b%03d.mp4", "Grüße, 世界.mp4", "-i.mp4"])
def test_names_are_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / name, moving(3))
    assert len(frames_of(name)) == 3
