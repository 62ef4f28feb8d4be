"""The files for TensorFlow Serving, as far as they can be checked without it and without Docker."""

import pathlib
import subprocess

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

FOLDER = pathlib.Path(__file__).parents[2] / "export" / "tf_serving"

# BatchingParameters, whose message is in no wheel: names, numbers and types as in TensorFlow Serving's
# servables/tensorflow/session_bundle_config.proto.
WRAPPED = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}


def batching_parameters():
    """An empty message of that type."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="check", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, kind) in WRAPPED.items():
        type_name = f".google.protobuf.{kind}"
        message.field.add(
            name=name, number=number, type=field.TYPE_MESSAGE, type_name=type_name, label=field.LABEL_OPTIONAL
        )
    message.field.add(name="allowed_batch_sizes", number=6, type=field.TYPE_INT64, label=field.LABEL_REPEATED)
    message.field.add(name="pad_variable_length_inputs", number=7, type=field.TYPE_BOOL, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("check.BatchingParameters"))()


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_model_config_is_one():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((FOLDER / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("ccsn", "/models/ccsn", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_batching_is_understood_and_fits_the_model():
    parameters = text_format.Parse((FOLDER / "batching.config").read_text(), batching_parameters())
    most = parameters.max_batch_size.value
    assert list(parameters.allowed_batch_sizes) == [1, 2, 4, 8] and parameters.allowed_batch_sizes[-1] == most
    assert most * 25 <= 256  # clips x --test_segments within --max_segments, both at their defaults
    assert not parameters.pad_variable_length_inputs
    assert parameters.num_batch_threads.value >= 1 and parameters.max_enqueued_batches.value >= 1
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_sise { value: 8 }", batching_parameters())


def test_compose_mounts_what_the_server_is_told_to_read(compose):
    assert set(compose["services"]) == {"cpu", "gpu"}
    for name, service in compose["services"].items():
        assert service["profiles"] == [name]
        mounted = {volume.split(":")[-2]: volume for volume in service["volumes"]}
        assert "/models/ccsn" in mounted and all(volume.endswith(":ro") for volume in service["volumes"])
        for option in service["command"]:
            value = option.partition("=")[2]
            assert not value.startswith("/") or value in mounted, option
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (FOLDER / volume.split(":")[0]).is_file()
        assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
        assert service["image"].endswith("-gpu") == (name == "gpu") == ("deploy" in service)


def test_only_the_gpu_merges_requests(compose):
    batching = {name: any("batching" in option for option in s["command"]) for name, s in compose["services"].items()}
    assert batching == {"cpu": False, "gpu": True}


def test_the_health_check_tells_ready_from_not(compose, stand_in, unused_port):
    program, *arguments = compose["services"]["cpu"]["healthcheck"]["test"][1:]
    arguments = [argument.replace("$$", "$") for argument in arguments]
    for port, ready in ((stand_in.rest_port, True), (unused_port, False), (stand_in.grpc_port, False)):
        result = subprocess.run(
            [program, *arguments],
            env={"REST_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert (result.returncode == 0) == ready, (port, result)
