"""From an ONNX file to an engine with its description, built here, and run on stand-ins for GPU and TensorRT 10."""

import functools
import hashlib
import json
import os

import kept_models
import numpy as np
import onnx
import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.tensorrt import compare as tensorrt_compare
from ccsn_tf.serving.tensorrt import cuda
from ccsn_tf.serving.tensorrt import export as tensorrt_export
from ccsn_tf.serving.tensorrt import run as tensorrt_run
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.compare import compare_engine
from ccsn_tf.serving.tensorrt.cuda import Cuda, find_gpu
from ccsn_tf.serving.tensorrt.export import export_engine
from ccsn_tf.serving.tensorrt.run import TensorRTModel, load_engine, read_engine

RTX = BuildSettings(compute_capabilities=("8.6", "12.0"))


def inputs(batch=2, segments=3):
    rng = np.random.default_rng(batch)
    shapes = {name: (batch, segments, 32, 32, channels) for name, channels in (("rgb", 3), ("flow", 10))}
    return {name: rng.integers(0, 256, shape).astype("uint8") for name, shape in shapes.items()}


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for a GPU, which is found here."""
    driver = tensorrt_stand_ins.Driver()
    monkeypatch.setattr(tensorrt_export, "find_gpu", lambda: find_gpu(driver))
    monkeypatch.setattr(tensorrt_run, "Cuda", lambda: Cuda(driver))
    kept_models.keep(monkeypatch, tensorrt_compare)
    return driver


def test_built_and_not_run(onnx_export, tmp_path):
    path, plan = onnx_export("fp16").path, tmp_path / "below" / "model.plan"
    returned = export_engine(tensorrt_rtx, str(path), str(plan), RTX, compare=lambda engine: pytest.fail("was run"))
    assert sorted(os.listdir(plan.parent)) == ["model.plan", "model.plan.json"]
    content, description = read_engine(str(plan))
    assert description == json.loads(json.dumps(returned)) and content == plan.read_bytes()
    assert description["tensorrt"] == {
        "module": "tensorrt_rtx",
        "version": tensorrt_rtx.__version__,
        "onnx_parser": tensorrt_rtx.get_nv_onnx_parser_version(),
    }
    assert description["onnx"] == {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert description["plan_sha256"] == hashlib.sha256(content).hexdigest()
    assert description["compute_capabilities"] == ["8.6", "12.0"] and description["run"] is None
    assert description["precision"] == "fp16" and description["products"] == {"fp16": 22, "fp32": 5}
    assert (description["tf32"], description["workspace_mb"]) == (False, 0)
    assert set(description["inputs"]) == {"rgb", "flow"} and set(description["outputs"]) >= {"scores", "logits"}
    (entry,) = onnx.load(path).metadata_props
    assert description["model"] == json.loads(entry.value)


def test_what_must_not_be_an_engine_leaves_nothing(onnx_export, tmp_path):
    whole, plan = str(onnx_export("fp32").path), str(tmp_path / "model.plan")
    onnx.save(onnx_graphs.network(), tmp_path / "foreign.onnx")
    full = tensorrt_stand_ins.tensorrt()
    for trt, path, output, precision, sentence in (
        (
            tensorrt_rtx,
            whole,
            plan,
            "fp16",
            r"--precision=fp16, but .* is in fp32, .* export/to_onnx.py --precision=fp16",
        ),
        (tensorrt_rtx, str(tmp_path / "foreign.onnx"), plan, "", "was not written by export/to_onnx.py"),
        (tensorrt_rtx, str(tmp_path / "absent.onnx"), plan, "", "absent.onnx is missing"),
        (tensorrt_rtx, whole, "", "", "--output= must be a file"),
        (tensorrt_rtx, whole, str(tmp_path), "", "must be a file, such as model.plan"),
        (tensorrt_rtx, whole, whole, "", "is the ONNX file itself"),
        (full, whole, plan, "", "tensorrt builds on a GPU, and there is none here"),
    ):
        settings = RTX if trt is tensorrt_rtx else BuildSettings()
        with pytest.raises(UserError, match=sentence):
            export_engine(trt, path, output, settings, precision)
    assert os.listdir(tmp_path) == ["foreign.onnx"]


@pytest.mark.parametrize("version", ["10.13.3", "11.0.0"])
def test_where_there_is_a_gpu_the_engine_is_run_and_compared(version, onnx_export, workdir_config, gpu, tmp_path):
    trt, path = tensorrt_stand_ins.tensorrt(version), str(onnx_export("fp32").path)
    for workdir, words in ((workdir_config.train.workdir, "Keras"), ("", "ONNX Runtime")):
        compare = functools.partial(compare_engine, onnx_path=path, workdir=workdir)
        settings = BuildSettings(batch=(1, 2, 4))
        run = export_engine(trt, path, str(tmp_path / "model.plan"), settings, compare=compare)["run"]
        assert run["gpu"] == "Stand-in GPU" and run["with"].startswith(words)
        assert run["batches"] == [1, 3, 4] and run["segments"] == [2, 4] and run["limit"] == 1e-3
        assert len(run["largest"]) == 6 and max(run["largest"].values()) < 1e-5
    assert not gpu.blocks


def test_an_engine_that_computes_something_else_is_not_kept(onnx_export, gpu, monkeypatch, tmp_path):
    path = str(onnx_export("fp32").path)
    monkeypatch.setattr(tensorrt_compare, "LIMIT", -1.0)
    with pytest.raises(UserError, match="differs from the trained one by"):
        export_engine(
            tensorrt_stand_ins.tensorrt(),
            path,
            str(tmp_path / "model.plan"),
            BuildSettings(),
            compare=functools.partial(compare_engine, onnx_path=path),
        )
    assert not os.listdir(tmp_path) and not gpu.blocks


@pytest.fixture
def engine(onnx_export, gpu, tmp_path):
    """(path of an engine by a stand-in, a call that loads it there)."""
    plan, trt = tmp_path / "model.plan", tensorrt_stand_ins.tensorrt()
    export_engine(trt, str(onnx_export("fp32").path), str(plan), BuildSettings(batch=(1, 1, 4), segments=(2, 3, 5)))
    _, description = read_engine(str(plan))
    return plan, lambda trt=trt, **changes: TensorRTModel(
        plan.read_bytes(), {**description, **changes}, str(plan), trt, Cuda(gpu)
    )


def test_a_running_engine_answers_as_onnx_runtime_does(engine, onnx_export, gpu):
    reference = OnnxModel(str(onnx_export("fp32").path))
    with engine[1]() as model:
        for batch, segments in ((1, 2), (4, 5), (2, 3)):
            wanted, found = reference(inputs(batch, segments)), model(inputs(batch, segments))
            assert sorted(found) == sorted(wanted)
            for name, value in found.items():
                np.testing.assert_allclose(value, wanted[name], atol=1e-5)
        for batch, segments in ((5, 3), (1, 1), (1, 6)):
            with pytest.raises(
                UserError, match=r"rgb has shape .*: the engine takes \(1, 2, 32, 32, 3\) to \(4, 5, 32"
            ):
                model(inputs(batch, segments))
        assert model.metadata["classes"] and not model.tf32
    assert not gpu.blocks


def test_an_engine_of_another_version_or_gpu_is_refused(engine, gpu):
    with pytest.raises(UserError, match=r"was built by tensorrt 10.13.3, and 11.0.0 is installed: build it again"):
        engine[1](tensorrt_stand_ins.tensorrt("11.0.0"))
    with pytest.raises(UserError, match=r"built for compute capability 8.9, 12.0, and Stand-in GPU has 8.6: build it"):
        engine[1](compute_capabilities=["8.9", "12.0"])
    with pytest.raises(UserError, match=r"model.plan cannot be loaded \(Stand-in: no memory\): build it again here"):
        engine[1](tensorrt_stand_ins.tensorrt(loads=False)).__enter__()
    assert not gpu.blocks


def test_an_engine_without_a_gpu_says_so(onnx_export, monkeypatch, tmp_path):
    monkeypatch.setattr(cuda, "_LIBRARY", "libcuda_that_is_not_there.so.1")
    plan = str(tmp_path / "model.plan")
    export_engine(tensorrt_rtx, str(onnx_export("fp32").path), plan, RTX)
    with pytest.raises(UserError, match="No NVIDIA driver is installed here"):
        load_engine(plan)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("plan", "is not the engine that .*model.plan.json describes: build it again"),
        ("description", "is damaged or not ours: build the engine again"),
        ("no plan", "model.plan is missing: name an engine that export/to_tensorrt.py wrote"),
        ("no description", "model.plan.json is missing"),
        ("format", "is not the engine that"),
    ],
)
def test_engines_that_cannot_be_read(damage, sentence, tmp_path):
    plan, beside = tmp_path / "model.plan", tmp_path / "model.plan.json"
    plan.write_bytes(b"engine")
    text = json.dumps({"format": 2, "plan_sha256": hashlib.sha256(b"engine").hexdigest()})
    beside.write_text(text)
    assert read_engine(str(plan))[0] == b"engine"
    if damage.startswith("no "):
        (plan if damage == "no plan" else beside).unlink()
    elif damage == "plan":
        plan.write_bytes(b"engin")
    else:
        beside.write_text(text[:9] if damage == "description" else text.replace("2", "1", 1))
    with pytest.raises(UserError, match=sentence):
        read_engine(str(plan))
