"""What we ask of cuda-core, against a stand-in that keeps the GPU's memory in this process."""

import sys

import numpy as np
import pytest
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.cuda import Cuda, Gpu, find_gpu


@pytest.fixture
def core(monkeypatch):
    def put(**settings):
        made = tensorrt_stand_ins.Core(**settings)
        monkeypatch.setitem(sys.modules, "cuda.core", made)
        return made

    return put


def test_the_gpu_is_named(core):
    core(name="NVIDIA RTX A", capability=(12, 0))
    assert find_gpu() == Gpu("NVIDIA RTX A", "12.0")


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
