"""Where a server is; calls that end in time, over HTTP by the standard library and over gRPC; which are repeated."""

from __future__ import annotations

import dataclasses
import http.client
import json
import pathlib
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ccsn_tf.errors import UserError

Result = TypeVar("Result")

# The request did not reach a model, or was turned away before it ran. To classify is to change nothing, so even a call
# whose answer was lost on the way back may be repeated. Everything else would fail again.
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds

_ADDRESS = re.compile(r"(?:(grpcs?|https?)://)?([^/]+:([0-9]{1,5}))(/v2)?")
_MAX_BYTES = 64 * 2**20  # of an answer
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
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_BYTES),
    ("grpc.max_send_message_length", -1),
    # A channel whose server was away waits a second, then longer, before it looks again: longer than our own pauses.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclasses.dataclass(frozen=True)
class Server:
    """A server's `address`, host:port, and whether it is asked by gRPC or else HTTP, by TLS, by KServe's protocol.

    `authorities`: the PEM certificates that TLS trusts, None for the system's; `headers`: sent with each call.
    """

    address: str
    grpc: bool
    tls: bool
    v2: bool
    authorities: bytes | None
    headers: dict[str, str]

    @classmethod
    def parse(cls, server: str, ca_file: str = "", token_file: str = "") -> Server:
        """Args: as of `client.Client`.

        Raises:
            UserError: an address of another kind, a file that cannot be used, or a token that anyone could read.
        """
        match = _ADDRESS.fullmatch(server)
        if not match or not 0 < int(match[3]) < 65536:
            raise UserError(
                f"--server={server} is no address: give host:port for gRPC (8500), or http://host:port for REST "
                "(8501), with /v2 behind it for Triton (8001, 8000); grpcs:// and https:// are TLS."
            )
        scheme, tls = match[1] or "grpc", match[1] in ("grpcs", "https")
        for flag in ("--ca_file" if ca_file else "", "--token_file" if token_file else ""):
            if flag and not tls:
                raise UserError(f"{flag} is for TLS, and --server={server} is not: give grpcs:// or https://.")
        authorities = _content(ca_file, "--ca_file") if ca_file else None
        if authorities:
            try:
                ssl.create_default_context(cadata=authorities.decode())
            except (ssl.SSLError, ValueError):
                raise UserError(f"--ca_file={ca_file} holds no certificates: name a PEM file.") from None
        headers = {}
        if token_file:
            token = _content(token_file, "--token_file").strip().decode("ascii", "replace")
            if not re.fullmatch(r"[!-~]+", token):
                raise UserError(f"--token_file={token_file} holds no token: write it there, one line of ASCII.")
            headers = {"authorization": f"Bearer {token}"}  # gRPC wants names in small letters
        return cls(match[2], scheme.startswith("grpc"), tls, bool(match[4]), authorities, headers)


def _content(path, flag):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{flag}={path} cannot be read ({error.strerror}): name a file.") from None


class StatusError(Exception):
    """A call that failed: `code`, a canonical status name such as "UNAVAILABLE", and `message`."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def call_with_retries(call: Callable[[float], Result], timeout: float, attempts: int) -> Result:
    """Calls until it succeeds, fails for good, or attempts or time run out.

    Pauses double from 0.1 s to 2 s; each is shortened by a random half, so that callers who failed together do not
    come back together.

    Args:
        call: called with the seconds that are left; raises `StatusError`.
        timeout: seconds, pauses included.
        attempts: at most so many calls.

    Raises:
        StatusError: of the last attempt.
    """
    end, attempt = time.monotonic() + timeout, 1
    while True:
        try:
            return call(end - time.monotonic())
        except StatusError as failure:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            late = time.monotonic() + pause >= end
            if failure.code not in RETRIED or attempt >= attempts or late:
                raise
            time.sleep(pause)
            attempt += 1


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
            raise StatusError("UNAUTHENTICATED", f"no TLS with it: {error}") from None
        except (OSError, http.client.IncompleteRead) as error:  # refused, reset, or cut off in the middle
            raise StatusError("UNAVAILABLE", str(error) or type(error).__name__) from None
        except http.client.HTTPException:
            raise StatusError("INTERNAL", "what answers there does not speak HTTP") from None
        finally:
            connection.close()
        length = response.headers.get("Inference-Header-Content-Length", "")
        split = int(length) if length.isdecimal() else len(content)
        return _parsed(response.status, content[:split]), content[split:]

    def close(self) -> None:
        """Nothing to close: no connection outlives its call."""


class GrpcCalls:
    """Calls by one channel, from any number of threads.

    The messages are made here, as far as they are needed: the packages that have them want TensorFlow or numpy 1.

    Args:
        server: the server.
        messages: {message: {field: (number, type)}}, * behind the type of repeated fields; a map is repeated pairs. A
            message stands behind those that it needs.
    """

    def __init__(self, server: Server, messages: Mapping[str, Mapping[str, tuple[int, str]]]):
        self._headers, self._types = tuple(server.headers.items()), _message_types(messages)
        if server.tls:
            credentials = grpc.ssl_channel_credentials(server.authorities)
            self._channel = grpc.secure_channel(server.address, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(server.address, _OPTIONS)

    def __call__(self, service: str, method: str, timeout: float, **fields):
        """The answer of a method, whose messages are called `<method>Request` and `<method>Response`.

        Raises:
            StatusError: as of `HttpCalls`.
        """
        if timeout <= 0:  # which gRPC would take for none
            raise StatusError("DEADLINE_EXCEEDED", "no time was left")
        request, response = self._types[f"{method}Request"], self._types[f"{method}Response"]
        path = f"/{service}/{method}"
        called = self._channel.unary_unary(path, request.SerializeToString, response.FromString)
        try:
            return called(request(**fields), timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise StatusError(error.code().name, error.details() or "") from None

    def close(self) -> None:
        """Ends the channel; calls under way fail."""
        self._channel.close()


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


def _message_types(messages):
    """{name: class}."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="messages.proto", package="ccsn_tf", syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for key, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind, made = kind.rstrip("*"), message.field.add(name=key, number=number, label=label)
            made.type = field.TYPE_MESSAGE if kind in messages else getattr(field, f"TYPE_{kind.upper()}")
            if kind in messages:
                made.type_name = f".ccsn_tf.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"ccsn_tf.{name}")) for name in messages}
