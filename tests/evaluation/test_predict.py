import cv2
import numpy as np
import pytest
import videos
from videos import read_snippets

from ccsn_tf.config import Config
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.evaluation.predict import EMBEDDINGS, LOGITS, average_views

LENGTH = 3


def jpeg(image):
    quality = [cv2.IMWRITE_JPEG_QUALITY, Config().data.jpeg_quality]
    return cv2.imencode(".jpg", np.ascontiguousarray(image), quality)[1].tobytes()


@pytest.mark.parametrize("num_frames, stride", [(14, 1), (23, 2), (31, 3)])
def test_snippets_are_those_of_the_record(tmp_path, num_frames, stride):
    # A texture that speeds up: every field is another one, so that a wrong index shows.
    long = videos.moving(60, (1, 0))
    chosen = long[[min(59, index * index // 20) for index in range(num_frames)]]
    path = str(videos.write_video(tmp_path / "a.avi", chosen))
    config = Config().replace(flow_length=LENGTH, flow_stride=stride)
    rgb, flow = videos.encoded(path, config.data, LENGTH)
    starts = centre_starts(len(flow), 4, LENGTH)
    frames, fields = read_snippets(path, config, 4)
    assert frames.dtype == fields.dtype == np.uint8 and fields.shape == (4, LENGTH, 2, 36, 48)
    for start, frame, snippet in zip(starts, frames, fields, strict=True):
        assert jpeg(frame[..., ::-1]) == rgb[start + LENGTH // 2]
        assert [jpeg(np.concatenate(field)) for field in snippet] == flow[start : start + LENGTH]


def outputs(logits):
    """The network's, with these logits (V, C) of each stream and random embeddings."""
    vectors = np.random.default_rng(1).normal(size=(len(logits), 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")
    return dict.fromkeys(LOGITS.values(), np.array(logits, "float32")) | dict.fromkeys(EMBEDDINGS, vectors)


def test_views_are_averaged():
    views = np.random.default_rng(0).normal(0, 3, (6, 4)).astype("float32")
    logits, probabilities = (average_views(outputs(views), 3, average) for average in ("logits", "probabilities"))
    for name in LOGITS.values():
        for clip in range(2):
            of_clip = views[3 * clip : 3 * clip + 3].astype(float)
            np.testing.assert_allclose(logits[name][clip], sum(of_clip) / 3, rtol=1e-5)
            expected = sum(np.exp(view) / np.exp(view).sum() / 3 for view in of_clip)
            np.testing.assert_allclose(np.exp(probabilities[name][clip]), expected, rtol=1e-4)
    for name in EMBEDDINGS:
        for means in (logits, probabilities):
            np.testing.assert_allclose(np.linalg.norm(means[name], axis=1), 1, rtol=1e-6)


def test_impossible_classes_stay_finite():
    assert np.isfinite(average_views(outputs([[0.0, -500.0]]), 1, "probabilities")["logits"]).all()
