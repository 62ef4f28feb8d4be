import base64

import cv2
import numpy as np

from ccsn_tf.evaluation.report import pictures as report_pictures


def decoded(uri):
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)


def grey(count=3, side=60):
    return np.full((count, side, side, 3), 128, np.uint8)


def test_frames_side_by_side():
    frames = np.stack([np.full((50, 50, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))])
    strip = decoded(report_pictures.frame_strip(frames))
    height, width, _ = strip.shape
    assert width > 3 * height
    for number, colour in enumerate(((0, 0, 255), (0, 255, 0), (255, 0, 0))):  # BGR
        middle = strip[height // 2, int((number + 0.5) * width / 3)]
        np.testing.assert_allclose(middle, colour, atol=8)


def test_flow_on_one_scale():
    flow = np.zeros((2, 40, 40, 2), np.float32)
    flow[0, ..., 0], flow[1, ..., 0] = 4.0, 1.0
    uri, maximum = report_pictures.flow_strip(flow)
    strip = decoded(uri).astype(int)
    quarter, height = strip.shape[1] // 4, strip.shape[0] // 2
    assert maximum == 4.0
    assert strip[height, quarter, 0] < strip[height, 3 * quarter, 0] - 100  # to the right is red: deeper, less blue


def test_heat_is_where_the_weights_are():
    weights = np.full((1, 4, 4), 0.02)
    weights[0, 1, 3] = 1 - 15 * 0.02
    uri, peak = report_pictures.heat_strip(grey(1), weights)
    assert peak == 16 * (1 - 15 * 0.02)
    picture = decoded(uri).astype(int)
    redness = cv2.resize((picture[..., 2] - picture[..., 0]).astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA)
    assert np.unravel_index(redness.argmax(), (4, 4)) == (1, 3)
    assert abs(redness[3, 0]) < 3


def test_even_attention_has_no_heat():
    uri, peak = report_pictures.heat_strip(grey(), np.full((3, 5, 5), 1 / 25))
    assert abs(peak - 1) < 1e-6
    picture = decoded(uri).astype(int)
    assert np.abs(picture[..., 2] - picture[..., 0]).max() < 4
    slightly = np.full((1, 2, 2), 0.25) + [[0.02, -0.02], [0, 0]]
    picture = decoded(report_pictures.heat_strip(grey(1), slightly)[0]).astype(int)
    assert np.mean(picture[..., 2] - picture[..., 0]) < 25  # hardly more than even: hardly coloured


def test_the_strongest_motion():
    flow = np.zeros((2, 60, 60, 2), np.float32)
    flow[0, 35:38, 5:8] = -9
    flow[1, 2:20, 40:55, 1] = 3
    assert report_pictures.strongest_motion(flow, (6, 6)) == [(3, 0), (1, 4)]


def test_the_key_is_a_disc():
    key = decoded(report_pictures.wheel())
    assert key.shape[2] == 4 and key[0, 0, 3] == 0 and key[key.shape[0] // 2, key.shape[1] // 2, 3] == 255
