"""In what a graph multiplies: the precision of an ONNX file, read from the file itself."""

from __future__ import annotations

import re

import onnx
from onnx import TensorProto

from ccsn_tf.serving.onnx.graph import PRODUCTS, Graph

PRECISIONS = ("fp32", "fp16", "int8")

# The layer of `CCSN` that computes flow from frames, within the name of a node.
_OF_FLOW = re.compile(r"(^|/)temporal_flow(_\d+)?/")

_NAMES = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}


def product_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """{name: precision} of every convolution and matrix product; "int8" where both factors were dequantised."""
    graph = Graph(model)
    found = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            makers = [graph.producers.get(name) for name in node.input[:2]]
            integers = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
            found[node.name] = "int8" if integers else _NAMES[graph.types[node.input[0]]]
    return found


def is_of_flow(name: str) -> bool:
    """Whether a node belongs to the layer that computes flow from frames."""
    return _OF_FLOW.search(name) is not None


def flow_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """{name: precision} of the nodes of that layer that give floating-point numbers; none where flow is an input."""
    types = Graph(model).types
    nodes = [node for node in model.graph.node if is_of_flow(node.name)]
    return {node.name: _NAMES[types[node.output[0]]] for node in nodes if types.get(node.output[0]) in _NAMES}


def precision_of(model: onnx.ModelProto) -> str:
    """The lowest precision that any convolution has: what the file is called after."""
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    found = {precision for name, precision in product_precisions(model).items() if name in convolutions}
    return max(found, key=PRECISIONS.index, default="fp32")
