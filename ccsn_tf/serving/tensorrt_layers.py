"""The layers of a built engine, and whether they compute in what the ONNX file says.

TensorRT describes an engine layer by layer in two ways: the inspector of a loaded engine gives JSON, and the builder
writes the same to its log, which is all there is where no GPU can load the engine. Each layer names the nodes of the
ONNX file that went into it.
"""

from __future__ import annotations

import dataclasses
import json
import re

from ccsn_tf.errors import UserError

# How the two descriptions spell a type, within words such as "Row major linear FP16 format"; the order matters.
_SPELLINGS = (
    ("bf16", ("BFloat16", "BF16")),
    ("fp16", ("Half", "FP16")),
    ("int8", ("Int8", "INT8")),
    ("fp32", ("Float", "FP32")),
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """`name` and `kind` as TensorRT calls them, `nodes` of the ONNX file, types of `inputs`, `constants`, `outputs`."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]


def layers_of_log(messages: list[str]) -> list[Layer]:
    """The layers in what the builder logged, verbosely; none if it did not describe the engine."""
    for message in messages:
        if message.startswith("Layers:\n"):
            return [_of_line(line) for line in message.splitlines() if line.startswith("Name: ")]
    return []


def _of_line(line):
    head, _, rest = line.partition(", Inputs: ")
    name, _, kind = head.removeprefix("Name: ").rpartition(", LayerType: ")
    inputs, _, rest = rest.partition(", Constants: ")
    constants, _, rest = rest.partition(", Outputs: ")
    outputs, _, rest = rest.partition(", TacticName: ")
    types = (_types(re.findall(r"Datatype: (\w+)", part)) for part in (inputs, constants, outputs))
    return Layer(name, kind, _nodes(rest.partition("Metadata: ")[2]), *types)


def layers_of_inspector(text: str) -> list[Layer]:
    """The layers in an engine inspector's JSON."""
    layers = []
    for entry in json.loads(text)["Layers"]:
        if isinstance(entry, str):  # without detailed verbosity there are names only
            continue
        tensors = [_types(map(_format, entry.get(part, ()))) for part in ("Inputs", "Constants", "Outputs")]
        weights = entry.get("Weights")  # of kernels that are not compiled: {"Type": "Half", "Count": ...}
        if isinstance(weights, dict):
            tensors[1] = _types([*tensors[1], str(weights.get("Type"))])
        layers.append(Layer(entry["Name"], entry["LayerType"], _nodes(entry.get("Metadata", "")), *tensors))
    return layers


def _format(tensor):
    return str(tensor.get("Datatype") or tensor.get("Format/Datatype"))


def _types(spelled):
    names = []
    for text in spelled:
        names.append(next((name for name, words in _SPELLINGS if name in words or any(w in text for w in words)), text))
    return tuple(sorted(set(names)))


def _nodes(metadata):
    return tuple(dict.fromkeys(re.findall(r"\[ONNX Layer: ([^\]]*)\]", metadata)))


def check_precision(layers: list[Layer], expected: dict[str, str], precision: str) -> dict[str, int]:
    """Compares the engine with the ONNX file, product by product.

    Args:
        layers: of the engine.
        expected: {node: precision}, from `product_precisions`.
        precision: that was asked for.

    Returns:
        {precision: how many products have it}.

    Raises:
        UserError: a product is not in the engine, is computed in something else, or none is in `precision`.
    """
    counts = {}
    for node, wanted in expected.items():
        of_node = [layer for layer in layers if node in layer.nodes]
        if not of_node:
            raise UserError(f"The engine does not say in what it computes {node}: not kept.")
        if not any(wanted in layer.inputs for layer in of_node):
            found = " or ".join(sorted({name for layer in of_node for name in layer.inputs}))
            raise UserError(f"The engine computes {node} in {found}, not in {wanted} as the ONNX file says: not kept.")
        counts[wanted] = counts.get(wanted, 0) + 1
    if precision not in counts:
        raise UserError(f"The engine has no layer in {precision}, which was asked for: not kept.")
    return counts
