"""The exported forms of a model as one thing: a function of a batch of clips that gives class scores."""

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import versions
from ccsn_tf.serving.onnx.session import CPU, OnnxModel, OpenVINOModel
from ccsn_tf.serving.saved_model.session import SavedModel, saved_metadata
from ccsn_tf.serving.tensorrt.build import load_tensorrt
from ccsn_tf.serving.tensorrt.session import TensorRTModel, find_gpu, read_engine

# Of several exports of one model, the first that can run here is taken: fastest first, as measured on the CPU
# (docs/BENCHMARKS.md), by the model's source of flow; of GPUs, TensorRT's is not measured yet.
FASTEST_FIRST = {"stored": ("tensorrt", "onnx", "saved_model"), "graph": ("tensorrt", "saved_model", "onnx")}
BACKENDS = ("auto", *FASTEST_FIRST["stored"], "openvino")  # the last for files of onnx

_SUFFIXES = {".onnx": "onnx", ".plan": "tensorrt"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model: its `backend`, one of `BACKENDS`, and the file, or the folder of the SavedModel.

    `providers` and `clips` are those of an `OnnxModel`; of other backends they say nothing.
    """

    backend: str
    path: str
    providers: tuple[str, ...] = (CPU,)
    clips: tuple[int, int] = (1, 1)


def choose(paths: Sequence[str], backend: str = "auto") -> Exported:
    """The export to use, of one or several of the same model.

    Args:
        paths: folders that export/saved_model.py wrote, or one version in them; files of export/to_onnx.py and
            export/to_tensorrt.py.
        backend: one of `BACKENDS`; auto: the fastest that can run here.

    Raises:
        UserError: none is given, one is missing or of no kind that is known, or the backend has none.
    """
    if not paths:
        raise UserError("--model is not given: name a folder of export/saved_model.py, an .onnx or a .plan file.")
    found = {}
    for path in paths:
        export = _recognised(path)
        if export.backend in found:
            raise UserError(f"--model names two models for {export.backend}: leave {path} out.")
        found[export.backend] = export
    if backend != "auto":
        kind = "onnx" if backend == "openvino" else backend
        if kind not in found:
            raise UserError(f"--backend={backend} has no model in --model={','.join(paths)}: name one of its kind.")
        return dataclasses.replace(found[kind], backend=backend)
    source = "stored"
    if {"onnx", "saved_model"} <= set(found):  # whose order depends on it
        source = saved_metadata(found["saved_model"].path).get("flow_source", source)
    order = [found[name] for name in FASTEST_FIRST[source] if name in found]
    export = next((export for export in order if _can_run(export.backend)), order[-1])
    return dataclasses.replace(export, backend="openvino") if _is_for_openvino(export) else export


def read_metadata(export: Exported) -> dict:
    """What an export says about itself (see `metadata.make_metadata`).

    Raises:
        UserError: it is none of ours, damaged, or a package is missing.
    """
    if export.backend == "saved_model":
        return saved_metadata(export.path)
    if export.backend in ("onnx", "openvino"):
        return OnnxModel(export.path).metadata
    return read_engine(export.path)[1]["model"]


class ModelThread:
    """An exported model, loaded, in a thread of its own: this one can do other things meanwhile.

    A GPU's context belongs to a thread, so the model is opened, called and closed in the same one.

    Raises:
        UserError: the model cannot be loaded or run here.
    """

    def __init__(self, export: Exported):
        self._thread, self._stack = concurrent.futures.ThreadPoolExecutor(1, "model"), contextlib.ExitStack()
        try:
            self._model = self._thread.submit(self._stack.enter_context, _opened(export)).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def submit(self, inputs: dict[str, np.ndarray]) -> concurrent.futures.Future:
        """Queues a batch, {name: uint8 (B, K, ...)} (see `data.views`); its result is scores, float32 (B, classes).

        The result raises UserError where the model refuses the batch.
        """
        return self._thread.submit(lambda: np.asarray(self._model(inputs)["scores"]))

    def close(self) -> None:
        """Ends the thread after the batch that it is at."""
        self._thread.submit(self._stack.close)
        self._thread.shutdown()


def _recognised(path):
    place = pathlib.Path(path)
    if place.is_dir():
        found = {number: path for number, path in versions(place).items() if (path / "saved_model.pb").exists()}
        if (place / "saved_model.pb").is_file():
            return Exported("saved_model", path)
        if found:
            return Exported("saved_model", str(found[max(found)]))
        raise UserError(f"--model={path} holds no version of a model: name a folder that export/saved_model.py wrote.")
    if not place.is_file():
        raise UserError(f"--model={path} is missing: name what an export command wrote.")
    if place.suffix not in _SUFFIXES:
        raise UserError(f"--model={path} is neither a folder of a SavedModel nor an .onnx or .plan file: name one.")
    return Exported(_SUFFIXES[place.suffix], path)


def _can_run(backend):
    if backend == "tensorrt":
        return find_gpu() is not None
    return backend != "onnx" or importlib.util.find_spec("onnxruntime") is not None


def _is_for_openvino(export):
    """Whether it computes in 8 bits, where OpenVINO is faster than ONNX Runtime, and no flow, where it is not."""
    if export.backend != "onnx" or importlib.util.find_spec("openvino") is None:
        return False
    metadata = read_metadata(export)
    return metadata["precision"] == "int8" and metadata["flow_source"] == "stored"


@contextlib.contextmanager
def _opened(export: Exported) -> Iterator[Callable]:
    """Yields the model as a function of {input: array} that returns {"scores", ...}."""
    if export.backend == "saved_model":
        yield SavedModel(export.path)
    elif export.backend == "onnx":
        # The cores are the workers', too: without spinning a fifth less time in all.
        yield OnnxModel(export.path, spin=False, providers=export.providers, clips=export.clips)
    elif export.backend == "openvino":
        yield OpenVINOModel(export.path)
    else:
        plan, description = read_engine(export.path)
        trt = load_tensorrt(description["tensorrt"]["module"])
        with TensorRTModel(plan, description, export.path, trt) as model:
            yield model
