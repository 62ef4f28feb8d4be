"""ONNX files of ours, run by ONNX Runtime or read; running needs neither TensorFlow nor the package onnx."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional
from ccsn_tf.serving.sums import check_sums

# The entry of the file's metadata that holds ours, as JSON (see `metadata.make_metadata`).
METADATA_KEY = "ccsn_tf"


class OnnxModel:
    """The network in an ONNX file of ours, as a function of a batch of clips.

    Args:
        source: the file, or its content.
        threads: that one call may use; 0: all cores.
        spin: keep cores busy while threads wait for one another, which takes them from other processes.

    Attributes:
        metadata: what a client needs to know (see `metadata.make_metadata`), `precision` included.

    Call arguments:
        {"rgb": uint8 (B, K, S, S, 3), "flow": uint8 (B, K, S, S, 2L)}, or {"frames": uint8 (B, K, L + 1, S, S, 3)}: the
        inputs of the `CCSN`.

    Returns:
        {name: float32 array}: the outputs of `CCSN`, and `scores`, (B, classes).

    Raises:
        UserError: no such file, not an ONNX file, not one of ours, or one that this runtime cannot run.
    """

    def __init__(self, source: str | bytes, threads: int = 0, spin: bool = True):
        runtime = optional("onnxruntime", "onnx")
        name = "The ONNX model" if isinstance(source, bytes) else source
        if isinstance(source, str):
            _must_be_whole(source)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors come as exceptions; the rest is advice on performance
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of several classes, which onnxruntime does not export
            raise _damaged(name, error) from None
        self.metadata = _parsed_metadata(self._session.get_modelmeta().custom_metadata_map, name)
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return dict(zip(self._names, self._session.run(self._names, arrays), strict=True))


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


def _must_be_whole(path):
    if not pathlib.Path(path).is_file():
        raise UserError(f"{path} is missing: name a file that export/to_onnx.py wrote.")
    check_sums(path)


def _damaged(name, error):
    reason = " ".join(str(error).split())
    return UserError(f"{name} is damaged or no ONNX file ({reason}): export it again with export/to_onnx.py.")
