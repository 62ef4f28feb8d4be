"""A model repository for NVIDIA Triton Inference Server, from an ONNX file or an engine of ours."""

import dataclasses
import json
import pathlib
import shlex

from google.protobuf import text_encoding

from ccsn_tf.data.views import InputForm
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_folder, write_text
from ccsn_tf.serving import versions
from ccsn_tf.serving.metadata import MAX_SEGMENTS, client_config
from ccsn_tf.serving.model_card import write_beside
from ccsn_tf.serving.onnx.graph import bound_axis
from ccsn_tf.serving.onnx.session import METADATA_KEY, read_onnx
from ccsn_tf.serving.tensorrt.session import read_engine

LABELS = "labels.txt"
_PORTS = (8000, 8001, 8002)  # HTTP, gRPC, metrics
_BATCH = 8  # clips at most, where nothing is asked for

# Engines are built by the first requests of a size, and kept in the container: mount that folder to keep them longer.
_ACCELERATOR = """\
optimization { execution_accelerators { gpu_execution_accelerator: [ {
  name: "tensorrt"
  parameters { key: "trt_engine_cache_enable" value: "1" }
  parameters { key: "trt_engine_cache_path" value: "/tmp/tensorrt" }
} ] } }
"""

# Outputs that have a value a class, and so can be answered by name.
_BY_CLASS = ("scores", "logits", "spatial_logits", "temporal_logits")
_EMBEDDINGS = ("spatial_embedding", "temporal_embedding")


@dataclasses.dataclass(frozen=True)
class TritonSettings:
    """How Triton is to serve a model.

    Args:
        name: of the model.
        version: of it, from 1.
        max_batch: clips that Triton may join into one call; 0: 8, or fewer, within `max_segments` or the engine.
        max_segments: clips times segments of such a call, which bounds its memory; 0: `MAX_SEGMENTS`. Of an engine it
            is what that was built for.
        queue_delay_us: microseconds that a request may wait for others to join it.
        instances: copies of the model that compute at the same time.
        device: "gpu" or "cpu".
        tensorrt: ONNX Runtime has TensorRT compute what that can, on a GPU.
    """

    name: str = "ccsn"
    version: int = 1
    max_batch: int = 0
    max_segments: int = 0
    queue_delay_us: int = 2000
    instances: int = 1
    device: str = "gpu"
    tensorrt: bool = False


def make_repository(model: str, folder: str, settings: TritonSettings) -> pathlib.Path:
    """Writes `folder/<name>/`: config.pbtxt, labels.txt and the version's folder with the model in it.

    The classes are the labels of the outputs by class. Our metadata is a parameter of the model's configuration, one a
    version, `ccsn_tf.<version>`, which clients can ask Triton for. Everything else in that file is for all versions,
    and so a further one must agree with it. The version's folder appears last and whole.

    Args:
        model: an ONNX file from export/to_onnx.py, or an engine from export/to_tensorrt.py.
        folder: the repository; other models in it are left alone.

    Returns:
        The version's folder.

    Raises:
        UserError: a file that is not ours or that Triton cannot serve, or a version that exists or does not fit those
            that do.
    """
    target = pathlib.Path(folder, settings.name, str(settings.version))
    if not folder:
        raise UserError("--repository is not given: name the folder for Triton's models.")
    if target.exists():
        raise UserError(f"{target} exists: choose another --version, or delete it.")
    read = _read_onnx if pathlib.Path(model).suffix == ".onnx" else _read_engine
    file_name, content, metadata, config = read(model, settings)
    labels = "".join(f"{label}\n" for label in metadata["classes"])
    with whole_folder(target) as beside:
        config += _parameters(target, config, labels, metadata)
        (beside / file_name).write_bytes(content)
        write_beside(beside, metadata, f"for Triton, {file_name}")
        write_text(target.parent / LABELS, labels)
        write_text(target.parent / "config.pbtxt", config)
    return target


def start_command(folder: str, device: str, image: str, tensorrt: str = "") -> str:
    """The command that serves the repository with Docker, to this machine only.

    Args:
        folder: the repository.
        device: "gpu" or "cpu".
        tensorrt: the version that built the engine in the repository, which the command looks for in the image first.
    """
    ports = " ".join(f"-p 127.0.0.1:{port}:{port}" for port in _PORTS)
    gpus = "--gpus=all " if device == "gpu" else ""
    server = "tritonserver --model-repository=/models --model-control-mode=poll"
    if tensorrt:
        number = ".".join(tensorrt.split(".")[:3])
        complaint = f"{image} lacks TensorRT {number}, which built the engine: take another --image, or build it again."
        script = f"ls /usr/lib/*/libnvinfer.so.{number} || {{ echo {shlex.quote(complaint)}; exit 1; }}; exec {server}"
        server = f"sh -c {shlex.quote(script)}"
    mounted = shlex.quote(f"{pathlib.Path(folder).resolve()}:/models:ro")
    return f"docker run --rm {gpus}{ports} -v {mounted} {image} {server}"


def _parameters(target, config, labels, metadata):
    """The parameters of config.pbtxt: the metadata of the versions that are there, and of a new one."""
    path, kept, found = target.parent / "config.pbtxt", [], ""
    there = [version for version in versions(target.parent) if version != int(target.name)]
    if there and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.startswith("parameters"):
                found += line
            elif any(line.startswith(_key_of(version)) for version in there):
                kept.append(line)
        if (found, (path.parent / LABELS).read_text(encoding="utf-8")) != (config, labels):
            raise UserError(
                f"{path} says otherwise for the versions that are there (classes, sizes, settings), and Triton has one "
                "configuration a model: give what they were made with, or choose another --name."
            )
    text = text_encoding.CEscape(json.dumps(metadata), as_utf8=False)
    return "".join([*kept, f'{_key_of(target.name)} value {{ string_value: "{text}" }} }}\n'])


def _key_of(version):
    return f'parameters {{ key: "{METADATA_KEY}.{version}"'


def _read_onnx(path, settings):
    """The file's name in the repository, its content, our metadata, and the content of config.pbtxt."""
    _, model, metadata = read_onnx(path)
    if settings.tensorrt and settings.device == "cpu":
        raise UserError("--tensorrt needs a GPU: leave out --device=cpu.")
    segments = metadata["segments"]
    most = settings.max_segments or MAX_SEGMENTS[metadata.get("flow_source", "stored")]
    batch = settings.max_batch or min(_BATCH, max(1, most // segments))
    if batch * segments > most:
        raise UserError(
            f"--max_batch={batch} clips of the {segments} segments that clients send are more than "
            f"--max_segments={most}: lower the first or raise the second."
        )
    for tensor in model.graph.input:
        bound_axis(model, tensor.name, 1, most // batch)
    settings = dataclasses.replace(settings, max_batch=batch)
    limits = {**metadata["limits"], "segments_a_request": most, "segments_a_clip": most // batch}
    metadata = {**metadata, "limits": limits}
    return "model.onnx", model.SerializeToString(), metadata, config_text("onnxruntime", metadata, settings, segments)


def _read_engine(path, settings):
    """The same of an engine."""
    content, description = read_engine(path)
    if description["tensorrt"]["module"] != "tensorrt":
        raise UserError(
            f"{path} was built by {description['tensorrt']['module']}, whose engines Triton does not load: give it "
            "the ONNX file, or build with --module=tensorrt."
        )
    metadata, (most, segments, *_) = description["model"], next(iter(description["inputs"].values()))["profile"]["max"]
    if settings.max_batch > most:
        raise UserError(f"--max_batch={settings.max_batch}, but {path} was built for at most {most}: lower it.")
    if settings.device == "cpu":
        raise UserError(f"{path} is an engine, which needs a GPU: leave out --device=cpu, or give an ONNX file.")
    if settings.tensorrt or settings.max_segments:
        raise UserError(f"{path} is an engine, which has its limits: leave out --tensorrt and --max_segments.")
    settings = dataclasses.replace(settings, max_batch=settings.max_batch or min(_BATCH, most))
    metadata = {**metadata, "limits": {**metadata["limits"], "segments_a_request": most * segments}}
    text = config_text("tensorrt", metadata, settings, min(segments, metadata["segments"]))
    return "model.plan", content, metadata, text


def config_text(backend: str, metadata: dict, settings: TritonSettings, segments: int) -> str:
    """The content of config.pbtxt but for its parameters: a `ModelConfig` in protobuf's text format.

    The number of segments is free. Triton joins requests with the same number only.

    Args:
        backend: "onnxruntime" or "tensorrt".
        segments: of the clip that warms the model up.
    """
    shapes = InputForm(client_config(metadata).model).shapes(())
    inputs = [_tensor(name, "TYPE_UINT8", (-1, *shape)) for name, shape in shapes.items()]
    outputs = [_tensor(name, "TYPE_FP32", (len(metadata["classes"]),), LABELS) for name in _BY_CLASS]
    outputs += [_tensor(name, "TYPE_FP32", (metadata["embedding_dim"],)) for name in _EMBEDDINGS]
    warmup = "".join(
        f'  inputs {{ key: "{name}" value {{ data_type: TYPE_UINT8 {_dims((segments, *shape))} zero_data: true }} }}\n'
        for name, shape in shapes.items()
    )
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
dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_delay_us} }}
instance_group [ {{ count: {settings.instances} kind: KIND_{settings.device.upper()} }} ]
model_warmup [ {{
  name: "one clip"
  batch_size: 1
{warmup}}} ]
{_ACCELERATOR if settings.tensorrt else ""}"""


def _tensor(name, data_type, dims, labels=""):
    label_file = f' label_filename: "{labels}"' if labels else ""
    return f'{{ name: "{name}" data_type: {data_type} {_dims(dims)}{label_file} }}'


def _dims(dims):
    return f"dims: [ {', '.join(map(str, dims))} ]"


def _list(entries):
    return ",\n".join(f"  {entry}" for entry in entries)
