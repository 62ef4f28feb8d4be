"""TensorFlow Serving's REST interface."""

from __future__ import annotations

import base64
import json

import numpy as np

from ccsn_tf.serving.client.http_calls import HttpCalls
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import ServingTransport, StatusError


class RestTransport(ServingTransport):
    """See `transport.Transport`."""

    def __init__(self, server: Server, model: str):
        self._call, self._path = HttpCalls(server), f"/v1/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content, _ = self._call("GET", self._path, None, timeout)
        return [
            int(status["version"])
            for status in content.get("model_version_status", [])
            if status["state"] == "AVAILABLE"
        ]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        path = self._path + (f"/versions/{version}" if version is not None else "") + ":predict"
        body = {"signature_name": signature, "inputs": {name: _json(value) for name, value in inputs.items()}}
        content, _ = self._call("POST", path, json.dumps(body), timeout)
        if "outputs" not in content:
            raise StatusError("INTERNAL", "the answer has no outputs")
        outputs = content["outputs"]
        # Of a signature with one output the server leaves out the name; ours are called as their signature.
        named = outputs if isinstance(outputs, dict) else {signature: outputs}
        return {name: _array(value) for name, value in named.items()}

    def close(self) -> None:
        """Nothing to close: no connection outlives its call."""


def _json(value):
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    array = np.asarray(value)
    return [_json(item) for item in array] if array.dtype == object else array.tolist()


def _array(value):
    array = np.array(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind == "U" else array.astype(np.int32)
