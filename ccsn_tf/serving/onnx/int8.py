"""INT8: explicit QuantizeLinear and DequantizeLinear before every convolution, as TensorRT takes them.

Symmetric (zero point 0), activations with one scale a tensor, weights with one a channel, sums and biases in float32.
The convolutions are quantised and nothing else: all of the work that is worth it is there, and the attention and the
heads stay as they are. Only inputs of convolutions are quantised, not their results: those of a residual branch would
be rounded twice.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ccsn_tf.serving.onnx.calibrate import LEVELS
from ccsn_tf.serving.onnx.graph import Graph, prune


def deep_convolutions(model: onnx.ModelProto, depth: int) -> list[onnx.NodeProto]:
    """The convolutions that follow at least `depth` others on every way from the input, in order of computation.

    The first ones of each stream are best left alone: they see few channels, a scale each would be needed, and flow,
    most of which is nearly zero, loses there what the 8 bits of its pixels just hold.
    """
    graph = Graph(model)
    depths, found = {value.name: 0 for value in model.graph.input}, []
    for node in model.graph.node:
        ways = [depths[name] for name in node.input if name in depths]
        if not ways:
            continue
        is_convolution = node.op_type == "Conv" and node.input[1] in graph.constants
        if is_convolution and min(ways) >= depth:
            found.append(node)
        if graph.types[node.output[0]] == TensorProto.FLOAT:  # not the shape arithmetic, which leads past all of them
            depths[node.output[0]] = min(ways) + is_convolution
    return found


def to_int8(model: onnx.ModelProto, ranges: dict[str, float], convolutions: Collection[str]) -> onnx.ModelProto:
    """A copy of a float32 model with convolutions on 8-bit integers; inputs and outputs keep their types.

    Args:
        model: float32, as from `to_onnx`.
        ranges: of these convolutions' inputs, from `calibrate`.
        convolutions: names of those that are quantised.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = Graph(made)
    nodes, done = [], {}
    for node in made.graph.node:
        if node.name in convolutions:
            activation, weights = node.input[:2]
            if activation not in done:
                done[activation] = _quantised_activation(made, nodes, activation, ranges[activation])
            node.input[0] = done[activation]
            node.input[1] = _quantised_weights(made, nodes, node.name, graph.array(weights))
        nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    prune(made)
    return made


def _quantised_activation(model, nodes, name, limit):
    scale = _constant(model, f"{name}/scale", np.float32(limit / LEVELS))
    zero = _constant(model, f"{name}/zero_point", np.int8(0))
    nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}/int8"], f"{name}/quantize"))
    nodes.append(
        helper.make_node("DequantizeLinear", [f"{name}/int8", scale, zero], [f"{name}/float"], f"{name}/dequantize")
    )
    return f"{name}/float"


def _quantised_weights(model, nodes, name, weights):
    limits = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = np.where(limits > 0, limits / LEVELS, 1.0).astype(np.float32)
    integers = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
    inputs = [
        _constant(model, f"{name}/weights/int8", integers),
        _constant(model, f"{name}/weights/scale", scales),
        _constant(model, f"{name}/weights/zero_point", np.zeros(len(scales), np.int8)),
    ]
    output = f"{name}/weights/float"
    nodes.append(helper.make_node("DequantizeLinear", inputs, [output], f"{name}/weights/dequantize", axis=0))
    return output


def _constant(model, name, array):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name
