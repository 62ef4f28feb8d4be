"""An ONNX graph that can be asked who makes a tensor, of what type and shape it is, and what it multiplies in."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

# Operations that multiply by weights or by one another's results: where the time goes, and what a precision is about.
PRODUCTS = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul"])
PRECISIONS = ("fp32", "fp16", "int8")

_NAMES = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}


class Graph:
    """Look-ups over a model's graph, which they do not follow when it is changed: make another one then.

    `constants` {name: initializer}, `producers` {tensor: node}, `types` {tensor: element type} and `shapes` {tensor:
    ints, None where dynamic} of all that shape inference reaches.
    """

    def __init__(self, model: onnx.ModelProto):
        self.constants = {constant.name: constant for constant in model.graph.initializer}
        self.producers = {output: node for node in model.graph.node for output in node.output}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.shapes = {value.name: shape_of(value) for value in values}
        self.types |= {name: constant.data_type for name, constant in self.constants.items()}
        self.shapes |= {name: tuple(constant.dims) for name, constant in self.constants.items()}

    def array(self, name: str) -> np.ndarray:
        """The value of a constant."""
        return numpy_helper.to_array(self.constants[name])


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The shape of an input or output, with None for each dynamic axis."""
    dimensions = value.type.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in dimensions)


def bound_axis(model: onnx.ModelProto, name: str, axis: int, most: int) -> None:
    """Makes a model fail where an input is longer than `most` along a free axis.

    ONNX knows no assertion, but an index beyond a table's end is an error, which names the node. What is looked up
    there, 0, is added to the axis's length, to which the input is reshaped, so that no optimiser may leave it out.
    """
    graph = model.graph
    (value,) = (each for each in graph.input if each.name == name)
    prefix, shape = f"{name}/bounded", shape_of(value)
    sizes = {"table": np.zeros(most + 1, np.int64)}
    for at, size in enumerate(shape):
        sizes[str(at) if size is None else f"size_{at}"] = np.array([at if size is None else size], np.int64)
    graph.initializer.extend(numpy_helper.from_array(array, f"{prefix}/{each}") for each, array in sizes.items())
    for node in graph.node:
        node.input[:] = [prefix if each == name else each for each in node.input]
    nodes = [("Shape", [name], "shape")]
    for at, size in enumerate(shape):
        if size is None:
            nodes.append(("Gather", [f"{prefix}/shape", f"{prefix}/{at}"], "looked_up" if at == axis else f"size_{at}"))
    nodes += [
        ("Gather", [f"{prefix}/table", f"{prefix}/looked_up"], "zero"),
        ("Add", [f"{prefix}/looked_up", f"{prefix}/zero"], f"size_{axis}"),
        ("Concat", [f"{prefix}/size_{at}" for at in range(len(shape))], "sizes"),
        ("Reshape", [name, f"{prefix}/sizes"], ""),
    ]
    for place, (kind, inputs, output) in enumerate(nodes):
        output = f"{prefix}/{output}" if output else prefix
        attributes = {"axis": 0} if kind in ("Concat", "Gather") else {}
        said = f"{name} has at most {most} along axis {axis}" if output.endswith("zero") else f"{output}/{kind}"
        graph.node.insert(place, onnx.helper.make_node(kind, inputs, [output], said, **attributes))


def product_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """{name: precision} of every convolution and matrix product; "int8" where both factors were dequantised."""
    graph, found = Graph(model), {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            makers = [graph.producers.get(name) for name in node.input[:2]]
            integers = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
            found[node.name] = "int8" if integers else _NAMES[graph.types[node.input[0]]]
    return found


def precision_of(model: onnx.ModelProto) -> str:
    """The lowest precision that any convolution has: what the file is called after."""
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    found = {precision for name, precision in product_precisions(model).items() if name in convolutions}
    return max(found, key=PRECISIONS.index, default="fp32")
