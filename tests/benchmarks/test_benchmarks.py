"""The benchmarks report what they say, in tables; how fast is for people to read."""

import functools
import json
import sys
import time
import types

import cv2
import keras
import numpy as np
import pytest
import videos
from moving_frames import texture
from streams import BrightnessModel

from benchmarks import flow, inference_worker, input, prepare, timeline, training, video_answer, watch
from benchmarks.known_motion import known_motions
from benchmarks.side import Side
from ccsn_tf.config import Config
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.errors import UserError
from ccsn_tf.streaming.timeline import Segment


def options(**values):
    return types.SimpleNamespace(**values)


def rows_of(benchmark, report):
    """The rows of the table, of a report that has been through JSON."""
    lines = [line for line in benchmark.table(json.loads(json.dumps(report))).splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines}) == 1
    return lines[1:]


def test_training_takes_turns(monkeypatch, capsys):
    calls, seconds = [], {"fit": 0.25, "loop": 0.5}

    def side(name):
        return lambda steps: calls.append((name, steps)) or {"times": [seconds[name]] * steps}

    monkeypatch.setattr(training, "_model", lambda size: None)
    monkeypatch.setattr(training, "_batch", lambda size: None)
    monkeypatch.setattr(training, "_fit", lambda model, batch: side("fit"))
    monkeypatch.setattr(training, "_loop", lambda model, batch: side("loop"))
    report = training.run(Config(), options(torch_python="", training_steps=2, training_rounds=2))
    assert calls == 2 * 2 * [("fit", 2), ("loop", 2)]  # two sizes
    assert report["sizes"]["112"] == {"fit": [0.25] * 2, "loop": [0.5] * 2}
    assert rows_of(training, report)[1] == "| 224 px | 0.250 | 0.500 | not asked for | 2.00 |  |"
    assert "8/8 turns" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plain_loop_is_the_step_of_fit(monkeypatch):
    monkeypatch.setattr(training, "BACKBONE", "tiny")
    models = []
    for make in (training._fit, training._loop):
        keras.utils.set_random_seed(1)
        models.append(training._model(32))
        assert len(make(models[-1], training._batch(32))(steps=1)["times"]) == 1
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_input(tiny_data, monkeypatch):
    monkeypatch.setattr(input, "SEGMENTS", (2,))
    monkeypatch.setattr(input, "SIZES", (24,))
    config = Config().replace(record_dir=tiny_data.record_dir, classes_per_batch=3, clips_per_class=2)
    report = input.run(config, options(input_clips=16, input_rounds=2, torch_python=""))
    (sides,) = report["cases"].values()
    (figures,) = sides.values()
    assert all(len(values) == 2 and min(values) > 0 for values in figures.values())
    assert rows_of(input, report)[0].startswith("| K = 2, 24 px | ccsn_tf | ")


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
    monkeypatch.setattr(flow, "LENGTH", 2)

    def estimators(config):
        fast = make_estimator(config.replace(dis_preset="fast", dis_finest_scale=0).data)
        found = functools.partial(flow._one_by_one, fast)
        return {flow.CONVERGED: found, "half": lambda snippets: found(snippets) / 2}

    monkeypatch.setattr(flow, "_estimators", estimators)
    paths = sorted(map(str, (tiny_set / "videos").rglob("*.avi")))[:4]  # one more than a batch
    report = flow.run(Config().replace(image_size=32), options(motion_video=paths, motion_at=1.0, motion_rounds=1))
    assert all(0 < error < 20 for row in report["errors"].values() for error in row.values())
    assert report["distance"][flow.CONVERGED] == 0 < report["distance"]["half"]
    assert len(rows_of(flow, report)) == 2 and set(report["rest"]) == set(report["milliseconds"])
    with pytest.raises(UserError, match="--motion_video"):
        flow.run(Config(), options(motion_video=["a.avi"]))


@pytest.mark.slow
def test_the_ways_to_flow_agree(tiny_set, monkeypatch):
    monkeypatch.setattr(flow, "LAYERS", {"small": {"levels": 2, "warps": 1, "iterations": 2}})
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32)).astype("uint8")
    found = {name: np.asarray(estimate(frames)) for name, estimate in flow._estimators(Config()).items()}
    assert {field.shape for field in found.values()} == {(1, 32, 32, 4)} and len(found) == 2 + len(flow.OPENCV)
    np.testing.assert_allclose(found["small"], found[flow.IN_OPERATIONS], atol=1e-3)


@pytest.mark.slow
def test_a_video_is_answered_each_way(workdir_config, tmp_path, monkeypatch):
    monkeypatch.setattr(video_answer, "_ROUNDS", 1)
    path = videos.write_video(tmp_path / "a.avi", videos.moving(12, (1, 0)))
    report = video_answer.run(workdir_config, options(video=str(path), tvl1_pairs=2))
    assert report["frames"] == 12 and report["tvl1"] > 0 and len(report["answers"]) == 4
    assert len(rows_of(video_answer, report)) == 5


def test_calls_of_a_turn():
    calls = []
    times = inference_worker.timed(calls.append, "clips", 0.0, time.perf_counter)
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


def test_a_stream_is_watched(monkeypatch):
    monkeypatch.setattr(watch, "build_model", lambda *arguments, **settings: None)
    monkeypatch.setattr(watch, "TrainedModel", lambda network, config: BrightnessModel(segments=5))
    monkeypatch.setattr(watch, "make_forward", lambda network: None)
    monkeypatch.setattr(watch, "predict_video", lambda *arguments: time.sleep(0.01))
    chosen = options(watch_seconds=3.0, watch_live_seconds=2.5, watch_turns=2, watch_flow=["DIS"])
    report = watch.run(Config(), chosen)
    (row,) = report["flows"].values()
    assert row["snippets_a_window"] in (4, 5) and min(row["ratio"], row["cpu_ratio"], row["real_time"]) > 0
    assert rows_of(watch, report)[0].startswith("| DIS | ")


def test_segments_are_right_once_each():
    true = [Segment("a", 0, 10, 1), Segment("b", 10, 20, 1), Segment("a", 30, 40, 1)]
    found = [Segment("a", 1, 9, 0.9), Segment("a", 2, 10, 0.8), Segment("b", 5, 16, 0.9), Segment("b", 30, 40, 0.9)]
    assert timeline.segment_f1(found, true) == pytest.approx(2 * 1 / 7)
    assert timeline.segment_f1([*found, Segment("a", 30, 40, 0.1)], true) == pytest.approx(2 * 2 / 8)
    assert timeline.segment_f1([], true) == 0


def test_a_long_video_is_watched_and_predicted(tiny_set, workdir_config, tmp_path, monkeypatch):
    monkeypatch.setattr(timeline.command_line, "config_of_run", lambda: workdir_config)
    monkeypatch.setattr(timeline, "_DENSE", 100)
    monkeypatch.setattr(timeline, "rejection_of", lambda *arguments: lambda outputs: True)
    config = Config().replace(dataset="ucf101", video_dir=str(tiny_set / "videos"), split_dir=str(tiny_set / "lists"))
    chosen = options(timeline_video=str(tmp_path / "t.mp4"), timeline_minutes=1.0, timeline_scratch=2.6)
    report = timeline.run(config, chosen)
    truth = json.loads((tmp_path / "t.truth.json").read_text())
    assert report["clips"] == {"known": len(truth), "unknown": 0} and len({clip["name"] for clip in truth}) > 4
    assert [clip["start"] for clip in truth[1:]] == [clip["end"] for clip in truth[:-1]]
    assert truth[-1]["end"] == pytest.approx(len(truth) * 14 / videos.FPS, abs=0.01)
    found = report["ways"]["no rejection"]
    assert found["known"] == found["all"] and found["inside"] is found["unknown"] is None
    assert report["ways"]["energy"] | {"inside": 0} == {"known": 0, "unknown": None, "inside": 0, "all": 0, "f1": 0}
    assert report["scratch"]["windows"] >= 2 and report["scratch"]["difference"] < 1e-5
    assert len(rows_of(timeline, report)) == 5 and " x)" in timeline.table(report)
    (tmp_path / "t.truth.json").unlink()
    with pytest.raises(UserError, match="--timeline_video"):
        timeline.run(config, chosen)
