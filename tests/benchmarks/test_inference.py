"""The benchmark of inference: what it reports, not how fast."""

import dataclasses
import subprocess
import sys
import types

import numpy as np
import pytest
import videos

from benchmarks import inference, inference_worker, video_answer
from ccsn_tf.data.video import iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.models.build import load_model
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow


def options(**changes):
    given = {"inference_rounds": 1, "inference_turn": 0.0, "inference_onnx": [], "inference_options": False}
    return types.SimpleNamespace(**{**given, "video": "", "video_frames": 12, "tvl1_pairs": 2, **changes})


@pytest.fixture
def three_backends(monkeypatch):
    """Those that are told apart by what they load; all of them are for people to wait for."""
    specs = inference._specs
    names = (inference.REFERENCE, "ONNX Runtime", "ONNX Runtime, int8", "TensorRT")

    def some(*arguments):
        chosen, classes = specs(*arguments)
        return {name: chosen[name] for name in names if name in chosen}, classes

    monkeypatch.setattr(inference, "_specs", some)
    monkeypatch.setattr(inference, "BATCHES", (1, 2))


def test_report_and_table(workdir_config, onnx_export, three_backends):
    report = inference.run(workdir_config, options(inference_onnx=[str(onnx_export("int8").path)]))
    rows = report["backends"]
    assert rows["ONNX Runtime"]["difference"] < 1e-4 < rows["ONNX Runtime, int8"]["difference"] < 0.3
    for name in (inference.REFERENCE, "ONNX Runtime"):
        quantiles = rows[name]["milliseconds"]
        assert 0 < quantiles["p50"] <= quantiles["p95"] <= quantiles["p99"] and rows[name]["calls"] >= 3
        assert rows[name]["start"] > 0 and f"{name} {rows[name]['start']:.1f}" in inference.table(report)
        assert set(rows[name]["clips_a_second"]) == set(rows[name]["megabytes"]) == {"1", "2"}
    # TensorFlow alone takes more than ONNX Runtime with this model: each process has loaded its own way only.
    assert rows["ONNX Runtime"]["megabytes"]["2"] < 250 < rows[inference.REFERENCE]["megabytes"]["1"]
    written = inference.table(report)
    assert "| ONNX Runtime, int8 | " in written and "2 segments a clip" in written
    if "not_measured" in rows["TensorRT"]:
        assert f"TensorRT: not measured: {rows['TensorRT']['not_measured']}" in written


def test_the_file_of_another_model_is_refused(workdir_config, onnx_export, monkeypatch):
    monkeypatch.setattr(
        "ccsn_tf.serving.onnx.file.read_onnx", lambda path: (b"", None, {"weights_sha256": "0", "precision": "fp32"})
    )
    with pytest.raises(UserError, match=r"^--inference_onnx=other\.onnx is of another model than --workdir: export"):
        inference.run(workdir_config, options(inference_onnx=["other.onnx"]))


def test_a_process_that_fails_ends_in_a_sentence(tmp_path):
    side = inference._Side("ONNX Runtime", {"load": "onnx", "path": "", "clips": str(tmp_path / "absent.npz")})
    with pytest.raises(UserError, match=r"^ONNX Runtime failed: .*absent\.npz"), side:
        pass


def test_memory_is_what_was_held_at_most():
    program = (
        "import numpy as np; from benchmarks.inference_worker import most_memory; before = most_memory(); "
        "np.ones(200_000_000, np.uint8); print(most_memory() - before)"
    )
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 150e6 < int(grown) < 250e6  # although it was freed at once


def test_calls_of_a_turn():
    calls = []
    times = inference_worker.timed(lambda inputs: calls.append(inputs), "clips", 0.0)
    assert len(times) == 3 and calls == ["clips"] * 4


def test_a_video_by_stage(workdir_config, tmp_path):
    path = videos.write_video(tmp_path / "a.avi", videos.moving(16, (1, 0)))
    config = workdir_config.replace(tvl1_levels=1)  # whose kernels are soon compiled
    report = video_answer.run(config, options(video=str(path)))
    assert (report["frames"], report["width"], report["height"]) == (12, 48, 36)
    few, many, few_inside, many_inside, dis, tvl1 = report["sides"].values()
    assert [side["segments"] for side in report["sides"].values()] == [2, 3, 2, 3, 3, 3]
    assert few["pairs"] < dis["pairs"] == tvl1["pairs"] == 11 and report["tvl1"]["pairs"] == 2
    assert (few_inside["pairs"], many_inside["pairs"]) == (10, 15)
    for side in report["sides"].values():
        assert set(side["milliseconds"]) == set(video_answer.STAGES)
        assert all(time > 0 for stage, time in side["milliseconds"].items() if stage != "network")
    assert tvl1["milliseconds"]["flow"] == 11 * report["tvl1"]["milliseconds"] > many["milliseconds"]["flow"]
    rows = [line for line in video_answer.table(report).splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| DIS fast, finest scale 1 at 128 px, 2 segments",
        "| DIS fast, finest scale 1 at 128 px, 3 segments",
        "| TV-L1 in the network, 2 segments",
        "| TV-L1 in the network, 3 segments",
        "| DIS fast, finest scale 1 at 128 px of all frames",
        "| TV-L1 of all frames",
    ]


@pytest.mark.parametrize("fixture", ["workdir_config", "frames_config"])
def test_the_stages_are_those_of_predict_video(request, fixture, tmp_path):
    config = request.getfixturevalue(fixture)
    path = str(videos.write_video(tmp_path / "a.avi", videos.moving(16, (1, 0))))
    model, given = load_model(f"{config.train.workdir}/model.keras"), []
    own, other = video_answer._sides(model, config)
    if fixture == "frames_config":
        own, other = other, own
    assert (own.config, other.config.model.flow_source == own.config.model.flow_source) == (config, False)

    def listening(inputs):
        given.append(inputs)
        return own.forward(inputs)

    predict_video(path, listening, config)
    times = video_answer.answer_by_stage(path, dataclasses.replace(own, forward=listening))
    assert set(times) == {*video_answer.STAGES, "pairs"}
    assert given[0].keys() == given[1].keys()
    for name, value in given[0].items():
        np.testing.assert_array_equal(value, given[1][name])
    if own.flow:
        frames = given[0]["frames"]
        scale = config.data.short_side / config.model.image_size
        expected = QuantizedFlow(config.data.flow_bound, scale)(
            TVL1Flow(**config.data.tvl1)(frames.reshape(-1, *frames.shape[2:]))
        )
        assert np.abs(own.flow(given[0]) - expected).max() <= 1 and np.ptp(expected) > 5


def test_cut_keeps_the_first_frames_as_they_are(tmp_path):
    path, part = videos.write_video(tmp_path / "a.avi", videos.moving(16, (1, 0))), tmp_path / "b.avi"
    video_answer.cut(str(path), str(part), 9)
    np.testing.assert_array_equal(list(iter_frames(str(part), 64)), list(iter_frames(str(path), 64))[:9])
    with pytest.raises(UserError, match=r"a\.avi has 16 frames: lower --video_frames=17, or name a longer --video\.$"):
        video_answer.cut(str(path), str(part), 17)


@pytest.mark.parametrize(
    ("kind", "works", "wanted"),
    [("workdir_config", True, [False]), ("frames_config", True, [False, True]), ("frames_config", False, [False])],
)
def test_flow_inside_is_served_with_xla_and_without(kind, works, wanted, request, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(inference, "xla_works", lambda: works)

    def export(config, folder, xla=False, **_):
        asked.append(xla)
        return types.SimpleNamespace(path=folder)

    monkeypatch.setattr(inference, "export_saved_model", export)
    monkeypatch.setattr("ccsn_tf.serving.onnx.export.export_onnx", lambda *_: None)
    specs, _ = inference._specs(request.getfixturevalue(kind), str(tmp_path), options())
    served = [spec["path"] for name, spec in specs.items() if name.startswith("SavedModel")]
    assert asked == wanted and len(set(served)) == len(wanted)
