"""The protocols of TensorFlow Serving and of Triton (KServe's, version 2), each by HTTP and by gRPC.

The messages of gRPC are TensorFlow Serving's own, and Triton's, as far as they are needed. A repository of
`servers.triton` takes the network's arrays, so frames and flow are cropped and scaled by the client.
"""

import base64
import json

import numpy as np

from ccsn_tf.serving.client.calls import GrpcCalls, HttpCalls, Server, StatusError
from ccsn_tf.serving.onnx.session import METADATA_KEY

# Of get_model_status.proto, predict.proto, model.proto and tensor.proto; enumerations as the numbers that they are.
_SERVING_MESSAGES = {
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

# Of Triton's grpc_service.proto and model_config.proto.
_KSERVE_MESSAGES = {
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


class Transport:
    """A way to one model on a server. Methods raise `StatusError`, and end after `timeout` seconds.

    takes_jpegs       whether the model has a signature of JPEGs, or takes the network's arrays alone
    versions(timeout) the versions that are ready to answer
    metadata(version, timeout)
                      the JSON that a version says about itself; KeyError and others where it has none of ours
    predict(signature, inputs, version, timeout)
                      calls a signature, of the newest version where None: name -> array; strings in object arrays
    """

    takes_jpegs: bool

    def __init__(self, call: HttpCalls | GrpcCalls):
        self._call = call

    def close(self) -> None:
        """Frees connections."""
        self._call.close()


class _TFServing(Transport):
    takes_jpegs = True

    def metadata(self, version: int, timeout: float) -> str:
        return self.predict("metadata", {"request": np.zeros(1, np.int32)}, version, timeout)["metadata"][0]


class RestTransport(_TFServing):
    """TensorFlow Serving by REST."""

    def __init__(self, server: Server, model: str):
        super().__init__(HttpCalls(server))
        self._path = f"/v1/models/{model}"

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
    """TensorFlow Serving by gRPC."""

    def __init__(self, server: Server, model: str):
        super().__init__(GrpcCalls(server, _SERVING_MESSAGES))
        self._model = model

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


class _KServe(Transport):
    """A model of ours has one signature there, `serving_default`."""

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


class KServeTransport(_KServe):
    """Triton by HTTP: tensors in binary, behind a JSON header."""

    def __init__(self, server: Server, model: str):
        super().__init__(HttpCalls(server))
        self._path = f"/v2/models/{model}"

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
    """Triton by gRPC."""

    def __init__(self, server: Server, model: str):
        super().__init__(GrpcCalls(server, _KSERVE_MESSAGES))
        self._model = model

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
