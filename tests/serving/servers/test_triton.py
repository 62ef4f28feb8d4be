"""Model repositories for Triton, as far as they can be checked without it."""

import itertools
import json
import os

import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from ccsn_tf.errors import UserError
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository, start_command
from ccsn_tf.serving.tensorrt import export as tensorrt_export
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.cuda import find_gpu
from ccsn_tf.serving.tensorrt.export import export_engine

# Of Triton's model_config.proto, which is in tritonclient (2.73.0 does not go together with our ml_dtypes): name ->
# (number, type), with * for repeated fields. Messages are in the order in which they need one another.
MESSAGES = {
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "int64*")},
    "ModelOutput": {
        "name": (1, "string"),
        "data_type": (2, "DataType"),
        "dims": (3, "int64*"),
        "label_filename": (4, "string"),
    },
    "ModelInstanceGroup": {"kind": (4, "Kind"), "count": (2, "int32")},
    "ModelDynamicBatching": {
        "preferred_batch_size": (1, "int32*"),
        "max_queue_delay_microseconds": (2, "uint64"),
    },
    "WarmupInput": {"data_type": (1, "DataType"), "dims": (2, "int64*"), "zero_data": (3, "bool")},
    "WarmupEntry": {"key": (1, "string"), "value": (2, "WarmupInput")},
    "ModelWarmup": {"name": (1, "string"), "batch_size": (2, "uint32"), "inputs": (3, "WarmupEntry*")},
    "ModelParameter": {"string_value": (1, "string")},
    "ParameterEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelConfig": {
        "name": (1, "string"),
        "backend": (17, "string"),
        "max_batch_size": (4, "int32"),
        "input": (5, "ModelInput*"),
        "output": (6, "ModelOutput*"),
        "dynamic_batching": (11, "ModelDynamicBatching"),
        "instance_group": (7, "ModelInstanceGroup*"),
        "model_warmup": (16, "ModelWarmup*"),
        "parameters": (14, "ParameterEntry*"),
    },
}
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2},
}


def parsed(path):
    """config.pbtxt as a message."""
    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = proto.LABEL_REPEATED if kind.endswith("*") else proto.LABEL_OPTIONAL
            kind, made = kind.rstrip("*"), message.field.add(name=field, number=number, label=label)
            if kind in MESSAGES or kind in ENUMS:
                made.type = proto.TYPE_MESSAGE if kind in MESSAGES else proto.TYPE_ENUM
                made.type_name = f".inference.{kind}"
            else:
                made.type = getattr(proto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    return text_format.Parse(path.read_text(), config)


@pytest.fixture
def engine(onnx_export, monkeypatch, tmp_path):
    """An engine for at most 4 clips of 9 segments, by the stand-in for tensorrt."""
    monkeypatch.setattr(tensorrt_export, "find_gpu", lambda: find_gpu(tensorrt_stand_ins.Driver()))
    settings = BuildSettings(batch=(1, 1, 4), segments=(1, 2, 2))
    trt = tensorrt_stand_ins.tensorrt()
    export_engine(trt, str(onnx_export("fp16").path), str(tmp_path / "model.plan"), settings)
    return tmp_path / "model.plan"


def test_a_repository_of_an_onnx_file(onnx_export, tmp_path):
    path = onnx_export("int8").path
    settings = TritonSettings("actions", 3, max_batch=6, queue_delay_us=700, instances=2, device="cpu")
    version = make_repository(str(path), str(tmp_path / "models"), settings)
    assert version == tmp_path / "models" / "actions" / "3" and os.listdir(version) == ["model.onnx"]
    assert (version / "model.onnx").read_bytes() == path.read_bytes()
    assert sorted(os.listdir(version.parent)) == ["3", "config.pbtxt", "labels.txt"]
    assert (version.parent / "labels.txt").read_text() == "MoveDown\nMoveLeft\nMoveRight\n"
    config = parsed(version.parent / "config.pbtxt")
    assert (config.name, config.backend, config.max_batch_size) == ("actions", "onnxruntime", 6)
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [
        ("rgb", ENUMS["DataType"]["TYPE_UINT8"], [-1, 32, 32, 3]),
        ("flow", ENUMS["DataType"]["TYPE_UINT8"], [-1, 32, 32, 10]),
    ]
    outputs = {tensor.name: (list(tensor.dims), tensor.label_filename) for tensor in config.output}
    assert outputs == {
        **dict.fromkeys(("scores", "logits", "spatial_logits", "temporal_logits"), ([3], "labels.txt")),
        **dict.fromkeys(("spatial_embedding", "temporal_embedding"), ([8], "")),
    }
    assert {tensor.data_type for tensor in config.output} == {ENUMS["DataType"]["TYPE_FP32"]}
    batching, (group,), (warmup,) = config.dynamic_batching, config.instance_group, config.model_warmup
    assert list(batching.preferred_batch_size) == [2, 4, 6] and batching.max_queue_delay_microseconds == 700
    assert (group.count, group.kind) == (2, ENUMS["Kind"]["KIND_CPU"])
    assert warmup.batch_size == 1
    assert {entry.key: list(entry.value.dims) for entry in warmup.inputs} == {
        "rgb": [3, 32, 32, 3],
        "flow": [3, 32, 32, 10],
    }
    metadata = json.loads(config.parameters[0].value.string_value)
    assert config.parameters[0].key == "ccsn_tf" and metadata["precision"] == "int8"
    assert metadata["classes"] == ["MoveDown", "MoveLeft", "MoveRight"]


def test_a_repository_of_an_engine(engine, tmp_path):
    version = make_repository(str(engine), str(tmp_path / "models"), TritonSettings(max_batch=4))
    assert (version / "model.plan").read_bytes() == engine.read_bytes()
    config = parsed(version.parent / "config.pbtxt")
    assert (config.backend, config.max_batch_size, config.instance_group[0].kind) == ("tensorrt", 4, 1)
    assert [entry.value.dims[0] for entry in config.model_warmup[0].inputs] == [2, 2]  # the most that it takes


def test_a_further_version_leaves_the_first(onnx_export, tmp_path):
    paths = [onnx_export(precision).path for precision in ("fp32", "fp16")]
    for number, path in enumerate(paths, start=1):
        make_repository(str(path), str(tmp_path), TritonSettings(version=number))
    for number, path in enumerate(paths, start=1):
        assert (tmp_path / "ccsn" / str(number) / "model.onnx").read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path / "ccsn")) == ["1", "2", "config.pbtxt", "labels.txt"]


def test_what_triton_cannot_serve_is_refused(onnx_export, engine, tmp_path):
    whole, models = str(onnx_export("fp32").path), str(tmp_path / "models")
    export_engine(tensorrt_rtx, whole, str(tmp_path / "rtx.plan"), BuildSettings(compute_capabilities=("8.6",)))
    (tmp_path / "there" / "ccsn" / "1").mkdir(parents=True)
    (tmp_path / "file").touch()
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(onnx_graphs.network().SerializeToString())
    for model, folder, settings, sentence in (
        (whole, "", {}, "--repository is not given"),
        (whole, str(tmp_path / "there"), {}, "1 exists: choose another --version, or delete it"),
        (whole, str(tmp_path / "file"), {}, "cannot be written"),
        (str(foreign), models, {}, "was not written by export/to_onnx.py"),
        (str(tmp_path / "absent.plan"), models, {}, "absent.plan is missing"),
        (str(tmp_path / "rtx.plan"), models, {}, "built by tensorrt_rtx, whose engines Triton does not load"),
        (str(engine), models, {"max_batch": 5}, "--max_batch=5, but .* was built for at most 4: lower it"),
        (str(engine), models, {"max_batch": 4, "device": "cpu"}, "is an engine, which needs a GPU: leave out --device"),
    ):
        with pytest.raises(UserError, match=sentence) as error:
            make_repository(model, folder, TritonSettings(**settings))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "models").exists()


def test_the_command_serves_this_machine_only(tmp_path):
    for device, gpus in (("gpu", True), ("cpu", False)):
        command = start_command(str(tmp_path), device, "image:1").split()
        assert command[:3] == ["docker", "run", "--rm"] and ("--gpus=all" in command) == gpus
        assert f"{tmp_path}:/models" in command and command[-3:] == [
            "image:1",
            "tritonserver",
            "--model-repository=/models",
        ]
        ports = [word for flag, word in itertools.pairwise(command) if flag == "-p"]
        assert ports == [f"127.0.0.1:{port}:{port}" for port in (8000, 8001, 8002)]
