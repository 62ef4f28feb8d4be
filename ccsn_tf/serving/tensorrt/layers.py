"""The layers of a built engine, and whether they compute in what the ONNX file says.

TensorRT describes an engine layer by layer in two ways: the inspector of a loaded engine gives JSON, and the builder
writes the same to its log, which is all there is where no GPU can load the engine. Each layer names the nodes of the
ONNX file that went into it.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Collection

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.products import PRECISIONS, is_of_flow

# How the two descriptions spell a type, by itself or within words such as "Row major linear FP16 format".
_SPELLINGS = {
    "fp32": re.compile(r"\b(Float|FP32)\b"),
    "fp16": re.compile(r"\b(Half|FP16)\b"),
    "bf16": re.compile(r"\b(BFloat16|BF16)\b"),
    "int8": re.compile(r"\b(Int8|INT8)\b"),
}


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
    known = (next((name for name, form in _SPELLINGS.items() if form.search(text)), text) for text in spelled)
    return tuple(sorted(set(known)))


def _nodes(metadata):
    return tuple(dict.fromkeys(re.findall(r"\[ONNX Layer: ([^\]]*)\]", metadata)))


def check_precision(
    layers: list[Layer], expected: dict[str, str], unweighted: Collection[str], precision: str
) -> dict[str, int]:
    """Compares the engine with the ONNX file, product by product.

    Args:
        layers: of the engine.
        expected: {node: precision}, from `product_precisions`.
        unweighted: those of them that multiply two activations, from `unweighted_products`.
        precision: that was asked for.

    Returns:
        {precision: how many products have it}.

    Raises:
        UserError: a product is not in the engine, is computed in something else, or none is in `precision`.
    """
    counts = collections.Counter()
    for node, wanted in expected.items():
        narrowest = _narrowest_input if node in unweighted else _narrowest_weights
        found = {narrowest(layer) for layer in layers if node in layer.nodes}
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


def check_flow(layers: list[Layer]) -> int:
    """How many layers compute flow from frames and nothing else: all of them in float32.

    Raises:
        UserError: one takes, holds or gives something narrower, or there is none.
    """
    of_flow = [layer for layer in layers if layer.nodes and all(map(is_of_flow, layer.nodes))]
    for layer in of_flow:
        narrow = set(PRECISIONS[1:]).intersection((*layer.inputs, *layer.constants, *layer.outputs))
        if narrow:
            raise UserError(f"The engine computes flow in {min(narrow)} ({layer.nodes[0]}), not in fp32: not kept.")
    if not of_flow:
        raise UserError("The engine does not say in what it computes flow: not kept.")
    return len(of_flow)


def _narrowest_input(layer):
    """In what a layer multiplies activations: its constants are factors, or the bias of the attention it is part of."""
    return max((name for name in layer.inputs if name in PRECISIONS), key=PRECISIONS.index, default="fp32")


def _narrowest_weights(layer):
    """In what a layer multiplies by weights: their type, the narrowest of its constants, which its input must have too.

    Beside the weights there are constants in float32 (biases, factors), and a node's name also stands at layers that
    only prepare its input (scales of the pixels, quantisation): their constants are float32.
    """
    of_weights = [name for name in layer.constants if name in PRECISIONS]
    narrowest = max(of_weights, key=PRECISIONS.index, default="fp32")
    return narrowest if narrowest in layer.inputs else "fp32"
