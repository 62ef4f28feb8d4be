"""An engine, run on the GPU that it was built for."""

from __future__ import annotations

import hashlib
import json
import pathlib
import types
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.build import first_line, load_tensorrt, logger_of, made
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


def load_engine(path: str) -> TensorRTModel:
    """The engine in a file as a model; see `read_engine` and `TensorRTModel` for what is wrong with it."""
    plan, description = read_engine(path)
    return TensorRTModel(plan, description, path, load_tensorrt(description["tensorrt"]["module"]))


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
