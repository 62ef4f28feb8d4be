"""The benchmarks report what they say, in tables; how fast is for people to read."""

import json
import sys
import types

import cv2
import keras
import numpy as np
import pytest
import videos
from moving_frames import texture

from benchmarks import flow, inference_worker, input, prepare, training, video_answer, watch
from benchmarks.known_motion import known_motions
from benchmarks.side import Side
from ccsn_tf.config import Config
from ccsn_tf.errors import UserError


def options(**values):
    return types.SimpleNamespace(**values)


def rows_of(benchmark, report):
    """The rows of the table, of a report that has been through JSON."""
    lines = [line for line in benchmark.table(json.loads(json.dumps(report))).splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines}) == 1
    return lines[1:]


def test_training_times_each_side(monkeypatch):
    monkeypatch.setattr(training, "SIZES", (32,))
    monkeypatch.setattr(training, "BACKBONE", "tiny")
    report = training.run(Config(), options(torch_python="", training_steps=2, training_rounds=2))
    assert {side: len(times) for side, times in report["sizes"]["32"].items()} == {"fit": 2, "loop": 2}
    assert all(time > 0 for times in report["sizes"]["32"].values() for time in times)
    assert rows_of(training, report)[0].startswith("| 32 px | ")


def test_the_plain_loop_is_the_step_of_fit(monkeypatch):
    monkeypatch.setattr(training, "BACKBONE", "tiny")
    models = []
    for make in (training._fit, training._loop):
        keras.utils.set_random_seed(1)
        models.append(training._model(32))
        make(models[-1], training._batch(32))(steps=1)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_input(tiny_data, monkeypatch):
    monkeypatch.setattr(input, "SEGMENTS", (2,))
    monkeypatch.setattr(input, "SIZES", (24,))
    config = Config().replace(record_dir=tiny_data.record_dir, classes_per_batch=3, clips_per_class=2)
    report = input.run(config, options(input_clips=16, input_rounds=2))
    (rates,) = report["cases"].values()
    assert len(rates) == 2 and min(rates) > 0
    assert rows_of(input, report)[0].startswith("| K = 2, 24 px | ")


def test_prepare(tmp_path):
    for label in ("left", "right"):
        videos.write_video(tmp_path / "videos" / label / "one.avi", videos.moving(8, height=48, width=64))
    config = Config().replace(video_dir=str(tmp_path / "videos"), test_fraction=0.5)
    report = prepare.run(config, options(prepare_copies=2))
    assert list(report["rows"]) == list(prepare.FLOWS)
    for row in report["rows"].values():
        assert row["frames"] == 2 * 2 * 8 and 0 < row["busy"] < 1.5 and row["bytes_per_frame"] > 100
    assert len(rows_of(prepare, report)) == len(prepare.FLOWS)
    with pytest.raises(UserError, match="--video_dir"):
        prepare.find_videos(str(tmp_path / "nothing"))


@pytest.fixture(scope="module")
def motions():
    smooth = [cv2.GaussianBlur(texture(120, 160, seed, 0), (0, 0), 4.0) for seed in range(3)]  # remap is not exact
    return known_motions([cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype("uint8") for image in smooth], 64)


def test_the_second_frame_looked_up_by_the_flow_is_the_first(motions):
    assert len(motions) == 12
    y, x = np.mgrid[:64, :64].astype("float32")
    for motion, pairs in motions.items():
        for pair in pairs:
            where = x + pair.flow[..., 0], y + pair.flow[..., 1]
            found = cv2.remap(pair.second, *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            wrong, still = (np.abs(frame.astype(float) - pair.first)[pair.seen] for frame in (found, pair.second))
            assert wrong.mean() < 0.4 * still.mean(), motion
            assert pair.seen.mean() > 0.6 and pair.error(pair.flow) == 0
            assert pair.error(pair.flow + np.float32([0.3, 0.4])) == pytest.approx(0.5, abs=1e-5)
            largest = np.hypot(*np.moveaxis(pair.flow, -1, 0)).max()
            assert largest == pytest.approx(float(motion.split()[-2]), rel=0.01), motion


def test_flow(tiny_set, monkeypatch):
    monkeypatch.setattr(flow, "LAYERS", {"TVL1Flow, small": {"levels": 2, "warps": 1, "iterations": 2}})
    fast = {name: flow.OPENCV[name] for name in (flow.CONVERGED, "DIS fast, finest scale 0")}
    monkeypatch.setattr(flow, "OPENCV", fast)
    monkeypatch.setattr(flow, "LENGTH", 2)
    paths = sorted(map(str, (tiny_set / "videos").rglob("*.avi")))[:4]  # one more than a batch
    report = flow.run(Config().replace(image_size=32), options(motion_video=paths, motion_at=1.0, motion_rounds=1))
    assert set(report["errors"]) == set(report["milliseconds"]) == set(report["rest"]) == set(report["distance"])
    assert all(0 < error < 20 for row in report["errors"].values() for error in row.values())
    assert report["distance"].pop(flow.CONVERGED) == 0 and all(value > 0 for value in report["distance"].values())
    by_xla, in_operations = (list(report["errors"][name].values()) for name in ("TVL1Flow, small", flow.IN_OPERATIONS))
    assert by_xla == pytest.approx(in_operations, abs=1e-4)
    with pytest.raises(UserError, match="--motion_video"):
        flow.run(Config(), options(motion_video=["a.avi"]))


def test_a_video_is_answered_each_way(workdir_config, tmp_path, monkeypatch):
    monkeypatch.setattr(video_answer, "_ROUNDS", 1)
    path = videos.write_video(tmp_path / "a.avi", videos.moving(12, (1, 0)))
    report = video_answer.run(workdir_config, options(video=str(path), tvl1_pairs=2))
    assert report["frames"] == 12 and report["tvl1"] > 0 and len(report["answers"]) == 4
    assert len(rows_of(video_answer, report)) == 5


def test_calls_of_a_turn():
    calls = []
    times = inference_worker.timed(calls.append, "clips", 0.0)
    assert len(times) == 3 and calls == ["clips"] * 4


def test_memory_is_the_most_that_was_held():
    program = "import sys, numpy as np; from benchmarks.inference_worker import most_memory; print(1, flush=True)\n"
    program += (
        "for line in sys.stdin: np.ones(int(line.split(':')[1][:-2]), np.uint8); print(most_memory(), flush=True)"
    )
    with Side("memory", [sys.executable, "-c", program]) as side:
        before, after = side.ask(bytes=1), side.ask(bytes=200_000_000)
    assert 150e6 < after - before < 250e6  # although it was freed at once


@pytest.mark.parametrize(
    ("command", "reason"),
    [(["/nowhere/python"], "No such file"), ([sys.executable, "-c", "raise SystemExit('no torch')"], "no torch")],
)
def test_a_side_that_cannot_run_says_why(command, reason):
    with pytest.raises(UserError, match=f"other side.*{reason}"), Side("other side", command):
        pass


def test_a_stream_is_watched_each_way(monkeypatch):
    monkeypatch.setattr(watch, "BACKBONE", "tiny")
    monkeypatch.setattr(watch, "IMAGE_SIZE", 32)
    chosen = options(watch_seconds=4.0, watch_live_seconds=3.0, watch_turns=2, watch_flow=["DIS"])
    report = watch.run(Config().replace(test_segments=5), chosen)
    (row,) = report["flows"].values()
    assert row["snippets_a_window"] in (4, 5) and min(row["ratio"], row["cpu_ratio"], row["real_time"]) > 0
    assert rows_of(watch, report)[0].startswith("| DIS | ")
