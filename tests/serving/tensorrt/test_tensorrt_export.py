"""From an ONNX file to an engine with its description, built here, and run on stand-ins for GPU and TensorRT 10."""

import functools
import hashlib
import json
import os
import sys

import onnx
import pytest
import tensorrt_rtx
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt import export as module
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.export import compare_engine, export_engine
from ccsn_tf.serving.tensorrt.session import read_engine

VERSION = tensorrt_rtx.__version__
RTX = BuildSettings(compute_capabilities=("8.6", "12.0"))


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for a GPU, which is found here."""
    core = tensorrt_stand_ins.Core()
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    return core


def test_built_and_not_run(onnx_export, tmp_path):
    path, plan = onnx_export("fp16").path, tmp_path / "below" / "model.plan"
    returned = export_engine(tensorrt_rtx, str(path), str(plan), RTX, compare=lambda engine: pytest.fail("was run"))
    beside = [f"model.plan{suffix}" for suffix in ("", ".MODEL_CARD.md", ".json", ".sha256")]
    assert sorted(os.listdir(plan.parent)) == beside
    assert all(name in (plan.parent / beside[-1]).read_text() for name in beside[:-1])
    assert "| compared with the trained model | not compared |" in (plan.parent / beside[1]).read_text()
    content, description = read_engine(str(plan))
    assert description == json.loads(json.dumps(returned)) and content == plan.read_bytes()
    assert (description["tensorrt"]["module"], description["tensorrt"]["version"]) == ("tensorrt_rtx", VERSION)
    assert description["onnx"] == {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert description["compute_capabilities"] == ["8.6", "12.0"] and description["run"] is None
    assert description["precision"] == "fp16" and description["products"] == {"fp16": 22, "fp32": 5}
    assert set(description["inputs"]) == {"rgb", "flow"} and set(description["outputs"]) >= {"scores", "logits"}
    (entry,) = onnx.load(path).metadata_props
    assert description["model"] == json.loads(entry.value)


def test_what_must_not_be_an_engine_leaves_nothing(onnx_export, tmp_path):
    whole, plan = str(onnx_export("fp32").path), str(tmp_path / "model.plan")
    full = tensorrt_stand_ins.tensorrt(gpu=False)
    for trt, path, output, sentence in (
        (tensorrt_rtx, whole, "", "--output= must be a file"),
        (tensorrt_rtx, whole, whole, "is the ONNX file itself"),
        (full, whole, plan, "tensorrt cannot start"),
    ):
        settings = RTX if trt is tensorrt_rtx else BuildSettings()
        with pytest.raises(UserError, match=sentence):
            export_engine(trt, path, output, settings)
    assert not os.listdir(tmp_path)


def test_where_there_is_a_gpu_the_engine_is_run_and_compared(onnx_export, gpu, tmp_path):
    trt, path = tensorrt_stand_ins.tensorrt("11.0.0"), str(onnx_export("fp32").path)
    compare = functools.partial(compare_engine, onnx_path=path)
    run = export_engine(trt, path, str(tmp_path / "model.plan"), BuildSettings(batch=(1, 2, 4)), compare=compare)["run"]
    assert run["gpu"] == "Stand-in GPU" and run["with"].startswith("ONNX Runtime")
    assert run["batches"] == [1, 3, 4] and run["segments"] == [2, 4] and run["limit"] == 1e-2
    assert len(run["largest"]) == 6 and max(run["largest"].values()) < 1e-5
    assert not gpu.open


def test_an_engine_that_computes_something_else_is_not_kept(onnx_export, gpu, monkeypatch, tmp_path):
    path = str(onnx_export("fp32").path)
    monkeypatch.setattr(module, "LIMIT", -1.0)
    with pytest.raises(UserError, match="differs from the trained one by"):
        compare = functools.partial(compare_engine, onnx_path=path)
        export_engine(tensorrt_stand_ins.tensorrt(), path, str(tmp_path / "model.plan"), BuildSettings(), compare)
    assert not os.listdir(tmp_path) and not gpu.open
