"""Model repositories for Triton, as far as they can be checked without it."""

import itertools
import json
import os
import shlex
import shutil
import subprocess

import numpy as np
import onnx_graphs
import pytest
import serving_requests
import tensorrt_rtx
import tensorrt_stand_ins
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository, start_command
from ccsn_tf.serving.tensorrt.build import BuildSettings
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
    "ModelDynamicBatching": {"max_queue_delay_microseconds": (2, "uint64")},
    "AcceleratorEntry": {"key": (1, "string"), "value": (2, "string")},
    "Accelerator": {"name": (1, "string"), "parameters": (2, "AcceleratorEntry*")},
    "ExecutionAccelerators": {"gpu_execution_accelerator": (1, "Accelerator*")},
    "ModelOptimizationPolicy": {"execution_accelerators": (4, "ExecutionAccelerators")},
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
        "optimization": (12, "ModelOptimizationPolicy"),
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
def engine(onnx_export, tmp_path):
    """An engine for at most 4 clips of 9 segments, by the stand-in for tensorrt."""
    settings = BuildSettings(batch=(1, 1, 4), segments=(1, 2, 2))
    trt = tensorrt_stand_ins.tensorrt()
    export_engine(trt, str(onnx_export("fp16").path), str(tmp_path / "model.plan"), settings)
    return tmp_path / "model.plan"


def test_a_repository_of_an_onnx_file(onnx_export, tmp_path):
    path = onnx_export("int8").path
    settings = TritonSettings("actions", 3, max_batch=6, queue_delay_us=700, instances=2, device="cpu")
    version = make_repository(str(path), str(tmp_path / "models"), settings)
    assert version == tmp_path / "models" / "actions" / "3" and sorted(os.listdir(version)) == [
        "MODEL_CARD.md",
        "SHA256SUMS",
        "model.onnx",
    ]
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
    assert batching.max_queue_delay_microseconds == 700
    assert (group.count, group.kind) == (2, ENUMS["Kind"]["KIND_CPU"])
    assert warmup.batch_size == 1
    assert {entry.key: list(entry.value.dims) for entry in warmup.inputs} == {
        "rgb": [3, 32, 32, 3],
        "flow": [3, 32, 32, 10],
    }
    metadata = json.loads(config.parameters[0].value.string_value)
    assert config.parameters[0].key == "ccsn_tf.3" and metadata["precision"] == "int8"
    assert metadata["classes"] == ["MoveDown", "MoveLeft", "MoveRight"]


def test_a_repository_of_an_engine(engine, tmp_path):
    version = make_repository(str(engine), str(tmp_path / "models"), TritonSettings(max_batch=4))
    assert (version / "model.plan").read_bytes() == engine.read_bytes()
    config = parsed(version.parent / "config.pbtxt")
    assert (config.backend, config.max_batch_size, config.instance_group[0].kind) == ("tensorrt", 4, 1)
    assert [entry.value.dims[0] for entry in config.model_warmup[0].inputs] == [2, 2]  # the most that it takes


def test_a_further_version_leaves_the_first(onnx_export, tmp_path):
    """The configuration, which is one for all, keeps what each says about itself, and a version that it does not fit
    is refused."""
    path = str(onnx_export("fp32").path)
    make_repository(path, str(tmp_path), TritonSettings(version=1))
    files = [tmp_path / "ccsn" / name for name in ("config.pbtxt", "labels.txt", "1/model.onnx")]
    before = [file.read_bytes() for file in files]
    for settings in ({"queue_delay_us": 5}, {"max_batch": 3}, {"device": "cpu"}, {"tensorrt": True}):
        with pytest.raises(UserError, match=r"config.pbtxt says otherwise .* --name"):
            make_repository(path, str(tmp_path), TritonSettings(version=2, **settings))
    (tmp_path / "ccsn" / "labels.txt").write_text("Other\n")
    with pytest.raises(UserError, match="says otherwise"):
        make_repository(path, str(tmp_path), TritonSettings(version=2))
    (tmp_path / "ccsn" / "labels.txt").write_bytes(before[1])
    assert before == [file.read_bytes() for file in files]
    make_repository(str(onnx_export("fp16").path), str(tmp_path), TritonSettings(version=2))
    config = parsed(tmp_path / "ccsn" / "config.pbtxt")
    found = {each.key: json.loads(each.value.string_value)["precision"] for each in config.parameters}
    assert found == {"ccsn_tf.1": "fp32", "ccsn_tf.2": "fp16"}
    assert (tmp_path / "ccsn" / "1" / "model.onnx").read_bytes() == before[2]
    shutil.rmtree(tmp_path / "ccsn" / "1")
    shutil.rmtree(tmp_path / "ccsn" / "2")
    make_repository(path, str(tmp_path), TritonSettings(version=3, max_batch=3))  # nothing is left to agree with
    assert [each.key for each in parsed(tmp_path / "ccsn" / "config.pbtxt").parameters] == ["ccsn_tf.3"]


def test_the_segments_of_a_call_are_bounded(onnx_export, workdir_config, tmp_path):
    """By the graph: Triton's batches hold up to --max_batch clips of as many segments as the graph lets through."""
    path, metadata = str(onnx_export("fp32").path), OnnxModel(str(onnx_export("fp32").path)).metadata
    version = make_repository(path, str(tmp_path), TritonSettings(max_segments=21))
    config = parsed(version.parent / "config.pbtxt")
    assert config.max_batch_size == 7  # of the 3 segments that clients are told to send
    assert json.loads(config.parameters[0].value.string_value)["limits"]["segments_a_request"] == 21
    whole, bounded = OnnxModel(path), OnnxModel(str(version / "model.onnx"))
    for segments in (1, 3):
        inputs = serving_requests.arrays(metadata, clips=7, segments=segments)
        for name, value in whole(inputs).items():
            np.testing.assert_array_equal(bounded(inputs)[name], value)
    inputs = serving_requests.arrays(metadata, segments=4)
    whole(inputs)
    with pytest.raises(Exception, match="rgb has at most 3 along axis 1"):
        bounded(inputs)
    for settings in ({"max_batch": 8, "max_segments": 21}, {"max_segments": 2}):
        with pytest.raises(UserError, match=r"--max_batch=. clips of the 3 segments .* --max_segments"):
            make_repository(path, str(tmp_path / "other"), TritonSettings(**settings))


def test_onnx_runtime_may_use_tensorrt(onnx_export, tmp_path):
    version = make_repository(str(onnx_export("fp32").path), str(tmp_path), TritonSettings(tensorrt=True))
    (found,) = parsed(version.parent / "config.pbtxt").optimization.execution_accelerators.gpu_execution_accelerator
    assert found.name == "tensorrt" and {each.key for each in found.parameters} >= {"trt_engine_cache_enable"}
    with pytest.raises(UserError, match="--tensorrt needs a GPU"):
        make_repository(
            str(onnx_export("fp32").path), str(tmp_path / "cpu"), TritonSettings(device="cpu", tensorrt=True)
        )


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
        command = shlex.split(start_command(str(tmp_path), device, "image:1"))
        assert command[:3] == ["docker", "run", "--rm"] and ("--gpus=all" in command) == gpus
        assert f"{tmp_path}:/models:ro" in command and command[command.index("image:1") + 1] == "tritonserver"
        ports = [word for flag, word in itertools.pairwise(command) if flag == "-p"]
        assert ports == [f"127.0.0.1:{port}:{port}" for port in (8000, 8001, 8002)]


def test_the_command_looks_for_the_engine_s_tensorrt_in_the_image(tmp_path):
    """The script that the container is given, run here on a folder in place of its libraries."""
    *_, image, shell, option, script = shlex.split(start_command(str(tmp_path), "gpu", "image:1", "10.13.3.9"))
    assert (image, shell, option) == ("image:1", "sh", "-c")
    (tmp_path / "x86").mkdir()
    script = script.replace("/usr/lib", str(tmp_path)).replace("exec tritonserver", "echo serving")
    for library, status, word in (("10.13.2", 1, "10.13.3"), ("10.13.3", 0, "serving")):
        (tmp_path / "x86" / f"libnvinfer.so.{library}").touch()
        result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        assert result.returncode == status and word in result.stdout
