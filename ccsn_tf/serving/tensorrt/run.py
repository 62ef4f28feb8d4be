"""An engine, run on the GPU that it was built for."""

from __future__ import annotations

import hashlib
import json
import pathlib
import types
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.build import first_line, load_tensorrt, logger_of
from ccsn_tf.serving.tensorrt.cuda import Cuda

FORMAT = 2


def description_path(plan: str | pathlib.Path) -> pathlib.Path:
    """Where the description of an engine is: beside it, `<plan>.json`."""
    return pathlib.Path(f"{plan}.json")


def read_engine(path: str) -> tuple[bytes, dict]:
    """An engine's content and the description beside it (see `export_engine`).

    Raises:
        UserError: engine or description is missing, damaged, or not one of the other.
    """
    beside = description_path(path)
    try:
        plan = pathlib.Path(path).read_bytes()
        description = json.loads(beside.read_text(encoding="utf-8"))
        kept = description["format"], description["plan_sha256"]
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{error.filename} is missing: name an engine that export/to_tensorrt.py wrote.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise UserError(
            f"{beside} is damaged or not ours: build the engine again with export/to_tensorrt.py."
        ) from None
    if kept != (FORMAT, hashlib.sha256(plan).hexdigest()):
        raise UserError(f"{path} is not the engine that {beside} describes: build it again with export/to_tensorrt.py.")
    return plan, description


def load_engine(path: str, cuda: Cuda | None = None) -> TensorRTModel:
    """The engine in a file as a model; see `read_engine` and `TensorRTModel` for what is wrong with it."""
    plan, description = read_engine(path)
    return TensorRTModel(plan, description, path, load_tensorrt(description["tensorrt"]["module"]), cuda)


class TensorRTModel:
    """The network in an engine, as a function of a batch of clips; a context manager, which holds the GPU's memory.

    Args:
        plan: the engine.
        description: of it, see `export_engine`.
        name: for messages.
        trt: the module that built it.
        cuda: the GPU; None: the first of this machine.

    Attributes:
        metadata: what a client needs to know (see `metadata.make_metadata`).
        inputs: {name: {"dtype", "shape", "profile"}}.
        tf32: whether its float32 products are rounded to TensorFloat-32.

    Call arguments, returns: as of `OnnxModel`; clips and segments within the engine's profile.

    Raises:
        UserError: an engine of another version or for another GPU, or a machine without a GPU.
    """

    def __init__(self, plan: bytes, description: dict, name: str, trt: types.ModuleType, cuda: Cuda | None = None):
        built, capabilities = description["tensorrt"], description["compute_capabilities"]
        if trt.__version__ != built["version"]:
            raise UserError(
                f"{name} was built by {built['module']} {built['version']}, and {trt.__version__} is installed: build "
                "it again with export/to_tensorrt.py, or install that version."
            )
        self._cuda = cuda or Cuda()
        gpu = self._cuda.gpu
        if gpu.capability not in capabilities:
            raise UserError(
                f"{name} was built for compute capability {', '.join(capabilities)}, and {gpu.name} has "
                f"{gpu.capability}: build it again here with export/to_tensorrt.py."
            )
        self.metadata, self.inputs, self.tf32 = description["model"], description["inputs"], description["tf32"]
        self._outputs, self._plan, self._name, self._trt = list(description["outputs"]), plan, name, trt
        self._alive = None

    def __enter__(self):
        self._cuda.__enter__()
        log = logger_of(self._trt)
        runtime = self._trt.Runtime(log)  # has to live as long as its engine
        engine = runtime.deserialize_cuda_engine(self._plan)
        context = engine and engine.create_execution_context()
        if context is None:  # which is how TensorRT fails; without a context the memory did not suffice
            self._cuda.__exit__()
            raise UserError(
                f"{self._name} cannot be loaded ({first_line(log.errors)}): build it again here with "
                "export/to_tensorrt.py."
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
            pointer = self._cuda.block(name, array.nbytes)
            self._cuda.upload(pointer, array)
            if not (context.set_input_shape(name, array.shape) and context.set_tensor_address(name, pointer)):
                raise UserError(f"{self._name} does not take {name} of shape {array.shape}.")
        outputs = {}
        for name in self._outputs:
            outputs[name] = np.empty(tuple(context.get_tensor_shape(name)), np.float32)
            context.set_tensor_address(name, self._cuda.block(name, outputs[name].nbytes))
        if not context.execute_async_v3(self._cuda.stream):
            raise UserError(f"{self._name} failed on the GPU.")
        for name, array in outputs.items():
            self._cuda.download(array, self._cuda.block(name, array.nbytes))
        self._cuda.synchronise()
        return outputs


def _check_shape(name, shape, profile):
    least, most = profile["min"], profile["max"]
    if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
        raise UserError(f"{name} has shape {tuple(shape)}: the engine takes {tuple(least)} to {tuple(most)}.")
