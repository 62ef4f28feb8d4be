"""The driver's calls, against a stand-in for the driver that keeps the GPU's memory in this process."""

import numpy as np
import pytest
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt import cuda
from ccsn_tf.serving.tensorrt.cuda import Cuda, Gpu, find_gpu


def test_the_gpu_is_named():
    assert find_gpu(tensorrt_stand_ins.Driver("NVIDIA RTX A", "12.0")) == Gpu("NVIDIA RTX A", "12.0")


def test_without_driver_or_device_there_is_none(monkeypatch):
    assert find_gpu(tensorrt_stand_ins.Driver(fail="cuInit", status=100)) is None
    monkeypatch.setattr(cuda, "_LIBRARY", "libcuda_that_is_not_there.so.1")
    assert find_gpu() is None
    with pytest.raises(UserError, match="No NVIDIA driver is installed here"):
        Cuda()


def test_what_goes_up_comes_down_and_memory_is_given_back():
    driver = tensorrt_stand_ins.Driver()
    array, back = np.arange(12, dtype="float32").reshape(3, 4), np.zeros((3, 4), "float32")
    with Cuda(driver) as gpu:
        pointer = gpu.block("x", array.nbytes)
        gpu.upload(pointer, array)
        gpu.download(back, pointer)
        gpu.synchronise()
        assert gpu.stream == 2 and len(driver.blocks) == 1
    np.testing.assert_array_equal(back, array)
    assert not driver.blocks
    assert driver.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_a_block_is_kept_while_it_is_large_enough():
    driver = tensorrt_stand_ins.Driver()
    with Cuda(driver) as gpu:
        first = gpu.block("x", 100)
        assert gpu.block("x", 60) == first == gpu.block("x", 100)
        assert gpu.block("y", 0) != first
        gpu.block("x", 101)
        assert sorted(len(block) for block in driver.blocks.values()) == [1, 101]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (2, r"cuMemAlloc_v2 failed with error 2 \(out of memory\)"),
        (999, r"cuMemAlloc_v2 failed with error 999 \(unknown"),
    ],
)
def test_a_call_that_fails_says_which(status, sentence):
    driver = tensorrt_stand_ins.Driver(fail="cuMemAlloc_v2", status=status)
    with Cuda(driver) as gpu, pytest.raises(UserError, match=sentence):
        gpu.block("x", 8)
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"
