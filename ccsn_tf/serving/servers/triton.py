"""A model repository for NVIDIA Triton Inference Server, from an ONNX file or an engine of ours."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil

from google.protobuf import text_encoding

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text
from ccsn_tf.serving.onnx.session import METADATA_KEY, read_onnx
from ccsn_tf.serving.tensorrt.run import read_engine

LABELS = "labels.txt"
_PORTS = (8000, 8001, 8002)  # HTTP, gRPC, metrics

# Outputs that have a value a class, and so can be answered by name.
_BY_CLASS = ("scores", "logits", "spatial_logits", "temporal_logits")
_EMBEDDINGS = ("spatial_embedding", "temporal_embedding")


@dataclasses.dataclass(frozen=True)
class TritonSettings:
    """How Triton is to serve a model.

    Args:
        name: of the model.
        version: of it, from 1.
        max_batch: clips that Triton may join into one call; of an engine at most what it was built for.
        queue_delay_us: microseconds that a request may wait for others to join it.
        instances: copies of the model that compute at the same time.
        device: "gpu" or "cpu".
    """

    name: str = "ccsn"
    version: int = 1
    max_batch: int = 8
    queue_delay_us: int = 2000
    instances: int = 1
    device: str = "gpu"


def make_repository(model: str, folder: str, settings: TritonSettings) -> pathlib.Path:
    """Writes `folder/<name>/`: config.pbtxt, labels.txt and the version's folder with the model in it.

    The classes are the labels of the outputs by class, and our metadata is a parameter of the model's configuration,
    which clients can ask Triton for. The version's folder appears last and whole.

    Args:
        model: an ONNX file from export/to_onnx.py, or an engine from export/to_tensorrt.py.
        folder: the repository; other models in it are left alone.
        settings: of the serving.

    Returns:
        The version's folder.

    Raises:
        UserError: a file that is not ours or that Triton cannot serve, or a version that exists.
    """
    target = pathlib.Path(folder, settings.name, str(settings.version))
    if not folder:
        raise UserError("--repository is not given: name the folder for Triton's models.")
    if target.exists():
        raise UserError(f"{target} exists: choose another --version, or delete it.")
    file_name, metadata, config = _config(model, settings)
    beside = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        beside.mkdir(parents=True)
        shutil.copyfile(model, beside / file_name)
        write_text(target.parent / LABELS, "".join(f"{label}\n" for label in metadata["classes"]))
        write_text(target.parent / "config.pbtxt", config)
        os.replace(beside, target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{target} cannot be written ({reason}): free space, or choose another --repository.") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def start_command(folder: str, device: str, image: str) -> str:
    """The command that serves the repository with Docker, to this machine only."""
    ports = " ".join(f"-p 127.0.0.1:{port}:{port}" for port in _PORTS)
    gpus = "--gpus=all " if device == "gpu" else ""
    mounted = pathlib.Path(folder).resolve()
    return f"docker run --rm {gpus}{ports} -v {mounted}:/models {image} tritonserver --model-repository=/models"


def _config(model, settings):
    """The file's name in the repository, our metadata, and the content of config.pbtxt."""
    if pathlib.Path(model).suffix == ".onnx":
        _, _, metadata = read_onnx(model)
        return "model.onnx", metadata, config_text("onnxruntime", metadata, settings, metadata["segments"])
    _, description = read_engine(model)
    if description["tensorrt"]["module"] != "tensorrt":
        raise UserError(
            f"{model} was built by {description['tensorrt']['module']}, whose engines Triton does not load: give it "
            "the ONNX file, or build with --module=tensorrt."
        )
    metadata, (most, segments, *_) = description["model"], next(iter(description["inputs"].values()))["profile"]["max"]
    if settings.max_batch > most:
        raise UserError(f"--max_batch={settings.max_batch}, but {model} was built for at most {most}: lower it.")
    if settings.device == "cpu":
        raise UserError(f"{model} is an engine, which needs a GPU: leave out --device=cpu, or give an ONNX file.")
    return "model.plan", metadata, config_text("tensorrt", metadata, settings, min(segments, metadata["segments"]))


def config_text(backend: str, metadata: dict, settings: TritonSettings, segments: int) -> str:
    """The content of config.pbtxt: a `ModelConfig` in protobuf's text format.

    The number of segments is free. Triton joins requests with the same number only.

    Args:
        backend: "onnxruntime" or "tensorrt".
        metadata: ours, of the model.
        settings: of the serving.
        segments: of the clip that warms the model up.
    """
    shapes = _shapes_of_a_segment(metadata)
    inputs = [_tensor(name, "TYPE_UINT8", (-1, *shape)) for name, shape in shapes.items()]
    outputs = [_tensor(name, "TYPE_FP32", (len(metadata["classes"]),), LABELS) for name in _BY_CLASS]
    outputs += [_tensor(name, "TYPE_FP32", (metadata["embedding_dim"],)) for name in _EMBEDDINGS]
    warmup = "".join(
        f'  inputs {{ key: "{name}" value {{ data_type: TYPE_UINT8 {_dims((segments, *shape))} zero_data: true }} }}\n'
        for name, shape in shapes.items()
    )
    preferred = [2**power for power in range(1, settings.max_batch.bit_length()) if 2**power < settings.max_batch]
    sizes = " ".join(f"preferred_batch_size: {count}" for count in [*preferred, settings.max_batch])
    text = text_encoding.CEscape(json.dumps(metadata), as_utf8=False)
    return f"""\
# Written by export/triton/repository.py.
name: "{settings.name}"
backend: "{backend}"
max_batch_size: {settings.max_batch}
input [
{_list(inputs)}
]
output [
{_list(outputs)}
]
dynamic_batching {{ {sizes} max_queue_delay_microseconds: {settings.queue_delay_us} }}
instance_group [ {{ count: {settings.instances} kind: KIND_{settings.device.upper()} }} ]
model_warmup [ {{
  name: "one clip"
  batch_size: 1
{warmup}}} ]
parameters {{ key: "{METADATA_KEY}" value {{ string_value: "{text}" }} }}
"""


def _shapes_of_a_segment(metadata):
    size, length = metadata["image_size"], metadata["flow_length"]
    if metadata.get("flow_source") == "graph":
        return {"frames": (length + 1, size, size, 3)}
    return {"rgb": (size, size, 3), "flow": (size, size, 2 * length)}


def _tensor(name, data_type, dims, labels=""):
    label_file = f' label_filename: "{labels}"' if labels else ""
    return f'{{ name: "{name}" data_type: {data_type} {_dims(dims)}{label_file} }}'


def _dims(dims):
    return f"dims: [ {', '.join(map(str, dims))} ]"


def _list(entries):
    return ",\n".join(f"  {entry}" for entry in entries)
