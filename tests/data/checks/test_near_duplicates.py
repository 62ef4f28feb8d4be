import cv2
import numpy as np
import pytest
from videos import moving, truncate, write_video

from ccsn_tf.data.checks.near_duplicates import alike, likeness
from ccsn_tf.data.video import VideoError


def scene(seed):
    """Large blobs of full contrast, 20 frames of 96x72."""
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 6) for frame in moving(20, height=72, width=96, seed=seed)])
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX)


@pytest.fixture
def original(tmp_path):
    return write_video(tmp_path / "original.avi", scene(0))


def pairs(path, other):
    return list(alike({"one": likeness(str(path))}, {"other": likeness(str(other))}))


def test_copies_that_were_encoded_again_or_scaled_are_found(tmp_path, original):
    small = [cv2.resize(frame, (48, 36), interpolation=cv2.INTER_AREA) for frame in scene(0)]
    for name, frames, options in (
        ("a.mp4", scene(0), {"crf": "30"}),
        ("b.webm", scene(0), None),
        ("c.avi", small, None),
    ):
        assert pairs(original, write_video(tmp_path / name, frames, options=options)) == [("one", "other")]


def test_other_videos_are_not(tmp_path, original):
    assert not pairs(original, write_video(tmp_path / "other.avi", scene(1)))
    mirrored = scene(0)[:, :, ::-1]
    assert not pairs(original, write_video(tmp_path / "mirrored.avi", mirrored))


def test_black_frames_show_nothing(tmp_path):
    black = write_video(tmp_path / "black.avi", np.zeros((20, 72, 96, 3), np.uint8))
    assert likeness(str(black)) == (0,) * 5
    assert not pairs(black, black)


def test_some_black_frames_do_no_harm(tmp_path, original):
    frames = scene(0)
    frames[:3] = 0
    assert pairs(original, write_video(tmp_path / "faded.avi", frames))


def test_many_are_compared_in_parts():
    rng = np.random.default_rng(0)
    some = {str(n): tuple(rng.integers(1, 2**63, 5).tolist()) for n in range(600)}
    assert list(alike(some, some)) == [(name, name) for name in some]
    assert not list(alike(some, {})) and not list(alike({}, some))


def test_unreadable_video(original):
    with pytest.raises(VideoError):
        likeness(str(truncate(original, 0.5)))
