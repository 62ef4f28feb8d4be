"""The benchmark of inference: what it reports, not how fast."""

import json
import types

import pytest

from benchmarks import inference
from ccsn_tf.errors import UserError


def options(**changes):
    given = {"inference_rounds": 1, "inference_turn": 0.0, "inference_onnx": [], "video": "", "tvl1_pairs": 2}
    return types.SimpleNamespace(**{**given, **changes})


@pytest.fixture
def some_ways(monkeypatch):
    """Those that are told apart by what they load."""
    specs = inference._specs
    names = (inference.REFERENCE, "ONNX Runtime", "ONNX Runtime, int8", "OpenVINO")

    def some(*arguments):
        chosen, classes = specs(*arguments)
        return {name: chosen[name] for name in names if name in chosen}, classes

    monkeypatch.setattr(inference, "_specs", some)
    monkeypatch.setattr(inference, "BATCHES", (1, 2))


def test_report_and_table(workdir_config, onnx_export, some_ways):
    report = inference.run(workdir_config, options(inference_onnx=[str(onnx_export("int8").path)]))
    rows = report["backends"]
    assert rows["ONNX Runtime"]["difference"] < 1e-4 < rows["ONNX Runtime, int8"]["difference"] < 0.3
    for name in (inference.REFERENCE, "ONNX Runtime"):
        quantiles = rows[name]["milliseconds"]
        assert 0 < quantiles["p50"] <= quantiles["p95"] <= quantiles["p99"] and rows[name]["calls"] >= 3
        assert rows[name]["start"] > 0 and set(rows[name]["clips_per_second"]) == set(rows[name]["megabytes"])
    # TensorFlow alone takes more than ONNX Runtime with this model: each process has loaded its own way only.
    assert rows["ONNX Runtime"]["megabytes"]["2"] < 250 < rows[inference.REFERENCE]["megabytes"]["1"]
    written = inference.table(json.loads(json.dumps(report)))
    assert "| ONNX Runtime, int8 | " in written
    if "not_measured" in rows["OpenVINO"]:
        assert f"OpenVINO: not measured: {rows['OpenVINO']['not_measured']}" in written


def test_the_file_of_another_model_is_refused(workdir_config, monkeypatch):
    monkeypatch.setattr(
        "ccsn_tf.serving.onnx.session.read_onnx", lambda path: (b"", None, {"weights_sha256": "0", "precision": "fp32"})
    )
    with pytest.raises(UserError, match="--inference_onnx"):
        inference.run(workdir_config, options(inference_onnx=["other.onnx"]))
