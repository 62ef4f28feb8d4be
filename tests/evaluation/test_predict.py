import cv2
import numpy as np
import pytest
import videos

from ccsn_tf.config import Config
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.plan import centre_starts
from ccsn_tf.data.prepare.encode import encode_clip
from ccsn_tf.data.video import VideoError
from ccsn_tf.evaluation.predict import read_snippets

LENGTH = 3


def jpeg(image):
    quality = [cv2.IMWRITE_JPEG_QUALITY, Config().data.jpeg_quality]
    return cv2.imencode(".jpg", np.ascontiguousarray(image), quality)[1].tobytes()


def config_at(stride):
    return Config().replace(flow_length=LENGTH, flow_stride=stride)


@pytest.mark.parametrize("num_frames, stride", [(14, 1), (22, 2), (23, 2), (29, 3), (30, 3), (31, 3)])
def test_snippets_are_those_of_the_record(tmp_path, num_frames, stride):
    # A texture that speeds up: every field is another one, so that a wrong index shows.
    long = videos.moving(60, (1, 0))
    chosen = long[[min(59, index * index // 20) for index in range(num_frames)]]
    path = str(videos.write_video(tmp_path / "a.avi", chosen))
    config = config_at(stride)
    record = encode_clip(path, make_estimator(config.data), config.data, LENGTH)
    starts = centre_starts(len(record.flow), 4, LENGTH)
    frames, fields = read_snippets(path, config, 4)
    assert frames.dtype == fields.dtype == np.uint8 and fields.shape == (4, LENGTH, 2, 36, 48)
    for start, frame, snippet in zip(starts, frames, fields, strict=True):
        assert jpeg(frame[..., ::-1]) == record.rgb[start + LENGTH // 2]
        assert [jpeg(np.concatenate(field)) for field in snippet] == record.flow[start : start + LENGTH]


def test_flow_is_the_same_on_any_number_of_threads(tmp_path):
    path = str(videos.write_video(tmp_path / "a.avi", videos.moving(14, (1, 0))))
    threads, results = cv2.getNumThreads(), []
    try:
        for number in (1, 2, 30):
            cv2.setNumThreads(number)
            results.append(read_snippets(path, config_at(1), 5)[1])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("stride, needed", [(1, 4), (2, 7), (3, 10)])
def test_shortest_video_of_a_stride(tmp_path, stride, needed):
    enough = videos.write_video(tmp_path / "enough.avi", videos.moving(needed))
    config = config_at(stride)
    frames, fields = read_snippets(str(enough), config, 2)
    assert frames.shape == (2, 36, 48, 3) and fields.shape == (2, LENGTH, 2, 36, 48)
    assert len(encode_clip(str(enough), make_estimator(config.data), config.data, LENGTH).flow) == LENGTH
    short = videos.write_video(tmp_path / "short.avi", videos.moving(needed - 1))
    apart = f" at --flow_stride={stride}" if stride > 1 else ""
    message = rf"short\.avi has {needed - 1} frames: a snippet of --flow_length=3 flow fields{apart} needs {needed}\."
    for read in (
        lambda: read_snippets(str(short), config, 2),
        lambda: encode_clip(str(short), make_estimator(config.data), config.data, LENGTH),
    ):
        with pytest.raises(VideoError, match=message):
            read()
