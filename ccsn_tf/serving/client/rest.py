"""TensorFlow Serving's REST interface, with the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import time

import numpy as np

from ccsn_tf.serving.client.transport import StatusError

_MAX_BYTES = 64 * 2**20
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """Calls to "host:port", a connection each, from any number of threads; see `transport.Transport`."""

    def __init__(self, address: str, model: str):
        self._address, self._path = address, f"/v1/models/{model}"

    def versions(self, timeout: float) -> list[int]:
        content = self._call("GET", self._path, None, timeout)
        return [
            int(status["version"])
            for status in content.get("model_version_status", [])
            if status["state"] == "AVAILABLE"
        ]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        path = self._path + (f"/versions/{version}" if version is not None else "") + ":predict"
        body = {"signature_name": signature, "inputs": {name: _json(value) for name, value in inputs.items()}}
        content = self._call("POST", path, json.dumps(body), timeout)
        if "outputs" not in content:
            raise StatusError("INTERNAL", "the answer has no outputs")
        outputs = content["outputs"]
        # Of a signature with one output the server leaves out the name; ours are called as their signature.
        named = outputs if isinstance(outputs, dict) else {signature: outputs}
        return {name: _array(value) for name, value in named.items()}

    def close(self) -> None:
        """Nothing to close: no connection outlives its call."""

    def _call(self, method, path, body, timeout):
        end = time.monotonic() + timeout
        connection = http.client.HTTPConnection(self._address, timeout=max(timeout, 0.001))
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            sock = connection.sock  # which the connection forgets when the server is going to close it
            sock.settimeout(_left(end))
            response = connection.getresponse()
            content = _read(response, sock, end)
        except TimeoutError:
            raise StatusError("DEADLINE_EXCEEDED", f"no answer within {timeout:.1f} s") from None
        except (OSError, http.client.IncompleteRead) as error:  # refused, reset, or cut off in the middle
            raise StatusError("UNAVAILABLE", str(error) or type(error).__name__) from None
        except http.client.HTTPException:
            raise StatusError("INTERNAL", "what answers there does not speak HTTP") from None
        finally:
            connection.close()
        return _parsed(response.status, content)


def _read(response, sock, end):
    """The body, within time and bounds: a socket's own timeout starts anew with every byte."""
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > _MAX_BYTES:
            raise StatusError("OUT_OF_RANGE", f"the answer is longer than {_MAX_BYTES} bytes")
        sock.settimeout(_left(end))
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _parsed(status, content):
    try:
        parsed = json.loads(content)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        parsed = {"error": f"HTTP status {status} without JSON: is that a model server?"}
    if status != 200 or "error" in parsed:
        raise StatusError(_CODES.get(status, "INTERNAL"), str(parsed.get("error")))
    return parsed


def _left(end):
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


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
