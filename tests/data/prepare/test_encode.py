import weakref

import cv2
import numpy as np
import pytest
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import dequantise, make_estimator, quantise
from ccsn_tf.data.prepare import encode as module
from ccsn_tf.data.prepare.encode import encode_clip
from ccsn_tf.data.video import VideoError, iter_frames


def encode(path, min_fields=5, **settings):
    config = DataConfig(**settings)
    return encode_clip(str(path), make_estimator(config), config, min_fields)


def num_bytes(clip):
    return sum(map(len, clip.rgb + clip.flow))


def flow_of(jpeg, bound=20.0):
    """The x- and y-flow of a stored field, in pixels (H, W, 2)."""
    x, y = np.split(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), 2)
    return dequantise(np.stack([x, y], axis=-1), bound)


def test_field_i_goes_from_frame_i_to_the_next(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(10, (2, -1), still=6))
    clip = encode(path)
    assert (len(clip.rgb), len(clip.flow), clip.height, clip.width) == (10, 9, 36, 48)
    moved = np.stack([flow_of(jpeg)[8:-8, 8:-8].mean(axis=(0, 1)) for jpeg in clip.flow])
    np.testing.assert_allclose(moved[:6], 0, atol=0.25)
    np.testing.assert_allclose(moved[6:], [[2, -1]] * 3, atol=0.25)


@pytest.mark.parametrize("num_frames, fields", [(7, 2), (8, 2), (9, 2), (10, 3)])
def test_stride_keeps_every_third_frame_with_the_motion_of_one(tmp_path, num_frames, fields):
    path = write_video(tmp_path / "a.avi", moving(num_frames, (2, -1)))
    every, third = encode(path, 1), encode(path, 1, flow_stride=3)
    assert (len(third.rgb), len(third.flow)) == (fields + 1, fields)
    assert third.rgb == every.rgb[: 3 * fields + 1 : 3]
    assert third.flow == every.flow[: 3 * fields : 3]


def test_flow_is_that_of_the_decoded_frames(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(4, (3, 1)))
    clip = encode(path, 1, jpeg_quality=100, flow="farneback", flow_bound=8.0)
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(str(path), 256)]
    estimator = make_estimator(DataConfig(flow="farneback"))
    for index, jpeg in enumerate(clip.flow):
        expected = dequantise(quantise(estimator(frames[index], frames[index + 1]), 8.0), 8.0)
        assert np.abs(flow_of(jpeg, 8.0) - expected).max() < 0.3  # JPEG's loss


def test_large_frames_are_scaled_before_flow(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(4, (4, 0), height=72, width=96))
    clip = encode(path, 1, short_side=36)
    assert (clip.height, clip.width) == (36, 48)
    assert abs(flow_of(clip.flow[0])[8:-8, 8:-8, 0].mean() - 2) < 0.25


def test_quality_is_that_of_the_config(tmp_path):
    path = write_video(tmp_path / "a.avi")
    lengths = [num_bytes(encode(path, jpeg_quality=quality)) for quality in (60, 95)]
    assert lengths[1] > 1.5 * lengths[0]


@pytest.mark.parametrize("count, text", [(1, "1 frame"), (2, "2 frames"), (5, "5 frames")])
def test_clip_shorter_than_a_snippet(tmp_path, count, text):
    path = write_video(tmp_path / "short.avi", moving(count))
    with pytest.raises(VideoError, match=rf"short\.avi has {text}: a snippet of --flow_length=5 flow fields needs 6"):
        encode(path, 5)
    assert len(encode(write_video(tmp_path / "enough.avi", moving(6)), 5).flow) == 5


def test_frames_too_small_for_the_flow(tmp_path):
    path = write_video(tmp_path / "stamp.avi", moving(8, height=6, width=8))
    with pytest.raises(VideoError, match=r"stamp\.avi: --flow=dis fails on frames of 8x6 pixels \("):
        encode(path)


def test_same_video_same_bytes(tmp_path):
    path = write_video(tmp_path / "a.avi")
    clip = encode(path)
    assert encode(path) == clip


def test_a_long_video_is_never_in_memory_as_frames(tmp_path, monkeypatch):
    alive, most = set(), []

    def watched(path, short_side):
        for number, frame in enumerate(iter_frames(path, short_side)):
            alive.add(number)
            weakref.finalize(frame, alive.discard, number)
            most.append(len(alive))
            yield frame

    monkeypatch.setattr(module, "iter_frames", watched)
    clip = encode(write_video(tmp_path / "a.avi", moving(30)))
    assert len(clip.flow) == 29
    assert max(most) <= 3


def test_record_beyond_what_a_protocol_buffer_holds(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.avi")
    monkeypatch.setattr(module, "MAX_BYTES", num_bytes(encode(path)) - 1)
    with pytest.raises(VideoError, match=r"long\.avi is too long: 14 frames fill a record; cut it"):
        encode(path)


def test_a_video_without_end_is_not_decoded_to_the_end(tmp_path, monkeypatch):
    path, beats = write_video(tmp_path / "long.avi", moving(60)), []
    monkeypatch.setattr(module, "MAX_BYTES", num_bytes(encode(path)) // 4)
    with pytest.raises(VideoError, match=r"long\.avi is too long: \d+ frames fill a record"):
        encode_clip(str(path), make_estimator(DataConfig()), DataConfig(), 5, lambda: beats.append(1))
    assert len(beats) < 20
