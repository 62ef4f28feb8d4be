"""ONNX files of ours, read, or run by ONNX Runtime or OpenVINO, which takes neither TensorFlow nor the package onnx."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional
from ccsn_tf.serving.model_card import check_sums, sha256
from ccsn_tf.worker_pool import num_cores

# The entry of the file's metadata that holds ours, as JSON (see `metadata.make_metadata`).
METADATA_KEY = "ccsn_tf"

CPU, TENSORRT = "CPUExecutionProvider", "TensorrtExecutionProvider"


class OnnxModel:
    """The network in an ONNX file of ours, as a function of a batch of clips.

    Args:
        source: the file, or its content.
        spin: keep cores busy while threads wait for one another, which takes them from other processes.
        providers: of ONNX Runtime, by its names; a node is computed by the first of them that can.
        clips: (most clips, segments of each) that a call has: what TensorRT builds its engine for.

    Attributes:
        metadata: what a client needs to know (see `metadata.make_metadata`), `precision` included.

    Call arguments:
        {"rgb": uint8 (B, K, S, S, 3), "flow": uint8 (B, K, S, S, 2L)}, or {"frames": uint8 (B, K, L + 1, S, S, 3)}: the
        inputs of the `CCSN`.

    Returns:
        {name: float32 array}: the outputs of `CCSN`, and `scores`, (B, classes).

    Raises:
        UserError: no such file, not an ONNX file, not one of ours, one that this runtime cannot run, or a provider that
            it does not have or cannot start.
    """

    def __init__(
        self,
        source: str | bytes,
        spin: bool = True,
        providers: Sequence[str] = (CPU,),
        clips: tuple[int, int] = (1, 1),
    ):
        runtime = optional("onnxruntime", "onnx")
        there = runtime.get_available_providers()
        if absent := [provider for provider in providers if provider not in there]:
            raise UserError(
                f"--providers={','.join(absent)} is not among those of this ONNX Runtime {runtime.__version__} "
                f"({', '.join(there)}): name these, or install onnxruntime-gpu in its place."
            )
        name = "The ONNX model" if isinstance(source, bytes) else source
        if isinstance(source, str):
            _must_be_whole(source)
        with_options = [(each, _options(each, source, clips, runtime.__version__)) for each in providers]
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_cores()  # its own default are all, though the process may use one
        options.log_severity_level = 3  # errors come as exceptions; the rest is advice on performance
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(source, options, providers=with_options)
        except Exception as error:  # of several classes, which onnxruntime does not export
            if tuple(providers) == (CPU,):
                raise _damaged(name, error) from None
            reason = " ".join(str(error).split())
            raise UserError(
                f"--providers={','.join(providers)} cannot run {name} ({reason}): leave the first out."
            ) from None
        if lost := [provider for provider in providers if provider not in self._session.get_providers()]:
            raise UserError(
                f"--providers={','.join(lost)} cannot be started here: ONNX Runtime says why above; install the "
                "libraries that it misses, or leave it out."
            )
        self.metadata = _parsed_metadata(self._session.get_modelmeta().custom_metadata_map, name)
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return dict(zip(self._names, self._session.run(self._names, arrays), strict=True))


class OpenVINOModel:
    """`OnnxModel` by OpenVINO on the CPU, where that is faster: in 8 bits.

    Call arguments, returns: as of `OnnxModel`.

    Raises:
        UserError: OpenVINO is not installed, no such file, or one that it cannot run.
    """

    def __init__(self, path: str):
        openvino = optional("openvino", "openvino")
        _must_be_whole(path)
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 on some CPUs
        try:
            compiled = openvino.Core().compile_model(path, "CPU", hints)
        except RuntimeError as error:
            raise _damaged(path, error) from None
        self._request = compiled.create_infer_request()
        self._names = [output.any_name for output in compiled.outputs]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._request.infer({name: np.asarray(value) for name, value in inputs.items()})
        return {name: outputs[name] for name in self._names}


def _options(provider, source, clips, version):
    """A provider's options, as onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider has them."""
    if provider != TENSORRT:
        return {}
    metadata, (batch, segments) = OnnxModel(source).metadata, clips
    size, length = metadata["image_size"], metadata["flow_length"]
    inputs = {"rgb": (size, size, 3), "flow": (size, size, 2 * length)}
    if metadata["flow_source"] == "graph":
        inputs = {"frames": (length + 1, size, size, 3)}

    def shapes(batch):
        return ",".join(f"{name}:{'x'.join(map(str, (batch, segments, *rest)))}" for name, rest in inputs.items())

    # Engines know neither the weights nor the runtime that they were built for: another folder for each.
    cache = f"{source}.tensorrt/{sha256(pathlib.Path(source))[:16]}-{version}"
    try:
        pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--providers={TENSORRT} keeps its engines in {cache}, which cannot be written ({error.strerror}): copy "
            "the model into a folder that can."
        ) from None
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": cache,
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(batch),
        "trt_profile_max_shapes": shapes(batch),
        # TensorRT 10 asks for it where there are quantised convolutions; half precision would reach flow and heads.
        **({"trt_int8_enable": True} if metadata["precision"] == "int8" else {}),
    }


def read_onnx(path: str) -> tuple[bytes, object, dict]:
    """A file's content, the `onnx.ModelProto` in it, and our metadata.

    Raises:
        UserError: no such file, not an ONNX file, or not one of ours.
    """
    onnx = optional("onnx", "onnx")
    _must_be_whole(path)
    content = pathlib.Path(path).read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # DecodeError of protobuf, or ValidationError
        raise _damaged(path, error) from None
    return content, model, _parsed_metadata({entry.key: entry.value for entry in model.metadata_props}, path)


def stream_path(path: str | pathlib.Path, part: str) -> pathlib.Path:
    """Where a part of a file stands, of `STREAM_SIGNATURES`: model.snippet.onnx and model.answer.onnx of model.onnx."""
    return pathlib.Path(path).with_suffix(f".{part}.onnx")


def set_metadata(model, metadata: dict) -> None:
    """Writes our metadata into an `onnx.ModelProto`, in place of whatever was there."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(metadata))


def _parsed_metadata(properties, name):
    try:
        return json.loads(properties[METADATA_KEY])
    except (KeyError, json.JSONDecodeError):
        raise UserError(
            f"{name} is an ONNX file, but was not written by export/to_onnx.py: it says neither classes nor how its "
            "input is made."
        ) from None


def _must_be_whole(path: str) -> None:
    """Raises UserError where there is no such file, or it is not what its sum tells of."""
    if not pathlib.Path(path).is_file():
        raise UserError(f"{path} is missing: name a file that export/to_onnx.py wrote.")
    check_sums(path)


def _damaged(name: str, error: Exception) -> UserError:
    """What is to be raised where a runtime refuses a file."""
    reason = " ".join(str(error).split())
    return UserError(f"{name} is damaged or no ONNX file ({reason}): export it again with export/to_onnx.py.")
