"""A stand-in for TensorFlow Serving, for tests: its protocol, not the server.

It answers `PredictionService.Predict`, `ModelService.GetModelStatus` and the REST calls of the same names on the
loopback interface, with a SavedModel that runs in TensorFlow. No batching, no warm-up, no monitoring, no polling.
Faults can be injected: see `FAULTS`.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable

import grpc
import kept_models
import numpy as np
import tensorflow as tf
from serving_stand_in_rest import RestServer, model_status
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ccsn_tf.serving import versions
from ccsn_tf.serving.client.calls import StatusError

# slow: answers late; over_long: answers when the caller has given up; unavailable, exhausted: turns the request away;
# lost: runs the model, then says unavailable.
FAULTS = ("slow", "over_long", "unavailable", "exhausted", "lost")


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
        self._rest = RestServer(self)
        self.rest_port = self._rest.port
        self._grpc.start()
        self._rest.start()

    def reload(self) -> None:
        """Serves the versions that are in the folder now, and no others."""
        found = sorted(versions(self._folder).items())
        self._versions = {number: kept_models.load_saved_model(str(path)) for number, path in found}

    def stop(self) -> None:
        """Ends both servers; calls under way are cut off."""
        self._rest.stop()
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
