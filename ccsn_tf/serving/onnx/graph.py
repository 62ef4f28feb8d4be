"""An ONNX graph that can be asked who makes and who reads a tensor, and exact rewrites of a converted one."""

from __future__ import annotations

import collections

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Operations that multiply by weights or by one another's results: where the time goes, and what a precision is about.
PRODUCTS = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul"])


class Graph:
    """Look-ups over a model's graph, which they do not follow when it is changed: make another one then.

    `constants` {name: initializer}, `producers` {tensor: node}, `readers` {tensor: its nodes}, `outputs` names, `types`
    {tensor: element type} and `shapes` {tensor: ints, None where dynamic} of all that shape inference reaches.
    """

    def __init__(self, model: onnx.ModelProto):
        graph = model.graph
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.producers = {output: node for node in graph.node for output in node.output}
        self.readers = collections.defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)
        self.outputs = {output.name for output in graph.output}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.types, self.shapes = {}, {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            self.types[value.name] = value.type.tensor_type.elem_type
            self.shapes[value.name] = shape_of(value)
        for constant in graph.initializer:
            self.types[constant.name] = constant.data_type
            self.shapes[constant.name] = tuple(constant.dims)

    def array(self, name: str) -> np.ndarray | None:
        """The value of a constant; None of what is computed."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor; None if there are several, or if it is an output of the model."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The shape of an input or output, with None for each dynamic axis."""
    dimensions = value.type.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in dimensions)


def attribute(node: onnx.NodeProto, name: str, default=None):
    """The value of a node's attribute."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def name_dimensions(model: onnx.ModelProto, names: tuple[str, ...]) -> None:
    """Gives the dynamic leading axes of every input and output the same names, as in ("batch", "segments").

    The converter gives each its own, and a consumer could not know that they must agree. Its notes on the shapes of
    inner tensors, which use those names, are dropped.
    """
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
    del model.graph.value_info[:]


def cast_inputs_first(model: onnx.ModelProto) -> None:
    """Casts each uint8 input to float before anything else reads it: TensorRT takes uint8 for nothing but a cast."""
    casts = [
        helper.make_node("Cast", [value.name], [f"{value.name}_float"], f"{value.name}_float", to=TensorProto.FLOAT)
        for value in model.graph.input
        if value.type.tensor_type.elem_type == TensorProto.UINT8
    ]
    floats = {cast.input[0]: cast.output[0] for cast in casts}
    for node in model.graph.node:
        node.input[:] = [floats.get(name, name) for name in node.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _remove_casts_to_the_same(model)


def _remove_casts_to_the_same(model):
    graph = Graph(model)
    same = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast"
        and graph.types.get(node.input[0]) == attribute(node, "to")
        and node.output[0] not in graph.outputs
    }
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            while name in same:
                name = same[name]
            node.input[index] = name
    prune(model)


def prune(model: onnx.ModelProto) -> None:
    """Removes the nodes and constants that no output depends on."""
    graph = Graph(model)
    needed, pending = set(), [output.name for output in model.graph.output]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(graph.producers[name].input if name in graph.producers else ())
    nodes = [node for node in model.graph.node if needed.intersection(node.output)]
    constants = [constant for constant in model.graph.initializer if constant.name in needed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
