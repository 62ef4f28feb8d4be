"""TensorFlow Serving's gRPC interface. Its messages are TensorFlow's, which this module therefore loads."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ccsn_tf.serving.client.grpc_calls import GrpcCalls
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.transport import ServingTransport


class GrpcTransport(ServingTransport):
    """See `transport.Transport`."""

    def __init__(self, server: Server, model: str):
        self._call, self._model = GrpcCalls(server), model
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._call.channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._call.channel)

    def versions(self, timeout: float) -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        response = self._call(self._models.GetModelStatus, request, timeout)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return [status.version for status in response.model_version_status if status.state == available]

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self._call(self._predictions.Predict, request, timeout)
        return {name: _array(value) for name, value in response.outputs.items()}

    def close(self) -> None:
        self._call.channel.close()


def _array(proto):
    value = tf.make_ndarray(proto)
    return np.vectorize(bytes.decode, otypes=[object])(value) if value.dtype == object else value
