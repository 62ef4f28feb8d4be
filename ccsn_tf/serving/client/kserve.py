"""KServe's protocol, version 2, over HTTP, as Triton speaks it: tensors travel in binary behind a JSON header.

A repository of `servers.triton` takes the network's arrays, so frames and flow are cropped and scaled by the client.
"""

from __future__ import annotations

import json

import numpy as np

from ccsn_tf.serving.client.http_calls import HttpCalls
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import StatusError
from ccsn_tf.serving.onnx.session import METADATA_KEY

_KINDS = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}


class V2Transport:
    """What the ways to Triton share; a model in a repository of ours has one signature, `serving_default`."""

    takes_jpegs = False

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        if signature != "serving_default":
            raise StatusError("INVALID_ARGUMENT", f"Triton serves serving_default alone. Received: {signature}")
        arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        try:
            described, contents = self._infer({name: (_datatype(x), x) for name, x in arrays.items()}, version, timeout)
        except StatusError as failure:  # Triton calls unavailable what it serves no longer, too
            if failure.code == "UNAVAILABLE" and version and version not in (self.versions(timeout) or [version]):
                raise StatusError("NOT_FOUND", failure.message) from None
            raise
        try:
            found = {
                name: np.frombuffer(content, {"FP32": "<f4"}[datatype]).reshape(shape)
                for (name, datatype, shape), content in zip(described, contents, strict=True)
            }
        except (KeyError, TypeError, ValueError) as error:
            raise StatusError("INTERNAL", f"the answer is not of float32 in binary ({error!r})") from None
        return found


class KServeTransport(V2Transport):
    """See `transport.Transport`."""

    def __init__(self, server: Server, model: str):
        self._call, self._path = HttpCalls(server), f"/v2/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content, _ = self._call("GET", self._path, None, timeout)
        return [int(version) for version in content.get("versions", [])]

    def metadata(self, version: int, timeout: float) -> str:
        content, _ = self._call("GET", f"{self._path}/versions/{version}/config", None, timeout)
        return content["parameters"][f"{METADATA_KEY}.{version}"]["string_value"]

    def close(self) -> None:
        """Nothing to close: no connection outlives its call."""

    def _infer(self, inputs, version, timeout):
        described = [
            {"name": name, "datatype": kind, "shape": x.shape, "parameters": {"binary_data_size": x.nbytes}}
            for name, (kind, x) in inputs.items()
        ]
        header = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
        path = self._path + (f"/versions/{version}" if version is not None else "") + "/infer"
        body = b"".join([header, *(x.tobytes() for _, x in inputs.values())])
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
        content, binary = self._call("POST", path, body, timeout, headers)
        try:
            outputs = [(each["name"], each["datatype"], each["shape"]) for each in content["outputs"]]
            ends = np.cumsum([each["parameters"]["binary_data_size"] for each in content["outputs"]]).tolist()
        except (KeyError, TypeError) as error:
            raise StatusError("INTERNAL", f"the answer has no outputs in binary ({error!r})") from None
        return outputs, [binary[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _datatype(array):
    kind = array.dtype.kind
    if kind not in _KINDS:
        raise StatusError("INVALID_ARGUMENT", f"Triton takes numbers alone. Received: {array.dtype}")
    return _KINDS[kind] + (str(8 * array.itemsize) if kind != "b" else "")
