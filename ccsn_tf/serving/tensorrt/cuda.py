"""The few calls of NVIDIA's driver that running an engine takes: memory, copies, a stream.

By ctypes from the driver's own library, which is there wherever a GPU can be used: no package is needed.
"""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np

from ccsn_tf.errors import UserError

_LIBRARY = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A device: its name, and its compute capability such as "8.6"."""

    name: str
    capability: str


def find_gpu(library=None) -> Gpu | None:
    """The first GPU of this machine, None where there is no driver or no device."""
    try:
        return Cuda(library).gpu
    except UserError:
        return None


class Cuda:
    """The first GPU's memory, and one stream on it; a context manager, which gives all of it back.

    Args:
        library: the driver's library, loaded; None: this machine's.

    Attributes:
        gpu: what it is.
        stream: handle, for `execute_async_v3`.

    Raises:
        UserError: no driver, no GPU, or a call fails (out of memory, for one).
    """

    def __init__(self, library=None):
        self._library = library or _load()
        self._call("cuInit", 0)
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDeviceGetName", name, 256, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
        self.gpu = Gpu(name.value.decode(), f"{major.value}.{minor.value}")
        self._device, self._blocks, self.stream = device, {}, None

    def __enter__(self):
        context, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = stream.value
        return self

    def __exit__(self, *_):
        for pointer, _ in self._blocks.values():
            self._call("cuMemFree_v2", ctypes.c_uint64(pointer))
        self._blocks.clear()
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(self.stream))
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def block(self, name: str, size: int) -> int:
        """The address of a block of at least `size` bytes: the one of this name, made anew if it is too small."""
        pointer, capacity = self._blocks.get(name, (0, -1))
        if capacity < size:
            if pointer:
                self._call("cuMemFree_v2", ctypes.c_uint64(pointer))
            made = ctypes.c_uint64()
            self._call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(max(1, size)))
            self._blocks[name] = pointer, _ = made.value, size
        return pointer

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copies a contiguous array to the device, in the stream's order."""
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(pointer), *_memory(array), ctypes.c_void_p(self.stream))

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copies into a contiguous array, in the stream's order; to be read after `synchronise`."""
        memory, size = _memory(array)
        self._call("cuMemcpyDtoHAsync_v2", memory, ctypes.c_uint64(pointer), size, ctypes.c_void_p(self.stream))

    def synchronise(self) -> None:
        """Waits until the stream has done everything."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _call(self, name, *arguments):
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            reason = (text.value or b"unknown").decode()
            raise UserError(f"The GPU cannot be used: {name} failed with error {status} ({reason}).")


def _load():
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        raise UserError("No NVIDIA driver is installed here, so an engine cannot be run.") from None


def _memory(array):
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes)
