"""An engine, run on the GPU that it was built for."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving.cuda import Cuda
from ccsn_tf.serving.tensorrt_module import load_tensorrt, logger_of

FORMAT = 1


def description_path(plan: str | pathlib.Path) -> pathlib.Path:
    """Where the description of an engine is: beside it, `<plan>.json`."""
    return pathlib.Path(f"{plan}.json")


def read_description(plan: str | pathlib.Path) -> dict:
    """The description that was written with an engine (see `export_engine`).

    Raises:
        UserError: engine or description is missing, damaged, or not one of the other.
    """
    path = description_path(plan)
    try:
        content = pathlib.Path(plan).read_bytes()
        description = json.loads(path.read_text(encoding="utf-8"))
        kept = description["format"], description["plan_sha256"]
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{error.filename} is missing: name an engine that export/tensorrt.py wrote.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise UserError(f"{path} is damaged or not ours: build the engine again with export/tensorrt.py.") from None
    if kept != (FORMAT, hashlib.sha256(content).hexdigest()):
        raise UserError(f"{plan} is not the engine that {path} describes: build it again with export/tensorrt.py.")
    return description


class TensorRTModel:
    """The network in an engine, as a function of a batch of clips.

    A context manager: the GPU's memory is its own until it ends.

    Args:
        plan: the engine, its description beside it.
        cuda: the GPU; None: the first of this machine.
        trt: the module; None: the one that built the engine.

    Attributes:
        metadata: what a client needs to know (see `metadata.make_metadata`).

    Call arguments, returns: as of `OnnxModel`; clips and segments within the engine's profile.

    Raises:
        UserError: an engine of another version or GPU, or a machine without one.
    """

    def __init__(self, plan: str, cuda: Cuda | None = None, trt=None):
        description = read_description(plan)
        built = description["tensorrt"]
        trt = trt or load_tensorrt(built["module"])
        if trt.__version__ != built["version"]:
            raise UserError(
                f"{plan} was built by {built['module']} {built['version']}, and {trt.__version__} is installed: build "
                "it again with export/tensorrt.py, or install that version."
            )
        self._cuda = cuda or Cuda()
        gpu, capabilities = self._cuda.gpu, description["compute_capabilities"]
        if gpu.capability not in capabilities:
            raise UserError(
                f"{plan} was built for compute capability {', '.join(capabilities)}, and {gpu.name} has "
                f"{gpu.capability}: build it again here with export/tensorrt.py."
            )
        self._description, self.metadata, self._trt = description, description["model"], trt
        self._plan, self._path = pathlib.Path(plan).read_bytes(), plan

    def __enter__(self):
        self._cuda.__enter__()
        log = logger_of(self._trt)
        runtime = self._trt.Runtime(log)  # has to live as long as its engine
        engine = runtime.deserialize_cuda_engine(self._plan)
        if engine is None:
            self._cuda.__exit__()
            reason = log.errors[0] if log.errors else "it gives no reason"
            raise UserError(f"{self._path} cannot be loaded ({reason}): build it again here with export/tensorrt.py.")
        self._alive = runtime, engine, engine.create_execution_context()
        return self

    def __exit__(self, *_):
        self._alive = None
        self._cuda.__exit__()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        context = self._alive[-1]
        for name, spec in self._description["inputs"].items():
            array = np.ascontiguousarray(inputs[name])
            _check_shape(name, array.shape, spec["profile"])
            pointer = self._cuda.block(name, array.nbytes)
            self._cuda.upload(pointer, array)
            if not (context.set_input_shape(name, array.shape) and context.set_tensor_address(name, pointer)):
                raise UserError(f"{self._path} does not take {name} of shape {array.shape}.")
        outputs = {}
        for name in self._description["outputs"]:
            outputs[name] = np.empty(tuple(context.get_tensor_shape(name)), np.float32)
            context.set_tensor_address(name, self._cuda.block(name, outputs[name].nbytes))
        if not context.execute_async_v3(self._cuda.stream):
            raise UserError(f"{self._path} failed on the GPU.")
        for name, array in outputs.items():
            self._cuda.download(array, self._cuda.block(name, array.nbytes))
        self._cuda.synchronise()
        return outputs


def _check_shape(name, shape, profile):
    least, most = profile["min"], profile["max"]
    if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
        raise UserError(f"{name} has shape {tuple(shape)}: the engine takes {tuple(least)} to {tuple(most)}.")
