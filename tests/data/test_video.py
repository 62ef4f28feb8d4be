import itertools
from fractions import Fraction

import cv2
import numpy as np
import pytest
from videos import moving, write_video

from ccsn_tf.data.frames import count_frames
from ccsn_tf.data.upright import scaled_size
from ccsn_tf.data.video import VideoError, decode_whole, iter_frames, iter_timed


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


SDR = np.array([[[0, 0, 0], [60, 60, 60], [180, 180, 180], [180, 40, 60], [30, 170, 50], [40, 70, 182]]], np.uint8)


def as_hdr(picture, transfer):
    """An SDR picture (BT.709, a screen of 203 cd/m2) in PQ or HLG, R'G'B' of BT.2020, uint16: by BT.2100, backwards."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = 203 * (picture / 255) ** 2.4 @ to_2020.T
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = (light / 10000) ** m1
        code = ((c1 + c2 * root) / (1 + c3 * root)) ** m2
    else:
        shown = np.maximum(light / 1000, 1e-9)
        scene = shown * (shown @ [0.2627, 0.6780, 0.0593])[..., None] ** (-1 / 6)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1)) + 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    return np.rint(65535 * code).astype(np.uint16)


@pytest.mark.parametrize("transfer, number", [("pq", 16), ("hlg", 18)])
def test_hdr_is_tone_mapped(tmp_path, transfer, number):
    def read(picture):
        frames = [picture.repeat(16, axis=0).repeat(16, axis=1)] * 3
        colour, lossless = (9, 1, number, 9), {"qp": "0"}
        path = write_video(tmp_path / "a.mp4", frames, options=lossless, pix_fmt="yuv444p10le", colour=colour)
        return frames_of(path)[1][8::16, 8::16].astype(int)

    # Below the curve's knee the light is that of the SDR picture.
    np.testing.assert_allclose(read(as_hdr(SDR, transfer)), SDR.astype(int), atol=5)  # 10 bits for light of 0 to 10,000
    # White of paper, 203 cd/m2, becomes 159 by BT.2390's spline; the peak becomes 203.
    peak = np.full((1, 1, 3), 65535 if transfer == "hlg" else round(65535 * 0.751827), np.uint16)
    bright = read(np.concatenate([as_hdr(np.full((1, 1, 3), 255, np.uint8), transfer), peak], axis=1))
    np.testing.assert_allclose(bright, [[[230] * 3, [255] * 3]], atol=2)


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.mp4", "libx264", {"crf": "4", "x264-params": "interlaced=1"}),
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "qmin": "1", "qmax": "2"}),
    ],
)
def test_interlaced_frames_show_their_first_field(tmp_path, name, codec, options):
    # A bar that moves 8 pixels a frame, 4 from field to field: woven, every second row of its edges belongs elsewhere.
    fields = np.zeros((16, 64, 96, 3), np.uint8)
    for number, field in enumerate(fields):
        field[:, 20 + 4 * number : 36 + 4 * number] = 255
    woven = fields[1::2].copy()
    first, woven[:, 1::2] = fields[0::2], fields[0::2, 1::2]  # the encoders' order: the lower rows come first
    path = write_video(tmp_path / name, woven, codec, options)
    frames, timed = frames_of(path), list(iter_timed(str(path), 256))
    assert len(frames) == len(timed) == count_frames(str(path)) == 8
    apart = [np.abs(frame.astype(int) - picture).mean() for frame, picture in zip(frames, first, strict=True)]
    assert max(apart) < 2 and np.abs(woven[3].astype(int) - first[3]).mean() > 10
    np.testing.assert_allclose(np.diff([time for time, _ in timed]), 1 / 25, atol=1e-6)
    np.testing.assert_array_equal(frames_of(path, wanted=[2, 7]), [frames[2], frames[7]])


@pytest.mark.parametrize("fields", [False, True])
def test_frames_that_change_their_size_are_shown_in_the_first_ones(tmp_path, fields):
    parts, sizes = [], ((48, 64), (96, 128), (48, 64))
    for number, (height, width) in enumerate(sizes):
        picture = np.full((6, height, width, 3), 40, np.uint8)
        picture[:, : height // 2, : width // 2] = 220
        options = {"x264-params": "interlaced=1"} if fields and number < 2 else {}
        parts.append(write_video(tmp_path / f"{number}.h264", picture, "libx264", options, format="h264").read_bytes())
    (tmp_path / "a.h264").write_bytes(b"".join(parts))
    frames = np.array(frames_of(tmp_path / "a.h264"), int)
    assert frames.shape == (18, 48, 64, 3) == (count_frames(str(tmp_path / "a.h264")), *frames.shape[1:])
    np.testing.assert_allclose(frames[:, 4:20, 4:28], 220, atol=4)
    np.testing.assert_allclose(frames[:, 28:44, 36:60], 40, atol=4)


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
    assert decode_whole(str(path)) == (4, 0)


def test_pixels_are_stretched_before_the_picture_is_turned(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(4), aspect=Fraction(4, 3), display=(90, False, False))
    assert frames_of(path)[0].shape == (64, 36, 3)


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
