"""Known motion is what it says, and the benchmark measures it."""

import functools
import types

import cv2
import numpy as np
import pytest
from moving_frames import moving, texture

from benchmarks import graph_flow
from benchmarks.known_motion import known_motions
from benchmarks.plain_tvl1 import plain_tvl1
from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.models.flow import TVL1Flow

IN_PLAIN = ", in plain operations"


@pytest.fixture(scope="module")
def motions():
    smooth = [cv2.GaussianBlur(texture(120, 160, seed, 0), (0, 0), 4.0) for seed in range(3)]  # remap is not exact
    return known_motions([cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype("uint8") for image in smooth], 64)


def test_the_second_frame_looked_up_by_the_flow_is_the_first(motions):
    assert len(motions) == 12
    y, x = np.mgrid[:64, :64].astype("float32")
    for motion, pairs in motions.items():
        for pair in pairs:
            found = cv2.remap(
                pair.second,
                x + pair.flow[..., 0],
                y + pair.flow[..., 1],
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            wrong, still = (np.abs(frame.astype(float) - pair.first)[pair.seen] for frame in (found, pair.second))
            assert wrong.mean() < 0.4 * still.mean(), motion
            assert pair.seen.mean() > 0.6 and pair.error(pair.flow) == 0
            assert pair.error(pair.flow + np.float32([0.3, 0.4])) == pytest.approx(0.5, abs=1e-5)


def test_motions_are_as_large_as_they_say(motions):
    for motion, pairs in motions.items():
        for pair in pairs:
            largest = np.hypot(*np.moveaxis(pair.flow, -1, 0)).max()
            assert largest == pytest.approx(float(motion.split()[-2]), rel=0.01), motion


def test_the_layer_is_the_plain_code():
    frames = moving((1.5, -0.5), 33, 40, count=3)
    settings = {"warps": 2, "iterations": 3, "attachment": 0.2, "tightness": 0.4}
    fields = np.asarray(TVL1Flow(**settings, median=0, smooth=False, carry=False)(frames[None]))[0].reshape(
        33, 40, 2, 2
    )
    expected = np.asarray(plain_tvl1(frames[:-1], frames[1:], **settings))
    np.testing.assert_allclose(np.moveaxis(fields, 2, 0), expected, atol=1e-3)


def test_the_trial_s_settings_are_those_of_the_plain_code():
    frames = moving((1.0, 0.5), 32, 40)
    fields = np.asarray(TVL1Flow(**graph_flow.FIRST_TRIAL)(frames[None]))[0]
    np.testing.assert_allclose(fields, np.asarray(plain_tvl1(frames[:1], frames[1:]))[0], atol=1e-2)


@pytest.fixture
def small_layers(monkeypatch):
    settings = {"levels": 2, "warps": 1, "iterations": 2}
    monkeypatch.setattr(graph_flow, "LAYERS", {"TVL1Flow, small": settings})
    monkeypatch.setattr(graph_flow, "IN_OPERATIONS", {f"TVL1Flow, small{IN_PLAIN}": settings})
    monkeypatch.setattr(graph_flow, "plain_tvl1", functools.partial(plain_tvl1, warps=1, iterations=2))


@pytest.mark.usefixtures("small_layers")
def test_report_table_and_picture(tiny_set, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_flow, "OPENCV", {"DIS fast, finest scale 0": {"dis_preset": "fast"}})
    paths = sorted(map(str, (tiny_set / "videos").rglob("*.avi")))[:2]
    picture = tmp_path / "picture.png"
    options = types.SimpleNamespace(motion_video=paths, motion_at=1.0, motion_rounds=1, motion_picture=str(picture))
    report = graph_flow.run(Config().replace(image_size=32), options)
    assert set(report["errors"]) == set(report["milliseconds"]) and len(report["errors"]) == 5
    by_xla, in_operations = (list(report["errors"][f"TVL1Flow, small{rest}"].values()) for rest in ("", IN_PLAIN))
    assert by_xla == pytest.approx(in_operations, abs=1e-4)
    assert all(0 < error < 20 for row in report["errors"].values() for error in row.values())
    assert set(report["rest"]) == set(report["errors"]) and all(0 < share < 1 for share in report["rest"].values())
    assert report["distance"] == {}
    assert cv2.imread(str(picture)).shape == (2 * 64, 3 * 64, 3)
    assert len(graph_flow.table(report).splitlines()) == 4 + 5


def test_one_video_is_too_few():
    with pytest.raises(UserError, match="--motion_video is given less than twice"):
        graph_flow.run(Config(), types.SimpleNamespace(motion_video=["a.avi"]))


@pytest.mark.usefixtures("small_layers")
def test_calm_is_compared_with_opencv_s_tvl1(tiny_set, monkeypatch):
    monkeypatch.setattr(graph_flow, "OPENCV", {graph_flow.CONVERGED: {"flow": "tvl1"}})
    monkeypatch.setattr(graph_flow, "LENGTH", 2)
    paths = sorted(map(str, (tiny_set / "videos").rglob("*.avi")))[:4]  # one more than a batch
    options = types.SimpleNamespace(motion_video=paths, motion_at=1.0, motion_rounds=1, motion_picture="")
    report = graph_flow.run(Config().replace(image_size=32), options)
    assert set(report["distance"]) == set(report["errors"]) and report["distance"].pop(graph_flow.CONVERGED) == 0
    assert all(distance > 0 for distance in report["distance"].values())
