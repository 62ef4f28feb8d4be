"""The first GPU's memory, and a stream on it, by NVIDIA's `cuda-core`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A device: its name, and its compute capability such as "8.6"."""

    name: str
    capability: str


def find_gpu() -> Gpu | None:
    """The first GPU of this machine, None where there is no driver, no device or no cuda-core."""
    try:
        return Cuda().gpu
    except UserError:
        return None


class Cuda:
    """The first GPU's memory, and one stream on it; a context manager, which gives all of it back.

    Attributes:
        gpu: what it is.
        stream: handle, for `execute_async_v3`.

    Raises:
        UserError: no cuda-core, no driver, no GPU, or a call fails (out of memory, for one).
    """

    def __init__(self):
        self._core = optional("cuda.core", "tensorrt-rtx")
        with _in_a_sentence():
            self._device = self._core.Device(0)
            self.gpu = Gpu(self._device.name, ".".join(map(str, self._device.compute_capability)))
        self._blocks, self._stream = {}, None

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    def __enter__(self) -> Cuda:
        with _in_a_sentence():
            self._device.set_current()
            self._pinned, self._stream = self._core.LegacyPinnedMemoryResource(), self._device.create_stream()
        return self

    def __exit__(self, *_):
        for block in self._blocks.values():
            block.close()
        self._blocks.clear()
        self._stream.close()

    def upload(self, name: str, array: np.ndarray) -> int:
        """Copies an array into the block of this name, in the stream's order; returns its address on the GPU."""
        block = self._block(name, array.nbytes)
        block.array(array)[...] = array
        with _in_a_sentence():
            block.there.copy_from(block.here, stream=self._stream)
        return int(block.there.handle)

    def reserve(self, name: str, size: int) -> int:
        """The address on the GPU of a block of so many bytes."""
        return int(self._block(name, size).there.handle)

    def download(self, arrays: dict[str, np.ndarray]) -> None:
        """Copies the blocks of these names into arrays, when the stream has done everything."""
        with _in_a_sentence():
            for name in arrays:
                self._blocks[name].here.copy_from(self._blocks[name].there, stream=self._stream)
            self._stream.sync()
        for name, array in arrays.items():
            array[...] = self._blocks[name].array(array)

    def _block(self, name, size):
        """The block of this name, made anew if it has another size."""
        if name not in self._blocks or self._blocks[name].here.size != size:
            if name in self._blocks:
                self._blocks.pop(name).close()
            with _in_a_sentence():
                here = self._pinned.allocate(size)
                self._blocks[name] = _Block(here, self._device.allocate(size, stream=self._stream))
        return self._blocks[name]


@dataclasses.dataclass(frozen=True)
class _Block:
    """Buffers of one size: `here`, which the GPU copies from and to, and `there`, in its own memory."""

    here: object
    there: object

    def array(self, like):
        """`here` as an array of another's type and shape."""
        return np.from_dlpack(self.here).view(like.dtype).reshape(like.shape)

    def close(self):
        self.there.close()
        self.here.close()


@contextlib.contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # CUDAError, which cuda-core does not export, and others where there is no driver
        reason = " ".join(str(error).split())
        raise UserError(f"The GPU cannot be used ({reason}): is NVIDIA's driver installed, and memory free?") from None
