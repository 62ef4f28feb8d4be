"""HTTP calls that end in time, with the standard library alone: what the transports over HTTP share."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Mapping

from ccsn_tf.serving.client.server import Server
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


class HttpCalls:
    """Calls to a server, a connection each, from any number of threads."""

    def __init__(self, server: Server):
        self._server, self._context = server, None
        if server.tls:
            self._context = ssl.create_default_context(cadata=server.authorities and server.authorities.decode())

    def __call__(
        self, method: str, path: str, body: str | bytes | None, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[dict, bytes]:
        """The JSON object that is answered, and what follows it in binary (Triton's extension to KServe's protocol).

        Raises:
            StatusError: the answer is an error, is none, or does not come in time.
        """
        end, address = time.monotonic() + timeout, self._server.address
        if self._context:
            connection = http.client.HTTPSConnection(address, timeout=max(timeout, 0.001), context=self._context)
        else:
            connection = http.client.HTTPConnection(address, timeout=max(timeout, 0.001))
        try:
            every = {"Content-Type": "application/json", **self._server.headers, **(headers or {})}
            connection.request(method, path, body, every)
            sock = connection.sock  # which the connection forgets when the server is going to close it
            sock.settimeout(_left(end))
            with connection.getresponse() as response:
                content = _read(response, sock, end)
        except TimeoutError:
            raise StatusError("DEADLINE_EXCEEDED", f"no answer within {timeout:.1f} s") from None
        except ssl.SSLError as error:
            raise StatusError("UNAUTHENTICATED", f"no TLS with it: {error.reason or error}: {error}") from None
        except (OSError, http.client.IncompleteRead) as error:  # refused, reset, or cut off in the middle
            raise StatusError("UNAVAILABLE", str(error) or type(error).__name__) from None
        except http.client.HTTPException:
            raise StatusError("INTERNAL", "what answers there does not speak HTTP") from None
        finally:
            connection.close()
        length = response.headers.get("Inference-Header-Content-Length", "")
        split = int(length) if length.isdecimal() else len(content)
        return _parsed(response.status, content[:split]), content[split:]


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
