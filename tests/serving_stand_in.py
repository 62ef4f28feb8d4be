"""A stand-in for TensorFlow Serving, for tests: its protocol, not the server.

It answers `PredictionService.Predict`, `ModelService.GetModelStatus` and the REST calls of the same names on the
loopback interface, with a SavedModel that runs in TensorFlow. No batching, no warm-up, no monitoring, no polling.
Faults can be injected: see `FAULTS`.
"""

import base64
import binascii
import concurrent.futures
import http.server
import json
import re
import sys
import threading
import time
from collections.abc import Callable

import grpc
import kept_models
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ccsn_tf.serving import versions
from ccsn_tf.serving.client.calls import StatusError

# slow: answers late; over_long: answers when the caller has given up; unavailable, exhausted: turns the request away;
# lost: runs the model, then says unavailable.
FAULTS = ("slow", "over_long", "unavailable", "exhausted", "lost")


_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}
_MODEL = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict)?")


class StandIn:
    """Serves the versions of one model as "ccsn", until `stop` or the end of a `with` block.

    Args:
        export_dir: folder with a SavedModel a version, as `export_saved_model` writes it.
        grpc_port: 0 takes a free one; `grpc_port` and `rest_port` have what was taken.
        fault: asked before each prediction for one of `FAULTS`, or None.
        slow, over_long: seconds that the faults of that name take.
    """

    def __init__(
        self,
        export_dir: str,
        grpc_port: int = 0,
        fault: Callable[[], str | None] = lambda: None,
        slow: float = 0.3,
        over_long: float = 5.0,
    ):
        self._folder, self._fault = export_dir, fault
        self._delays = {"slow": slow, "over_long": over_long}
        self.reload()
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(80), options=unlimited)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        self._rest = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": self}))
        self.rest_port = self._rest.server_address[1]
        self._thread = threading.Thread(target=self._rest.serve_forever, daemon=True)
        self._grpc.start()
        self._thread.start()

    def reload(self) -> None:
        """Serves the versions that are in the folder now, and no others."""
        found = sorted(versions(self._folder).items())
        self._versions = {number: kept_models.load_saved_model(str(path)) for number, path in found}

    def stop(self) -> None:
        """Ends both servers; calls under way are cut off."""
        self._rest.shutdown()
        self._rest.server_close()
        self._thread.join()
        self._grpc.stop(None).wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def versions(self, model: str) -> list[int]:
        """The versions of a model. StatusError NOT_FOUND if it is another."""
        if model != "ccsn":
            raise StatusError("NOT_FOUND", f"Could not find any versions of model {model}")
        return list(self._versions)

    def signature(self, model: str, version: int | None, name: str):
        """(version, its function) of a signature, as the server finds it."""
        versions = self._versions
        number = max(self.versions(model)) if version is None else version
        if number not in versions:
            raise StatusError("NOT_FOUND", f"Servable not found for request: Specific({model}, {number})")
        name = name or "serving_default"
        if name not in versions[number].signatures:
            raise StatusError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return number, versions[number].signatures[name]

    def run(self, function, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature's function, with a fault before or behind it. StatusError as the server reports it."""
        fault = self._fault()
        if fault in self._delays:
            time.sleep(self._delays[fault])
        if fault == "unavailable":
            raise StatusError("UNAVAILABLE", "fault injected: unavailable")
        if fault == "exhausted":
            raise StatusError("RESOURCE_EXHAUSTED", "fault injected: the queue is full")
        expected = function.structured_input_signature[1]
        if set(inputs) != set(expected):
            raise StatusError("INVALID_ARGUMENT", f"inputs must be {sorted(expected)}. Received: {sorted(inputs)}")
        try:
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
        except tf.errors.OpError as error:
            raise StatusError(_code(error.error_code), error.message) from None
        except (TypeError, ValueError) as error:
            raise StatusError("INVALID_ARGUMENT", str(error)) from None
        if fault == "lost":
            raise StatusError("UNAVAILABLE", "fault injected: the answer was lost")
        return {name: value.numpy() for name, value in outputs.items()}


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server):
        self._server = server

    def Predict(self, request, context):  # noqa: N802 (the service's name for it)
        spec, response = request.model_spec, predict_pb2.PredictResponse()
        try:
            wanted = spec.version.value if spec.HasField("version") else None
            version, function = self._server.signature(spec.name, wanted, spec.signature_name)
            outputs = self._server.run(function, _arrays(request.inputs))
        except StatusError as failure:
            context.abort(grpc.StatusCode[failure.code], failure.message)
        response.model_spec.CopyFrom(spec)
        response.model_spec.version.value = version
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server):
        self._server = server

    def GetModelStatus(self, request, context):  # noqa: N802
        try:
            return model_status(self._server.versions(request.model_spec.name))
        except StatusError as failure:
            context.abort(grpc.StatusCode[failure.code], failure.message)


def _arrays(protos):
    try:
        return {name: tf.make_ndarray(proto) for name, proto in protos.items()}
    except (TypeError, ValueError) as error:
        raise StatusError("INVALID_ARGUMENT", f"tensor parsing error: {error}") from None


def _code(number):
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def model_status(versions: list[int]) -> get_model_status_pb2.GetModelStatusResponse:
    """The status message that says that these versions are ready."""
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    statuses = [get_model_status_pb2.ModelVersionStatus(version=number, state=available) for number in versions]
    return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A caller that has gone away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in = None

    def log_message(self, format, *args):
        """Says nothing."""

    def do_GET(self):
        self._answer(
            lambda model, _: json_format.MessageToDict(
                model_status(self.stand_in.versions(model)), always_print_fields_with_no_presence=True
            )
        )

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(lambda model, version: self._predict(model, version, body))

    def _predict(self, model, version, body):
        request = json.loads(body)
        _, function = self.stand_in.signature(model, version, request["signature_name"])
        specs, inputs = function.structured_input_signature[1], request["inputs"]
        arrays = {key: _tensor(inputs[key], spec.dtype, key) for key, spec in specs.items() if key in inputs}
        outputs = {key: _plain(value) for key, value in self.stand_in.run(function, arrays).items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

    def _answer(self, make):
        match = _MODEL.fullmatch(self.path)
        try:
            if match is None or (match[3] is not None) != (self.command == "POST"):
                raise StatusError("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
            status, content = 200, make(match[1], int(match[2]) if match[2] else None)
        except StatusError as failure:
            status, content = _STATUS.get(failure.code, 500), {"error": failure.message}
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


def _tensor(value, dtype, name):
    """A nested JSON list as an array of the signature's type; StatusError where it is ragged or of another type."""
    try:
        if dtype == tf.string:
            return np.vectorize(_bytes, otypes=[object])(np.array(value, object))
        array = np.array(value)
        if array.size and array.dtype.kind != "i":
            raise TypeError
        return array.astype(dtype.as_numpy_dtype)
    except (AttributeError, TypeError, ValueError, OverflowError, binascii.Error):
        raise StatusError("INVALID_ARGUMENT", f"{name}: JSON value is not of expected type: {dtype.name}") from None


def _bytes(item):
    if isinstance(item, dict) and list(item) == ["b64"]:
        return base64.b64decode(item["b64"], validate=True)
    return item.encode()


def _plain(array):
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist() if array.dtype == object else array.tolist()
