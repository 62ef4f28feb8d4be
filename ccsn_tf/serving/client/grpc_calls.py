"""gRPC calls that end in time: what the transports over gRPC share."""

from __future__ import annotations

import grpc

from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import StatusError

# Of an answer. The server takes requests of any size; gRPC's own limit for what a client receives is 4 MB.
_MAX_BYTES = 64 * 2**20

_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_BYTES),
    ("grpc.max_send_message_length", -1),
    # A channel whose server was away waits a second, then longer, before it looks again: longer than our own pauses.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class GrpcCalls:
    """One `channel` to a server, for any number of threads."""

    def __init__(self, server: Server):
        self._headers = tuple(server.headers.items())
        if server.tls:
            self.channel = grpc.secure_channel(
                server.address, grpc.ssl_channel_credentials(server.authorities), _OPTIONS
            )
        else:
            self.channel = grpc.insecure_channel(server.address, _OPTIONS)

    def __call__(self, method, request, timeout: float):
        """The answer of a method of a stub of the channel. Raises `StatusError`."""
        if timeout <= 0:  # which gRPC would take for none
            raise StatusError("DEADLINE_EXCEEDED", "no time was left")
        try:
            return method(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise StatusError(error.code().name, error.details() or "") from None
