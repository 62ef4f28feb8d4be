"""The first GPU of this machine, by NVIDIA's `cuda-core`; and an engine, run on it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import types
from collections.abc import Iterator, Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional
from ccsn_tf.serving.model_card import check_sums
from ccsn_tf.serving.tensorrt.build import first_line, logger_of, made

FORMAT = 3


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


def description_path(plan: str | pathlib.Path) -> pathlib.Path:
    """Where the description of an engine is: beside it, `<plan>.json`."""
    return pathlib.Path(f"{plan}.json")


def read_engine(path: str) -> tuple[bytes, dict]:
    """An engine's content and the description beside it (see `export_engine`).

    Raises:
        UserError: engine or description is missing, damaged, or not one of the other.
    """
    beside = description_path(path)
    for file in map(pathlib.Path, (path, beside)):
        if not file.is_file():
            raise UserError(f"{file} is missing: name an engine that export/to_tensorrt.py wrote.")
    check_sums(path)
    try:
        description = json.loads(beside.read_text(encoding="utf-8"))
        ours = description["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise UserError(f"{beside} is damaged or not ours: build the engine again with export/to_tensorrt.py.")
    return pathlib.Path(path).read_bytes(), description


class TensorRTModel:
    """The network in an engine, as a function of a batch of clips; a context manager, which holds the GPU's memory.

    Whether it can run on this GPU with this TensorRT, TensorRT itself knows.

    Args:
        plan: the engine.
        description: of it, see `export_engine`.
        name: for messages.
        trt: the module that built it.

    Attributes:
        metadata: what a client needs to know (see `metadata.make_metadata`).
        inputs: {name: {"dtype", "shape", "profile"}}.

    Call arguments, returns: as of `OnnxModel`; clips and segments within the engine's profile.

    Raises:
        UserError: a machine without a GPU, or an engine that does not load here.
    """

    def __init__(self, plan: bytes, description: dict, name: str, trt: types.ModuleType):
        self._cuda = Cuda()
        self.metadata, self.inputs, self._built = description["model"], description["inputs"], description["tensorrt"]
        self._for = ", ".join(description["compute_capabilities"])
        self._outputs, self._plan, self._name, self._trt = list(description["outputs"]), plan, name, trt
        self._alive = None

    def __enter__(self):
        self._cuda.__enter__()
        log = logger_of(self._trt)
        runtime = made(self._trt.Runtime, log)  # has to live as long as its engine
        engine = runtime and runtime.deserialize_cuda_engine(self._plan)
        context = engine and engine.create_execution_context()
        if context is None:  # which is how TensorRT fails; without a context the memory did not suffice
            self._cuda.__exit__()
            gpu, here = self._cuda.gpu, self._trt.__version__
            raise UserError(
                f"{self._name} cannot be loaded ({first_line(log.errors)}): it was built by {self._built['module']} "
                f"{self._built['version']} for compute capability {self._for}; here are {here} and {gpu.name}, "
                f"{gpu.capability}. Build it again here with export/to_tensorrt.py."
            )
        self._alive = runtime, engine, context
        return self

    def __exit__(self, *_):
        self._alive = None
        self._cuda.__exit__()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        context = self._alive[-1]
        for name, spec in self.inputs.items():
            array = np.ascontiguousarray(inputs[name])
            _check_shape(name, array.shape, spec["profile"])
            address = self._cuda.upload(name, array)
            if not (context.set_input_shape(name, array.shape) and context.set_tensor_address(name, address)):
                raise UserError(f"{self._name} does not take {name} of shape {array.shape}.")
        outputs = {name: np.empty(tuple(context.get_tensor_shape(name)), np.float32) for name in self._outputs}
        for name, array in outputs.items():
            context.set_tensor_address(name, self._cuda.reserve(name, array.nbytes))
        if not context.execute_async_v3(self._cuda.stream):
            raise UserError(f"{self._name} failed on the GPU.")
        self._cuda.download(outputs)
        return outputs


def _check_shape(name, shape, profile):
    least, most = profile["min"], profile["max"]
    if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
        raise UserError(f"{name} has shape {tuple(shape)}: the engine takes {tuple(least)} to {tuple(most)}.")
