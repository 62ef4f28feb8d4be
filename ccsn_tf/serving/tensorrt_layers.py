"""The layers of a built engine, and whether they compute in what the ONNX file says.

TensorRT describes an engine layer by layer in two ways: the inspector of a loaded engine gives JSON, and the builder
writes the same to its log, which is all there is where no GPU can load the engine. Each layer names the nodes of the
ONNX file that went into it.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import re

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx_products import PRECISIONS

# How the two descriptions spell a type, by itself or within words such as "Row major linear FP16 format".
_SPELLINGS = {
    "fp32": re.compile(r"\b(Float|FP32)\b"),
    "fp16": re.compile(r"\b(Half|FP16)\b"),
    "bf16": re.compile(r"\b(BFloat16|BF16)\b"),
    "int8": re.compile(r"\b(Int8|INT8)\b"),
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """`name` and `kind` as TensorRT calls them, `nodes` of the ONNX file, types of `inputs`, `constants`, `outputs`.

    The factors alpha and beta of a matrix product are not among the constants.
    """

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
    return _layer(name, kind, rest.partition("Metadata: ")[2], *map(_tensors, (inputs, constants, outputs)))


def _tensors(text):
    found = re.findall(r"Dimensions: \[([-\d, ]*)\].*?Datatype: (\w+)", text)
    return [(tuple(map(int, filter(str.strip, sizes.split(",")))), spelled) for sizes, spelled in found]


def layers_of_inspector(text: str) -> list[Layer]:
    """The layers in an engine inspector's JSON."""
    layers = []
    for entry in json.loads(text)["Layers"]:
        if isinstance(entry, str):  # without detailed verbosity there are names only
            continue
        tensors = [list(map(_tensor, entry.get(part, ()))) for part in ("Inputs", "Constants", "Outputs")]
        weights = entry.get("Weights")  # of kernels that are not compiled: {"Type": "Half", "Count": ...}
        if isinstance(weights, dict):
            tensors[1].append(((weights.get("Count", 0),), str(weights.get("Type"))))
        layers.append(_layer(entry["Name"], entry["LayerType"], entry.get("Metadata", ""), *tensors))
    return layers


def _layer(name, kind, metadata, inputs, constants, outputs):
    """Of tensors as (sizes, type as it is spelled)."""
    if kind == "gemm":  # alpha and beta, which are float32 whatever is multiplied
        constants = [(sizes, spelled) for sizes, spelled in constants if math.prod(sizes) != 1]
    types = (_types(spelled for _, spelled in part) for part in (inputs, constants, outputs))
    return Layer(name, kind, _nodes(metadata), *types)


def _tensor(entry):
    return tuple(entry.get("Dimensions", ())), str(entry.get("Datatype") or entry.get("Format/Datatype"))


def _types(spelled):
    known = (next((name for name, form in _SPELLINGS.items() if form.search(text)), text) for text in spelled)
    return tuple(sorted(set(known)))


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
    counts = collections.Counter()
    for node, wanted in expected.items():
        found = {_narrowest(layer) for layer in layers if node in layer.nodes}
        if not found:
            raise UserError(f"The engine does not say in what it computes {node}: not kept.")
        computed = max(found, key=PRECISIONS.index)
        if computed != wanted:
            raise UserError(
                f"The engine computes {node} in {computed}, not in {wanted} as the ONNX file says: not kept."
            )
        counts[computed] += 1
    if not counts[precision]:
        raise UserError(f"The engine has no layer in {precision}, which was asked for: not kept.")
    return dict(counts)


def _narrowest(layer):
    """In what a layer that multiplies does so: the narrowest type of its weights, which its input must have too.

    Beside the weights there are constants in float32 (biases, factors), and a node's name also stands at layers that
    only prepare its input (scales of the pixels, quantisation): their constants are float32.
    """
    of_weights = [name for name in layer.constants or layer.inputs if name in PRECISIONS]
    narrowest = max(of_weights, key=PRECISIONS.index, default="fp32")
    return narrowest if narrowest in layer.inputs else "fp32"
