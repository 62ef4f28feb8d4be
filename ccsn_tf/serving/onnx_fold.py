"""Scales and shifts by channel, which is what inference leaves of BatchNormalization, folded into the layer before.

Exact but for rounding. Runtimes fold for themselves; here it is done so that half precision and quantisation see the
weights that are really used, and round once.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ccsn_tf.serving.onnx_graph import Graph, prune


def fold_scales(model: onnx.ModelProto) -> int:
    """Folds Mul and Add of constants by channel into the Conv or MatMul with constant weights that they follow.

    A MatMul has no bias: its shifts, which may stand behind a Reshape that keeps the last axis, end as one Add.

    Returns:
        How many nodes there are less.
    """
    before = len(model.graph.node)
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type in ("Conv", "MatMul") and graph.array(node.input[1]) is not None:
            _fold_into(model, graph, node)
    prune(model)
    return before - len(model.graph.node)


def _fold_into(model, graph, node):
    is_conv = node.op_type == "Conv"
    channels = graph.shapes[node.input[1]][0 if is_conv else -1]
    chain, end = _affine_chain(graph, node, channels, axis=1 if is_conv else -1)
    if not any(step.op_type == "Mul" for step in chain) and not (is_conv and chain):
        return
    scale, shift = np.ones(channels), np.zeros(channels)
    if is_conv and len(node.input) == 3:
        shift = graph.array(node.input[2]).astype(np.float64)
    for step in chain:
        value = np.broadcast_to(_constant_operand(graph, step).astype(np.float64).reshape(-1), channels)
        scale, shift = (scale * value, shift * value) if step.op_type == "Mul" else (scale, shift + value)
    weights = graph.array(node.input[1])
    along = (-1, *[1] * (weights.ndim - 1)) if is_conv else (-1,)
    folded = (weights * scale.reshape(along)).astype(weights.dtype)
    node.input[1] = _add_constant(model, f"{node.name}/folded_weights", folded)
    bias = _add_constant(model, f"{node.name}/folded_bias", shift.astype(weights.dtype))
    if is_conv:
        node.input[:] = [*node.input[:2], bias]
        _redirect(model, chain[-1].output[0], end)
    else:
        position = list(model.graph.node).index(chain[-1])
        model.graph.node.insert(
            position, helper.make_node("Add", [end, bias], [f"{end}/shifted"], f"{node.name}/shift")
        )
        _redirect(model, chain[-1].output[0], f"{end}/shifted")


def _affine_chain(graph, node, channels, axis):
    """The Mul and Add by channel that follow a node, and the tensor that they start from (past a Reshape)."""
    start = node.output[0]
    reader = graph.only_reader(start)
    if axis == -1 and reader is not None and reader.op_type == "Reshape" and reader.input[0] == start:
        if (graph.shapes.get(reader.output[0]) or (None,))[-1] != channels:
            return [], start
        start = reader.output[0]
    chain, tensor = [], start
    while True:
        reader = graph.only_reader(tensor)
        if reader is None or reader.op_type not in ("Mul", "Add") or reader.output[0] in graph.outputs:
            return chain, start
        if not _by_channel(graph, reader, channels, axis):
            return chain, start
        chain.append(reader)
        tensor = reader.output[0]


def _constant_operand(graph, node):
    return next((graph.array(name) for name in node.input if name in graph.constants), None)


def _by_channel(graph, node, channels, axis):
    """Whether one operand is a constant with one value, or one a channel, which leaves the other's shape alone."""
    value = _constant_operand(graph, node)
    if value is None:
        return False
    other = next(name for name in node.input if name not in graph.constants)
    rank = len(graph.shapes.get(other) or ())
    if not rank or value.ndim > rank:
        return False
    full = (1,) * (rank - value.ndim) + value.shape
    per_channel = tuple(channels if index == axis % rank else 1 for index in range(rank))
    return full in (per_channel, (1,) * rank)


def _add_constant(model, name, array):
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _redirect(model, old, new):
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
