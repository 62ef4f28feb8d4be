"""TensorFlow Serving's two interfaces. The messages of gRPC are its own and TensorFlow's, as far as they are needed."""

from __future__ import annotations

import base64
import json

import numpy as np

from ccsn_tf.serving.client.calls import GrpcCalls, HttpCalls, StatusError
from ccsn_tf.serving.client.server import Server

# Of get_model_status.proto, predict.proto, model.proto and tensor.proto; enumerations as the numbers that they are.
_MESSAGES = {
    "Version": {"value": (1, "int64")},
    "ModelSpec": {"name": (1, "string"), "version": (2, "Version"), "signature_name": (3, "string")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "ModelVersionStatus": {"version": (1, "int64"), "state": (2, "int32")},
    "GetModelStatusResponse": {"model_version_status": (1, "ModelVersionStatus*")},
    "Dimension": {"size": (1, "int64")},
    "Shape": {"dim": (2, "Dimension*")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
    },
    "Named": {"key": (1, "string"), "value": (2, "Tensor")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Named*")},
    "PredictResponse": {"outputs": (1, "Named*")},
}
_AVAILABLE = 30
_TYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10}
_STRING = 7
# By what is answered: numpy's type, and the field that holds values where they are not one block of bytes.
_ANSWERED = {1: ("<f4", "float_val"), 3: ("<i4", "int_val"), _STRING: (object, "string_val")}


class _TFServing:
    """What both ways to TensorFlow Serving share; see `client.Transport`."""

    takes_jpegs = True

    def metadata(self, version: int, timeout: float) -> str:
        return self.predict("metadata", {"request": np.zeros(1, np.int32)}, version, timeout)["metadata"][0]

    def close(self) -> None:
        self._call.close()


class RestTransport(_TFServing):
    """REST."""

    def __init__(self, server: Server, model: str):
        self._call, self._path = HttpCalls(server), f"/v1/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content, _ = self._call("GET", self._path, None, timeout)
        statuses = content.get("model_version_status", [])
        return [int(status["version"]) for status in statuses if status["state"] == "AVAILABLE"]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        path = self._path + (f"/versions/{version}" if version is not None else "") + ":predict"
        body = {"signature_name": signature, "inputs": {name: _to_json(value) for name, value in inputs.items()}}
        content, _ = self._call("POST", path, json.dumps(body), timeout)
        if "outputs" not in content:
            raise StatusError("INTERNAL", "the answer has no outputs")
        outputs = content["outputs"]
        # Of a signature with one output the server leaves out the name; ours are called as their signature.
        return _arrays(_from_json, outputs if isinstance(outputs, dict) else {signature: outputs})


class GrpcTransport(_TFServing):
    """gRPC."""

    def __init__(self, server: Server, model: str):
        self._call, self._model = GrpcCalls(server, _MESSAGES), model

    def versions(self, timeout: float) -> list[int]:
        spec = {"name": self._model}
        answer = self._call("tensorflow.serving.ModelService", "GetModelStatus", timeout, model_spec=spec)
        return [status.version for status in answer.model_version_status if status.state == _AVAILABLE]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        spec = {"name": self._model, "signature_name": signature}
        if version is not None:
            spec["version"] = {"value": version}
        named = [{"key": name, "value": _to_proto(value)} for name, value in inputs.items()]
        service = "tensorflow.serving.PredictionService"
        answer = self._call(service, "Predict", timeout, model_spec=spec, inputs=named)
        return _arrays(_from_proto, {each.key: each.value for each in answer.outputs})


def _arrays(function, outputs):
    try:
        return {name: function(value) for name, value in outputs.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise StatusError("INTERNAL", f"the answer is not of tensors that we know ({error!r})") from None


def _to_json(value):
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    array = np.asarray(value)
    return [_to_json(item) for item in array] if array.dtype == object else array.tolist()


def _from_json(value):
    array = np.array(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind == "U" else array.astype(np.int32)


def _to_proto(value):
    array = np.asarray(value)
    shape = {"dim": [{"size": size} for size in array.shape]}
    if array.dtype == object:
        return {"dtype": _STRING, "tensor_shape": shape, "string_val": array.ravel().tolist()}
    if array.dtype.name not in _TYPES:
        raise StatusError("INVALID_ARGUMENT", f"arrays of {array.dtype} are not sent")
    return {"dtype": _TYPES[array.dtype.name], "tensor_shape": shape, "tensor_content": array.tobytes()}


def _from_proto(tensor):
    dtype, field = _ANSWERED[tensor.dtype]
    shape, values = [dim.size for dim in tensor.tensor_shape.dim], getattr(tensor, field)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    if dtype is object:
        values = [value.decode() for value in values]
    array = np.array(values, dtype)
    missing = int(np.prod(shape)) - len(array)  # of equal values at the end, one is enough
    return np.concatenate([array, array[-1:].repeat(missing)]).reshape(shape) if missing else array.reshape(shape)
