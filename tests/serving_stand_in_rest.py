"""The REST half of the stand-in (see `serving_stand_in`): status and predict, in columns (`inputs`), over loopback."""

from __future__ import annotations

import base64
import binascii
import http.server
import json
import re
import sys
import threading

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_status_pb2

from ccsn_tf.serving.client.calls import StatusError

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_MODEL = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict)?")


class RestServer:
    """Serves a `StandIn` over HTTP, a thread a connection; `port` is the port taken."""

    def __init__(self, stand_in):
        handler = type("Handler", (_Handler,), {"stand_in": stand_in})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
        try:
            request = json.loads(body)
            inputs, name = request["inputs"], request.get("signature_name", "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StatusError("INVALID_ARGUMENT", f"JSON Parse error, or no inputs: {error!r}") from None
        _, function = self.stand_in.signature(model, version, name)
        specs = function.structured_input_signature[1]
        if not isinstance(inputs, dict):
            inputs = {next(iter(specs)): inputs}
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
    return [_plain(item) if isinstance(item, np.ndarray) else _value(item) for item in array]


def _value(item):
    return item.decode() if isinstance(item, bytes) else item.item()
