"""KServe's protocol, version 2, as Triton speaks it: tensors in binary, behind a JSON header or in gRPC's messages.

A repository of `servers.triton` takes the network's arrays, so frames and flow are cropped and scaled by the client.
"""

from __future__ import annotations

import json

import numpy as np

from ccsn_tf.serving.client.calls import GrpcCalls, HttpCalls, StatusError
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.onnx.session import METADATA_KEY

# Of Triton's grpc_service.proto and model_config.proto.
_MESSAGES = {
    "ModelParameter": {"string_value": (1, "string")},
    "Parameter": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelConfiguration": {"parameters": (14, "Parameter*")},
    "ModelConfigRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelConfigResponse": {"config": (1, "ModelConfiguration")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse": {"versions": (2, "string*")},
    "Tensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "inputs": (5, "Tensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {"outputs": (5, "Tensor*"), "raw_output_contents": (6, "bytes*")},
}
_KINDS = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}


class _KServe:
    """What both ways to Triton share; see `client.Transport`. A model of ours has one signature, `serving_default`."""

    takes_jpegs = False

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        if signature != "serving_default":
            raise StatusError("INVALID_ARGUMENT", f"Triton serves serving_default alone. Received: {signature}")
        arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        described = [{"name": name, "datatype": _datatype(x), "shape": x.shape} for name, x in arrays.items()]
        contents = [x.tobytes() for x in arrays.values()]
        try:
            outputs, contents = self._infer(described, contents, version, timeout)
        except StatusError as failure:  # Triton calls unavailable what it serves no longer, too
            if failure.code == "UNAVAILABLE" and version and version not in (self.versions(timeout) or [version]):
                raise StatusError("NOT_FOUND", failure.message) from None
            raise
        try:
            return {
                name: np.frombuffer(content, {"FP32": "<f4"}[datatype]).reshape(shape)
                for (name, datatype, shape), content in zip(outputs, contents, strict=True)
            }
        except (KeyError, TypeError, ValueError) as error:
            raise StatusError("INTERNAL", f"the answer is not of float32 in binary ({error!r})") from None

    def close(self) -> None:
        self._call.close()


class KServeTransport(_KServe):
    """HTTP."""

    def __init__(self, server: Server, model: str):
        self._call, self._path = HttpCalls(server), f"/v2/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content, _ = self._call("GET", self._path, None, timeout)
        return [int(version) for version in content.get("versions", [])]

    def metadata(self, version: int, timeout: float) -> str:
        content, _ = self._call("GET", f"{self._path}/versions/{version}/config", None, timeout)
        return content["parameters"][f"{METADATA_KEY}.{version}"]["string_value"]

    def _infer(self, described, contents, version, timeout):
        for each, content in zip(described, contents, strict=True):
            each["parameters"] = {"binary_data_size": len(content)}
        header = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
        path = self._path + (f"/versions/{version}" if version is not None else "") + "/infer"
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
        answer, binary = self._call("POST", path, b"".join([header, *contents]), timeout, headers)
        try:
            outputs = [(each["name"], each["datatype"], each["shape"]) for each in answer["outputs"]]
            ends = np.cumsum([each["parameters"]["binary_data_size"] for each in answer["outputs"]]).tolist()
        except (KeyError, TypeError) as error:
            raise StatusError("INTERNAL", f"the answer has no outputs in binary ({error!r})") from None
        return outputs, [binary[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class KServeGrpcTransport(_KServe):
    """gRPC."""

    def __init__(self, server: Server, model: str):
        self._call, self._model = GrpcCalls(server, _MESSAGES), model

    def versions(self, timeout: float) -> list[int]:
        return [int(version) for version in self._ask("ModelMetadata", timeout, name=self._model).versions]

    def metadata(self, version: int, timeout: float) -> str:
        answer = self._ask("ModelConfig", timeout, name=self._model, version=str(version))
        found = {each.key: each.value.string_value for each in answer.config.parameters}
        return found[f"{METADATA_KEY}.{version}"]

    def _infer(self, described, contents, version, timeout):
        named = {"model_name": self._model, "model_version": str(version or "")}
        answer = self._ask("ModelInfer", timeout, **named, inputs=described, raw_input_contents=contents)
        return [(each.name, each.datatype, list(each.shape)) for each in answer.outputs], answer.raw_output_contents

    def _ask(self, method, timeout, **fields):
        return self._call("inference.GRPCInferenceService", method, timeout, **fields)


def _datatype(array):
    kind = array.dtype.kind
    if kind not in _KINDS:
        raise StatusError("INVALID_ARGUMENT", f"Triton takes numbers alone. Received: {array.dtype}")
    return _KINDS[kind] + (str(8 * array.itemsize) if kind != "b" else "")
