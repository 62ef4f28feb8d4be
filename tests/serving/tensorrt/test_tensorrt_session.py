"""A GPU and engines on it, against stand-ins: one keeps the GPU's memory in this process, one runs the ONNX file."""

import pathlib
import sys

import numpy as np
import pytest
import small_models
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.model_card import write_sums
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.export import export_engine
from ccsn_tf.serving.tensorrt.session import Cuda, TensorRTModel, find_gpu, read_engine


@pytest.fixture
def core(monkeypatch):
    def put(**settings):
        made = tensorrt_stand_ins.Core(**settings)
        monkeypatch.setitem(sys.modules, "cuda.core", made)
        return made

    return put


def test_without_package_driver_or_device_there_is_none(core, monkeypatch):
    core(fail="Device")
    assert find_gpu() is None
    with pytest.raises(UserError, match=r"The GPU cannot be used \(no NVIDIA driver\): is NVIDIA's driver installed"):
        Cuda()
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert find_gpu() is None
    with pytest.raises(UserError, match=r"cuda.core is needed .*\[tensorrt-rtx\]"):
        Cuda()


def test_what_goes_up_comes_down_and_memory_is_given_back(core):
    made = core()
    array, back = np.arange(12, dtype="float32").reshape(3, 4), np.zeros((3, 4), "float32")
    with Cuda() as gpu:
        address = gpu.upload("x", array)
        assert gpu.reserve("x", array.nbytes) == address and gpu.stream == 2
        gpu.download({"x": back})
        np.testing.assert_array_equal(back, array)
        gpu.reserve("y", 10)
        gpu.upload("x", array[:1])  # another size takes the block's place
        assert sorted(each.size for each in made.open if hasattr(each, "size")) == [10, 10, 16, 16]
    assert not made.open


def test_a_call_that_fails_says_which(core):
    made = core(fail="allocate")
    with Cuda() as gpu, pytest.raises(UserError, match=r"\(CUDA_ERROR_OUT_OF_MEMORY: no more\)"):
        gpu.upload("x", np.zeros(8))
    assert [each.size for each in made.open] == [64]  # pinned memory, which goes with its last reference


def test_cuda_core_has_what_the_stand_in_has():
    real = pytest.importorskip("cuda.core")
    for made, names in (
        (real.Device, ("name", "compute_capability", "set_current", "create_stream", "allocate")),
        (real.LegacyPinnedMemoryResource, ("allocate",)),
        (real.Buffer, ("size", "handle", "copy_from", "close", "__dlpack__", "__dlpack_device__")),
        (real.Stream, ("handle", "sync", "close")),
    ):
        assert all(hasattr(made, name) for name in names), made
    find_gpu()


def inputs(batch, segments):
    return small_models.clips(batch, segments, size=32)


@pytest.fixture
def gpu(core):
    return core()


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
        (b"engin", '{"format": 3}', r"model.plan is not the file that .*sha256 tells of: export the model again"),
        (b"engine", '{"format": 1}', "is damaged or not ours: build the engine again"),
        (b"engine", "{}", "is damaged or not ours"),
        (b"engine", "{", "is damaged or not ours"),
        (None, "{}", "model.plan is missing: name an engine that export/to_tensorrt.py wrote"),
    ],
)
def test_engines_that_cannot_be_read(plan, text, sentence, tmp_path):
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    write_sums(path)
    path.unlink()
    if plan:
        path.write_bytes(plan)
    pathlib.Path(f"{path}.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_engine(str(path))
