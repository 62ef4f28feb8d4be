"""The same protocol over gRPC. Its messages are made here, as far as they are needed: no package of ours has them."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ccsn_tf.serving.client.grpc_calls import GrpcCalls
from ccsn_tf.serving.client.kserve import V2Transport
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.onnx.session import METADATA_KEY

# Of Triton's grpc_service.proto and model_config.proto: {message: {field: (number, type)}}, * for repeated fields; a
# map is repeated pairs. A message stands behind those that it needs.
_MESSAGES = {
    "ModelParameter": {"string_value": (1, "string")},
    "Parameter": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelConfig": {"parameters": (14, "Parameter*")},
    "ModelConfigRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
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


class KServeGrpcTransport(V2Transport):
    """See `transport.Transport`."""

    def __init__(self, server: Server, model: str):
        self._grpc, self._model, self._types = GrpcCalls(server), model, _types()

    def versions(self, timeout: float) -> list[int]:
        return [int(version) for version in self._call("ModelMetadata", timeout, name=self._model).versions]

    def metadata(self, version: int, timeout: float) -> str:
        answer = self._call("ModelConfig", timeout, name=self._model, version=str(version))
        found = {each.key: each.value.string_value for each in answer.config.parameters}
        return found[f"{METADATA_KEY}.{version}"]

    def close(self) -> None:
        self._grpc.channel.close()

    def _infer(self, inputs, version, timeout):
        answer = self._call(
            "ModelInfer",
            timeout,
            model_name=self._model,
            model_version=str(version or ""),
            inputs=[{"name": name, "datatype": kind, "shape": x.shape} for name, (kind, x) in inputs.items()],
            raw_input_contents=[x.tobytes() for _, x in inputs.values()],
        )
        return [(each.name, each.datatype, list(each.shape)) for each in answer.outputs], answer.raw_output_contents

    def _call(self, method, timeout, **fields):
        request, response = self._types[f"{method}Request"], self._types[f"{method}Response"]
        called = self._grpc.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}", request.SerializeToString, response.FromString
        )
        return self._grpc(called, request(**fields), timeout)


def _types():
    """{name: class} of the messages."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ccsn_tf/kserve.proto", package="inference", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for key, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind, made = kind.rstrip("*"), message.field.add(name=key, number=number, label=label)
            made.type = field.TYPE_MESSAGE if kind in _MESSAGES else getattr(field, f"TYPE_{kind.upper()}")
            if kind in _MESSAGES:
                made.type_name = f".inference.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in _MESSAGES
    }
