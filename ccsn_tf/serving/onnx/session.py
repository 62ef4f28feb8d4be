"""An exported ONNX file, run by ONNX Runtime."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving.packages import optional

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
        if isinstance(source, str) and not pathlib.Path(source).is_file():
            raise UserError(f"{source} is missing: name a file that export/to_onnx.py wrote.")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors come as exceptions; the rest is advice on performance
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of several classes, which onnxruntime does not export
            raise UserError(_cannot_run(name, error)) from None
        self.metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map, name)
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return dict(zip(self._names, self._session.run(self._names, arrays), strict=True))


def set_metadata(model, metadata: dict) -> None:
    """Writes our metadata into an `onnx.ModelProto`, in place of whatever was there."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(metadata))


def parse_metadata(properties: Mapping[str, str], name: str) -> dict:
    """Our metadata out of an ONNX file's `metadata_props`.

    Raises:
        UserError: there is none: the file is not ours.
    """
    try:
        return json.loads(properties[METADATA_KEY])
    except (KeyError, json.JSONDecodeError):
        raise UserError(
            f"{name} is an ONNX file, but was not written by export/to_onnx.py: it says neither classes nor how its "
            "input is made."
        ) from None


def _cannot_run(name, error):
    reason = " ".join(str(error).split())
    return f"{name} is damaged or no ONNX file ({reason}): export it again with export/to_onnx.py."
