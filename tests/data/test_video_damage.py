"""Videos that are damaged, cut or no videos at all: what is said of them."""

import os
import subprocess
import sys

import numpy as np
import odd_videos
import pytest
from videos import moving, truncate, write_audio, write_video

from ccsn_tf.data.video import Decoded, VideoError, count_frames, decode_ends, decode_whole, iter_frames


def frames_of(path):
    return list(iter_frames(str(path), 256))


def test_damage_that_the_decoder_hides_is_counted(tmp_path):
    path = write_video(tmp_path / "a.mpg", moving(30), "mpeg2video", format="mpeg2video")
    whole = decode_whole(str(path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    damaged = decode_whole(str(path))
    assert whole == Decoded(frames=30, width=48, height=36, concealed=0)
    assert damaged.concealed > 0 and damaged.frames > 20


def test_ends_of_a_video_that_is_damaged_there(tmp_path):
    path = cut_between_frames(tmp_path)
    with pytest.raises(VideoError, match=r"cut\.avi is truncated: it ends before the last of 40 frames"):
        decode_ends(str(path))
    with pytest.raises(VideoError, match=r"cut\.avi is (truncated: it ends before|damaged near its end)"):
        decode_ends(str(cut_inside_a_frame(tmp_path).rename(tmp_path / "cut.avi")))
    for make, reason in BAD.items():
        if make not in (with_changed_size, cut_between_frames, cut_in_half, cut_inside_a_frame, more_frames_announced):
            with pytest.raises(VideoError, match=reason):
                decode_ends(str(make(tmp_path)))


def with_changed_size(folder):
    return odd_videos.changing_size(folder / "changing.h264")


def huge_pictures(folder):
    return odd_videos.picture_of_size(folder / "huge.avi", 16_000, 16_000)


def too_wide_pixels(folder):
    return odd_videos.announced_aspect(folder / "wide.mov", 30_000, 1)


def more_frames_announced(folder):
    return odd_videos.announced_frames(folder / "long.avi", 10**9)


def only_a_cover(folder):
    return odd_videos.cover_picture(folder / "song.mp4")


def a_pipe(folder):
    os.mkfifo(folder / "pipe.avi")
    return folder / "pipe.avi"


def a_device(folder):
    (folder / "device.avi").symlink_to("/dev/zero")
    return folder / "device.avi"


def a_loop(folder):
    (folder / "loop.avi").symlink_to("loop.avi")
    return folder / "loop.avi"


def a_session(folder):
    return odd_videos.HOPELESS["session.mp4"](folder / "session.mp4")


def cut_between_frames(folder):
    path = write_video(folder / "cut.avi", moving(40))
    chunks = path.read_bytes().split(b"00dc")
    path.write_bytes(b"00dc".join(chunks[:21]))
    return path


def cut_in_half(folder):
    return truncate(write_video(folder / "cut.avi", moving(40)), 0.5)


def cut_webm(folder):
    return truncate(write_video(folder / "cut.webm", moving(40)), 0.7)


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
    cut_webm: r"is truncated: \d+ of \d+ bytes are there",
    cut_mp4: "cannot be read as a video",
    cut_inside_the_header: "is damaged|cannot be read",
    cut_inside_a_frame: "is truncated|is damaged after frame",
    with_changed_size: "changes its frame size at frame 5: re-encode it",
    huge_pictures: r"is damaged after frame 0 \(its header is wrong, or its frames have more than 67108864",
    too_wide_pixels: "has frames of 1440000x36 pixels: at most 32000 a side",
    more_frames_announced: "is truncated: 10 of 1000000000 frames",
    audio_only: "has no video stream",
    audio_only_avi: "has no video stream",
    empty: "cannot be read as a video",
    text: "cannot be read as a video",
    noise: "cannot be read as a video",
    absent: "does not exist",
    a_folder: "is a folder, not a video file",
    a_pipe: "is a device or pipe, not a video file",
    a_device: "is a device or pipe, not a video file",
    a_loop: "cannot be read .Too many levels of symbolic links",
    a_session: "cannot be read as a video",
    only_a_cover: "has no video stream, only a cover picture",
}


@pytest.mark.parametrize("make, reason", BAD.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_bad_video_is_named_with_the_reason(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(VideoError, match=f"^{path} ({reason})"):
        frames_of(path)
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


def test_announced_size_costs_no_memory(tmp_path):
    path = huge_pictures(tmp_path)
    program = (
        "import resource, sys; from ccsn_tf.data.video import VideoError, count_frames\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: count_frames(sys.argv[1])\n"
        "except VideoError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 100 * 1024  # KiB; the picture alone would take 750 MiB
