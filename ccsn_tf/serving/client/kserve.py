"""KServe's protocol, version 2, over HTTP, as Triton speaks it: tensors travel in binary behind a JSON header.

A repository of `servers.triton` takes the network's arrays, so frames and flow are cropped and scaled here.
"""

from __future__ import annotations

import json

import numpy as np

from ccsn_tf.serving.client.http_calls import HttpCalls
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import StatusError
from ccsn_tf.serving.onnx.session import METADATA_KEY

_KINDS = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}


class KServeTransport:
    """See `transport.Transport`; a model in a repository of ours has one signature, `serving_default`."""

    takes_jpegs = False

    def __init__(self, server: Server, model: str):
        self._call, self._path = HttpCalls(server), f"/v2/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content, _ = self._call("GET", self._path, None, timeout)
        return [int(version) for version in content.get("versions", [])]

    def metadata(self, version: int, timeout: float) -> str:
        content, _ = self._call("GET", f"{self._path}/versions/{version}/config", None, timeout)
        return content["parameters"][f"{METADATA_KEY}.{version}"]["string_value"]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        if signature != "serving_default":
            raise StatusError("INVALID_ARGUMENT", f"Triton serves serving_default alone. Received: {signature}")
        arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        header = {
            "inputs": [{"name": name, **_described(array)} for name, array in arrays.items()],
            "parameters": {"binary_data_output": True},
        }
        encoded = json.dumps(header).encode()
        path = self._path + (f"/versions/{version}" if version is not None else "") + "/infer"
        lengths = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(encoded)),
        }
        body = b"".join([encoded, *(array.tobytes() for array in arrays.values())])
        try:
            return _outputs(*self._call("POST", path, body, timeout, lengths))
        except StatusError as failure:  # Triton calls unavailable what it serves no longer, too
            if failure.code == "UNAVAILABLE" and version and version not in (self.versions(timeout) or [version]):
                raise StatusError("NOT_FOUND", failure.message) from None
            raise

    def close(self) -> None:
        """Nothing to close: no connection outlives its call."""


def _described(array):
    kind = array.dtype.kind
    if kind not in _KINDS:
        raise StatusError("INVALID_ARGUMENT", f"Triton takes numbers alone. Received: {array.dtype}")
    datatype = _KINDS[kind] + (str(8 * array.itemsize) if kind != "b" else "")
    return {"datatype": datatype, "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}


def _outputs(content, binary):
    found, start = {}, 0
    try:
        for output in content["outputs"]:
            size = output["parameters"]["binary_data_size"]
            if output["datatype"] != "FP32" or not 0 <= size <= len(binary) - start:
                raise ValueError(output["datatype"])
            found[output["name"]] = np.frombuffer(binary, "<f4", size // 4, start).reshape(output["shape"])
            start += size
    except (KeyError, TypeError, ValueError) as error:
        raise StatusError("INTERNAL", f"the answer has no outputs in binary ({error!r})") from None
    return found
