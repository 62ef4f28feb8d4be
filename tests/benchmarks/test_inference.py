"""The benchmark of inference: what it reports, not how fast."""

import json
import types

import pytest

from benchmarks import inference
from ccsn_tf.errors import UserError


def options(**changes):
    given = {"inference_rounds": 1, "inference_turn": 0.0, "inference_onnx": [], "video": "", "tvl1_pairs": 2}
    given |= {"inference_way": [], "inference_cpu_time": False}
    return types.SimpleNamespace(**{**given, **changes})


def only(monkeypatch, names, of=inference._specs):
    """The benchmark of these ways alone, each made by `of`, in batches of one and two."""

    def chosen(*arguments):
        specs, classes = of(*arguments)
        return {name: specs[name] for name in names if name in specs}, classes

    monkeypatch.setattr(inference, "_specs", chosen)
    monkeypatch.setattr(inference, "BATCHES", (1, 2))


def test_report_and_table(workdir_config, tiny_manifest, onnx_export, monkeypatch):
    files = {inference.REFERENCE: "fp32", "ONNX Runtime, int8": "int8"}  # a worker that has no TensorFlow starts soon
    specs = {name: {"load": "onnx", "path": str(onnx_export(precision).path)} for name, precision in files.items()}
    only(monkeypatch, specs, lambda *arguments: (specs, tiny_manifest.classes))
    report = inference.run(workdir_config, options())
    reference, other = (report["backends"][name] for name in files)
    assert reference["difference"] == 0 < other["difference"] < 0.3 and reference["calls"] >= 3
    quantiles = reference["milliseconds"]
    assert 0 < quantiles["p50"] <= quantiles["p95"] <= quantiles["p99"] and reference["start"] > 0
    assert set(reference["clips_per_second"]) == set(reference["megabytes"]) == {"1", "2"}
    report["backends"]["OpenVINO"] = {"not_measured": "it is missing"}
    written = inference.table(json.loads(json.dumps(report)))
    assert "| ONNX Runtime, int8 | " in written
    assert "OpenVINO: not measured: it is missing" in written


def test_chosen_ways_by_cpu_time_in_processes_of_their_own(workdir_config, onnx_export, monkeypatch):
    monkeypatch.setattr(inference, "BATCHES", (1, 2))
    files = [str(onnx_export(precision).path) for precision in ("fp32", "int8")]
    given = options(inference_onnx=files, inference_way=["ONNX", "OpenVINO, int8"], inference_cpu_time=True)
    report = inference.run(workdir_config, given)
    rows = report["backends"]
    assert list(rows) == ["ONNX Runtime", "ONNX Runtime, int8", "OpenVINO, int8"] and report["cpu_time"]
    assert rows["ONNX Runtime"]["difference"] == 0 < rows["OpenVINO, int8"]["difference"] < 0.3
    # TensorFlow alone takes more than ONNX Runtime with this model: each process has loaded its own way only.
    assert rows["ONNX Runtime"]["megabytes"]["2"] < 250
    assert "Times are of the CPU." in inference.table(report)
    with pytest.raises(UserError, match="--inference_way=Torch begins none of"):
        inference.run(workdir_config, options(inference_onnx=files, inference_way=["Torch"]))


def test_the_file_of_another_model_is_refused(workdir_config, monkeypatch):
    monkeypatch.setattr(
        "ccsn_tf.serving.onnx.session.read_onnx", lambda path: (b"", None, {"weights_sha256": "0", "precision": "fp32"})
    )
    with pytest.raises(UserError, match="--inference_onnx"):
        inference.run(workdir_config, options(inference_onnx=["other.onnx"]))
