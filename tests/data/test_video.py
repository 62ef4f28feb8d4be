import numpy as np
import pytest
from videos import moving, truncate, turn, write_audio, write_video

from ccsn_tf.data.video import VideoError, count_frames, iter_frames, scaled_size


def frames_of(path, short_side=256, wanted=None):
    return list(iter_frames(str(path), short_side, wanted))


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


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv", "a.mov", "a.webm"])
def test_frames_come_in_order_and_in_colour(tmp_path, name):
    written = moving(num_frames=7)
    path = write_video(tmp_path / name, written)
    frames = frames_of(path)
    assert len(frames) == count_frames(str(path)) == 7
    for frame, original in zip(frames, written, strict=True):
        assert frame.shape == original.shape and frame.dtype == np.uint8
        differences = [np.abs(frame.astype(int) - other.astype(int)).mean() for other in written]
        assert differences[np.argmin(differences)] == np.abs(frame.astype(int) - original.astype(int)).mean() < 12


def test_channels_are_red_green_blue(tmp_path):
    red = np.full((4, 32, 32, 3), (220, 30, 60), np.uint8)
    frame = frames_of(write_video(tmp_path / "a.mp4", red))[0]
    np.testing.assert_allclose(frame.reshape(-1, 3), np.tile([220, 30, 60], (1024, 1)), atol=6)


@pytest.mark.parametrize("height, width", [(36, 48), (37, 49), (36, 49), (48, 35), (17, 90)])
def test_even_and_odd_sizes(tmp_path, height, width):
    # MPEG-4 Part 2 stores odd sizes as they are, with half of a chroma sample to spare.
    path = write_video(tmp_path / "a.avi", moving(3, height=height, width=width))
    assert {frame.shape for frame in frames_of(path)} == {(height, width, 3)}
    width_16, height_16 = scaled_size(width, height, 16)
    assert min(width_16, height_16) == 16
    assert {frame.shape for frame in frames_of(path, 16)} == {(height_16, width_16, 3)}


def test_scaling_down_averages(tmp_path):
    board = np.zeros((2, 64, 64, 3), np.uint8)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 255
    frame = frames_of(write_video(tmp_path / "a.mp4", board, options={"crf": "1"}), 16)[0]
    assert frame.shape == (16, 16, 3)
    assert np.abs(frame.astype(int) - 127).max() < 25


def test_wanted_frames_alone_are_yielded(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(10))
    every = frames_of(path)
    for wanted in ([0], [9], [2, 3, 7], [4, 4, 5]):
        frames = frames_of(path, wanted=wanted)
        assert len(frames) == len(set(wanted))
        for frame, index in zip(frames, sorted(set(wanted)), strict=True):
            np.testing.assert_array_equal(frame, every[index])


def test_wanted_frame_beyond_the_end(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(4))
    with pytest.raises(VideoError, match=r"a\.mp4 ends after 4 frames, before frame 6"):
        frames_of(path, wanted=[1, 5])


def test_one_frame(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(1))
    assert len(frames_of(path)) == count_frames(str(path)) == 1


@pytest.mark.parametrize("degrees, turns", [(90, -1), (180, 2), (270, 1)])
def test_telephone_videos_are_upright(tmp_path, degrees, turns):
    path = write_video(tmp_path / "a.mp4", moving(3))
    lying = frames_of(path)
    for frame, other in zip(frames_of(turn(path, degrees)), lying, strict=True):
        np.testing.assert_array_equal(frame, np.rot90(other, turns))
        assert frame.flags.c_contiguous


def test_frames_hidden_by_an_edit_list_are_no_loss(tmp_path):
    written = moving(20)
    path = write_video(tmp_path / "trimmed.mp4", written, options={"bf": "0"}, advance=7)
    frames = frames_of(path)
    assert len(frames) == count_frames(str(path)) == 13
    assert np.abs(frames[0].astype(int) - written[7].astype(int)).mean() < 12


def test_frames_dropped_by_the_recorder_are_no_loss(tmp_path):
    # AVI keeps an empty place for each, and counts it.
    times = [0, 1, 2, 6, 7, 11, 12, 13, 18, 19]
    path = write_video(tmp_path / "a.avi", moving(10), times=times)
    assert len(frames_of(path)) == count_frames(str(path)) == 10


def with_changed_size(folder):
    parts = [write_video(folder / f"{width}.h264", moving(5, width=width), "libx264") for width in (48, 64)]
    path = folder / "changing.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def cut_between_frames(folder):
    path = write_video(folder / "cut.avi", moving(40))
    chunks = path.read_bytes().split(b"00dc")
    path.write_bytes(b"00dc".join(chunks[:21]))
    return path


def cut_in_half(folder):
    return truncate(write_video(folder / "cut.avi", moving(40)), 0.5)


def cut_mp4(folder):
    return truncate(write_video(folder / "cut.mp4", moving(40)), 0.7)


def cut_inside_the_header(folder):
    # The table of the streams is there, what says how they are coded is not.
    path = write_video(folder / "cut.mp4", moving(40))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"stsd") + 4])
    return path


def cut_inside_a_frame(folder):
    return truncate(write_video(folder / "frames.avi", moving(20), "mjpeg", {"strict": "unofficial"}), 0.5)


def audio_only(folder):
    return write_audio(folder / "sound.mp4")


def audio_only_avi(folder):
    return write_audio(folder / "sound.avi")


def empty(folder):
    (folder / "empty.avi").touch()
    return folder / "empty.avi"


def text(folder):
    (folder / "text.mp4").write_text("This is not the video that you are looking for.\n" * 30)
    return folder / "text.mp4"


def noise(folder):
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(4000))
    return folder / "noise.avi"


def absent(folder):
    return folder / "absent.avi"


def a_folder(folder):
    (folder / "folder.avi").mkdir()
    return folder / "folder.avi"


BAD = {
    cut_between_frames: "is truncated: .* of 40 frames could be decoded",
    cut_in_half: "is truncated|is damaged after frame",
    cut_mp4: "cannot be read as a video",
    cut_inside_the_header: "is damaged|cannot be read",
    cut_inside_a_frame: "is truncated|is damaged after frame",
    with_changed_size: "changes its frame size at frame 5: re-encode it",
    audio_only: "has no video stream",
    audio_only_avi: "has no video stream",
    empty: "cannot be read as a video",
    text: "cannot be read as a video",
    noise: "cannot be read as a video",
    absent: "does not exist",
    a_folder: "cannot be read as a video",
}


@pytest.mark.parametrize("make, reason", BAD.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_bad_video_is_named_with_the_reason(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(VideoError, match=f"^{path} ({reason})"):
        frames_of(path)
    if make is not with_changed_size:
        with pytest.raises(VideoError, match=f"^{path} ({reason})"):
            count_frames(str(path))


@pytest.mark.parametrize("share", np.linspace(0.02, 0.98, 25).round(2))
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_cut_anywhere_ends_in_frames_or_a_video_error(tmp_path, name, share):
    options = {"movflags": "faststart"} if name.endswith("mp4") else None
    path = truncate(write_video(tmp_path / name, moving(12), options=options), share)
    try:
        frames = frames_of(path)
    except VideoError as error:
        assert str(path) in str(error)
    else:
        assert len(frames) >= 10
