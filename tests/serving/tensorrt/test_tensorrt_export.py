"""From an ONNX file to an engine with its description, built here, and run on stand-ins for GPU and TensorRT 10."""

import functools
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import onnx
import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.tensorrt import compare as tensorrt_compare
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.compare import compare_engine
from ccsn_tf.serving.tensorrt.export import export_engine
from ccsn_tf.serving.tensorrt.run import TensorRTModel, read_engine

VERSION = tensorrt_rtx.__version__
RTX = BuildSettings(compute_capabilities=("8.6", "12.0"))


def inputs(batch=2, segments=3):
    rng = np.random.default_rng(batch)
    shapes = {name: (batch, segments, 32, 32, channels) for name, channels in (("rgb", 3), ("flow", 10))}
    return {name: rng.integers(0, 256, shape).astype("uint8") for name, shape in shapes.items()}


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
    assert description["plan_sha256"] == hashlib.sha256(content).hexdigest()
    assert description["compute_capabilities"] == ["8.6", "12.0"] and description["run"] is None
    assert description["precision"] == "fp16" and description["products"] == {"fp16": 22, "fp32": 5}
    assert set(description["inputs"]) == {"rgb", "flow"} and set(description["outputs"]) >= {"scores", "logits"}
    (entry,) = onnx.load(path).metadata_props
    assert description["model"] == json.loads(entry.value)


def test_what_must_not_be_an_engine_leaves_nothing(onnx_export, tmp_path):
    whole, plan = str(onnx_export("fp32").path), str(tmp_path / "model.plan")
    onnx.save(onnx_graphs.network(), tmp_path / "foreign.onnx")
    full = tensorrt_stand_ins.tensorrt(gpu=False)
    for trt, path, output, sentence in (
        (tensorrt_rtx, str(tmp_path / "foreign.onnx"), plan, "was not written by export/to_onnx.py"),
        (tensorrt_rtx, whole, "", "--output= must be a file"),
        (tensorrt_rtx, whole, whole, "is the ONNX file itself"),
        (full, whole, plan, "tensorrt cannot start"),
    ):
        settings = RTX if trt is tensorrt_rtx else BuildSettings()
        with pytest.raises(UserError, match=sentence):
            export_engine(trt, path, output, settings)
    assert os.listdir(tmp_path) == ["foreign.onnx"]


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
    monkeypatch.setattr(tensorrt_compare, "LIMIT", -1.0)
    with pytest.raises(UserError, match="differs from the trained one by"):
        compare = functools.partial(compare_engine, onnx_path=path)
        export_engine(tensorrt_stand_ins.tensorrt(), path, str(tmp_path / "model.plan"), BuildSettings(), compare)
    assert not os.listdir(tmp_path) and not gpu.open


@pytest.fixture
def engine(onnx_export, gpu, tmp_path):
    """(path of an engine by a stand-in, a call that loads it there)."""
    plan, trt = tmp_path / "model.plan", tensorrt_stand_ins.tensorrt()
    export_engine(trt, str(onnx_export("fp32").path), str(plan), BuildSettings(batch=(1, 1, 4), segments=(2, 3, 5)))
    _, description = read_engine(str(plan))
    return plan, lambda trt=trt, **changes: TensorRTModel(plan.read_bytes(), {**description, **changes}, str(plan), trt)


def test_a_running_engine_answers_as_onnx_runtime_does(engine, onnx_export, gpu):
    reference = OnnxModel(str(onnx_export("fp32").path))
    with engine[1]() as model:
        for batch, segments in ((1, 2), (4, 5), (2, 3)):
            wanted, found = reference(inputs(batch, segments)), model(inputs(batch, segments))
            assert sorted(found) == sorted(wanted)
            for name, value in found.items():
                np.testing.assert_allclose(value, wanted[name], atol=1e-5)
        for batch, segments in ((5, 3), (1, 1), (1, 6)):
            with pytest.raises(UserError, match=r"rgb has shape .* takes \(1, 2, 32, 32, 3\) to \(4, 5, 32"):
                model(inputs(batch, segments))
        assert model.metadata["classes"]
    assert not gpu.open


def test_what_tensorrt_does_not_load_is_an_error_and_nothing_else(engine, gpu):
    """It knows better than we do which engines of other versions, and for other GPUs, it can run."""
    with engine[1](tensorrt_stand_ins.tensorrt("10.14.1"), compute_capabilities=["8.9"]) as model:
        assert model(inputs(1, 3))
    sentence = r"\(Stand-in: no memory\): .* tensorrt 10.13.3 .* capability 8.6; here are 11.0.0 and Stand-in GPU, 8.6"
    with pytest.raises(UserError, match=sentence):
        engine[1](tensorrt_stand_ins.tensorrt("11.0.0", loads=False)).__enter__()
    assert not gpu.open


@pytest.mark.parametrize(
    ("plan", "text", "sentence"),
    [
        (b"engin", '"format": 2', "is not the engine that .*model.plan.json describes: build it again"),
        (b"engine", '"format": 1', "is not the engine that"),
        (b"engine", "", "is damaged or not ours: build the engine again"),
        (None, '"format": 2', "model.plan is missing: name an engine that export/to_tensorrt.py wrote"),
    ],
)
def test_engines_that_cannot_be_read(plan, text, sentence, tmp_path):
    path = tmp_path / "model.plan"
    if plan:
        path.write_bytes(plan)
    digest = hashlib.sha256(b"engine").hexdigest()
    pathlib.Path(f"{path}.json").write_text(f'{{{text}, "plan_sha256": "{digest}"}}')
    with pytest.raises(UserError, match=sentence):
        read_engine(str(path))
