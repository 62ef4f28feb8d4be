"""TensorFlow Serving's gRPC interface. Its messages are TensorFlow's, which this module therefore loads."""

from __future__ import annotations

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import ServingTransport, StatusError

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


class GrpcTransport(ServingTransport):
    """One channel, for any number of threads; see `transport.Transport`."""

    def __init__(self, server: Server, model: str):
        self._model, self._headers = model, tuple(server.headers.items())
        if server.tls:
            credentials = grpc.ssl_channel_credentials(server.authorities)
            self._channel = grpc.secure_channel(server.address, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(server.address, _OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def versions(self, timeout: float) -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        response = self._called(self._models.GetModelStatus, request, timeout)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return [status.version for status in response.model_version_status if status.state == available]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self._called(self._predictions.Predict, request, timeout)
        return {name: _array(value) for name, value in response.outputs.items()}

    def close(self) -> None:
        self._channel.close()

    def _called(self, method, request, timeout):
        if timeout <= 0:  # which gRPC would take for none
            raise StatusError("DEADLINE_EXCEEDED", "no time was left")
        try:
            return method(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise StatusError(error.code().name, error.details() or "") from None


def _array(proto):
    value = tf.make_ndarray(proto)
    return np.vectorize(bytes.decode, otypes=[object])(value) if value.dtype == object else value
