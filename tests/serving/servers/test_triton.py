"""Model repositories for Triton, as far as they can be checked without it."""

import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess

import numpy as np
import pytest
import serving_requests
import tensorrt_rtx
import tensorrt_stand_ins
from google.protobuf import text_encoding

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.servers.local_triton import served
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository, start_command
from ccsn_tf.serving.tensorrt.build import BuildSettings
from ccsn_tf.serving.tensorrt.export import export_engine


def text_of(folder):
    """A model's config.pbtxt."""
    return (folder / "config.pbtxt").read_text()


def metadata_of(folder):
    """{version: our metadata} in it."""
    parameter = r'^parameters { key: "ccsn_tf\.(\d+)" value { string_value: "(.*)" } }$'
    found = re.findall(parameter, text_of(folder), re.MULTILINE)
    return {int(version): json.loads(text_encoding.CUnescape(text)) for version, text in found}


@pytest.fixture
def engine(onnx_export, tmp_path):
    """An engine for at most 4 clips of 9 segments, by the stand-in for tensorrt."""
    settings = BuildSettings(batch=(1, 1, 4), segments=(1, 2, 2))
    trt = tensorrt_stand_ins.tensorrt()
    export_engine(trt, str(onnx_export("fp16").path), str(tmp_path / "model.plan"), settings)
    return tmp_path / "model.plan"


def test_a_repository_of_an_onnx_file(onnx_export, tmp_path):
    """What a Triton without a GPU cannot show; test_triton_server.py has the rest."""
    settings = TritonSettings("actions", 3, max_batch=6, queue_delay_us=700, instances=2, tensorrt=True)
    version = make_repository(str(onnx_export("fp16").path), str(tmp_path / "models"), settings)
    assert version == tmp_path / "models" / "actions" / "3"
    assert sorted(os.listdir(version)) == ["MODEL_CARD.md", "SHA256SUMS", "model.onnx"]
    assert sorted(os.listdir(version.parent)) == ["3", "config.pbtxt", "labels.txt"]
    assert (version.parent / "labels.txt").read_text() == "MoveDown\nMoveLeft\nMoveRight\n"
    assert metadata_of(version.parent)[3]["precision"] == "fp16"
    for line in (
        'name: "actions"',
        "max_batch_size: 6",
        "dynamic_batching { max_queue_delay_microseconds: 700 }",
        "instance_group [ { count: 2 kind: KIND_GPU } ]",
        '  { name: "flow" data_type: TYPE_UINT8 dims: [ -1, 32, 32, 10 ] }',
        '  { name: "temporal_logits" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" },',
        '  name: "tensorrt"',
    ):
        assert f"{line}\n" in text_of(version.parent)


def test_a_repository_of_an_engine(engine, tmp_path):
    version = make_repository(str(engine), str(tmp_path / "models"), TritonSettings(max_batch=4))
    assert (version / "model.plan").read_bytes() == engine.read_bytes()
    text = text_of(version.parent)
    for words in ('backend: "tensorrt"', "max_batch_size: 4", "KIND_GPU", "dims: [ 2, 32, 32, 3 ]"):
        assert words in text  # warmed up with the most segments that it takes


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
    found = {version: metadata["precision"] for version, metadata in metadata_of(tmp_path / "ccsn").items()}
    assert found == {1: "fp32", 2: "fp16"}
    assert (tmp_path / "ccsn" / "1" / "model.onnx").read_bytes() == before[2]
    shutil.rmtree(tmp_path / "ccsn" / "1")
    shutil.rmtree(tmp_path / "ccsn" / "2")
    make_repository(path, str(tmp_path), TritonSettings(version=3, max_batch=3))  # nothing is left to agree with
    assert list(metadata_of(tmp_path / "ccsn")) == [3]


def test_the_segments_of_a_call_are_bounded(onnx_export, workdir_config, tmp_path):
    """By the graph: Triton's batches hold up to --max_batch clips of as many segments as the graph lets through."""
    path, metadata = str(onnx_export("fp32").path), OnnxModel(str(onnx_export("fp32").path)).metadata
    version = make_repository(path, str(tmp_path), TritonSettings(max_segments=21))
    assert "max_batch_size: 7\n" in text_of(version.parent)  # of the 3 segments that clients are told to send
    assert metadata_of(version.parent)[1]["limits"]["segments_a_request"] == 21
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


def test_what_triton_cannot_serve_is_refused(onnx_export, engine, tmp_path):
    whole, models = str(onnx_export("fp32").path), str(tmp_path / "models")
    export_engine(tensorrt_rtx, whole, str(tmp_path / "rtx.plan"), BuildSettings(compute_capabilities=("8.6",)))
    (tmp_path / "there" / "ccsn" / "1").mkdir(parents=True)
    (tmp_path / "file").touch()
    for model, folder, settings, sentence in (
        (whole, "", {}, "--repository is not given"),
        (whole, models, {"device": "cpu", "tensorrt": True}, "--tensorrt needs a GPU"),
        (whole, str(tmp_path / "there"), {}, "1 exists: choose another --version, or delete it"),
        (whole, str(tmp_path / "file"), {}, "cannot be written"),
        (str(tmp_path / "rtx.plan"), models, {}, "built by tensorrt_rtx, whose engines Triton does not load"),
        (str(engine), models, {"max_batch": 5}, "--max_batch=5, but .* was built for at most 4: lower it"),
        (str(engine), models, {"max_batch": 4, "device": "cpu"}, "is an engine, which needs a GPU: leave out --device"),
    ):
        with pytest.raises(UserError, match=sentence) as error:
            make_repository(model, folder, TritonSettings(**settings))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "models").exists()


def test_a_taken_port_is_named_before_a_model_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} cannot be used .*: choose another --http_port"):
            served(tmp_path, tmp_path, [port], None).__enter__()


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
