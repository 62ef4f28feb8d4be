"""From an ONNX file of ours to an engine, which is run and compared with it where there is a GPU for it."""

import collections
import dataclasses
import hashlib
import json
import pathlib
import types
from collections.abc import Callable

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.serving import optional
from ccsn_tf.serving.model_card import write_beside
from ccsn_tf.serving.onnx.graph import product_precisions
from ccsn_tf.serving.onnx.session import OnnxModel, read_onnx
from ccsn_tf.serving.tensorrt.build import BuildSettings, build, capabilities_for
from ccsn_tf.serving.tensorrt.session import FORMAT, TensorRTModel, description_path, find_gpu

# Largest difference, relative where outputs are above 1, of an engine in float32 with stored flow: a GPU adds up in
# another order. Of flow in the network and of lower precisions the differences are told, and none but NaN is refused.
LIMIT = 1e-2


def export_engine(
    trt: types.ModuleType,
    onnx_path: str,
    output: str,
    settings: BuildSettings,
    compare: Callable[[TensorRTModel], dict] | None = None,
) -> dict:
    """Builds an engine and writes it with its description, `<output>.json`, once it is known to be right.

    Args:
        onnx_path: a file that export/to_onnx.py wrote.
        output: the engine's file.
        compare: called with the running engine where the machine has a GPU that it was built for.

    Returns:
        The description: `format`, `tensorrt` (module, version, onnx_parser), `compute_capabilities`, `onnx` (file,
        sha256), `precision`, `products` (how many convolutions and matrix products of the ONNX file
        are in what, which a strongly typed engine keeps), `inputs` (with their profile) and `outputs`, `run` (the
        report of `compare`, or None: built and not run), `model` (the metadata of the ONNX file).

    Raises:
        UserError: not an ONNX file of ours, or an engine that cannot be built or does not compute what it should;
            nothing is written then.
    """
    if not output or pathlib.Path(output).is_dir():
        raise UserError(f"--output={output} must be a file, such as model.plan.")
    if pathlib.Path(output).resolve() == pathlib.Path(onnx_path).resolve():
        raise UserError(f"--output={output} is the ONNX file itself: name another, such as model.plan.")
    content, model, metadata = read_onnx(onnx_path)
    gpu = find_gpu()
    capabilities = capabilities_for(trt, settings.compute_capabilities, gpu and gpu.capability)
    settings = dataclasses.replace(settings, compute_capabilities=capabilities)
    plan, inputs, outputs = build(trt, content, settings)
    description = {
        "format": FORMAT,
        "tensorrt": {
            "module": trt.__name__,
            "version": trt.__version__,
            "onnx_parser": trt.get_nv_onnx_parser_version(),
        },
        "compute_capabilities": list(capabilities) or [gpu.capability if gpu else "unknown"],
        "onnx": {"file": pathlib.Path(onnx_path).name, "sha256": hashlib.sha256(content).hexdigest()},
        "precision": metadata["precision"],
        "products": dict(collections.Counter(product_precisions(model).values())),
        "inputs": inputs,
        "outputs": outputs,
        "run": None,
        "model": metadata,
    }
    if compare and gpu and gpu.capability in description["compute_capabilities"]:
        with TensorRTModel(plan, description, output, trt) as engine:
            description["run"] = {"gpu": gpu.name, **compare(engine)}
    with whole_file(output) as beside:
        beside.write_bytes(plan)
    beside = description_path(output)
    write_text(beside, json.dumps(description, indent=1) + "\n")
    run = description["run"]
    proof = f"on {run['gpu']}, outputs within {max(run['largest'].values()):.0e} of {run['with']}" if run else ""
    form = f"{trt.__name__} {trt.__version__} engine, {metadata['precision']}"
    write_beside(output, metadata, form, proof, [beside])
    return description


def compare_engine(engine: TensorRTModel, onnx_path: str) -> dict:
    """Compares an engine on clips with its ONNX file in ONNX Runtime, which was compared with Keras when it was made.

    Returns:
        See `compare_on_clips`; `with` says what it was compared with.

    Raises:
        UserError: an engine in float32 differs by more than `LIMIT`.
    """
    from ccsn_tf.serving.agreement import BATCHES, compare_on_clips  # takes TensorFlow, and the rest does not
    from ccsn_tf.serving.clips import clips_to_try

    metadata, words = engine.metadata, f"ONNX Runtime {optional('onnxruntime', 'onnx').__version__} on the CPU"
    config = Config.from_flat({name: value for group in metadata["training"].values() for name, value in group.items()})
    profile = next(iter(engine.inputs.values()))["profile"]
    batches, segments = (
        sorted({min(max(value, profile["min"][axis]), profile["max"][axis]) for value in values})
        for axis, values in enumerate((BATCHES, (config.model.num_segments, config.model.num_segments + 2)))
    )
    limit = LIMIT if (metadata["precision"], metadata["flow_source"]) == ("fp32", "stored") else None
    with clips_to_try(config, tuple(metadata["classes"]), max(batches), must_be_real=False) as clips:
        return {"with": words, **compare_on_clips(engine, OnnxModel(onnx_path), clips, batches, segments, limit)}
