"""A strongly typed half-precision graph: what each node computes in is written in the graph, not left to a runtime.

TensorRT 11 and TensorRT for RTX have no precision switches; they build what the graph's types say. Convolutions,
matrix products and what lies between them become float16. These stay float32:

    scaling of the pixels       everything before the first convolution
    attention                   the bias that is added to the scores, and their softmax
    biases, normalisation       what of them is not part of a convolution: constants by channel, added or multiplied
    heads                       pooling over positions and all that follows: consensus, logits, embeddings
    anything not listed below   an operation of which it is not known that half precision does no harm
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.graph import PRODUCTS, Graph

_BETWEEN = frozenset(
    ["Add", "AveragePool", "Clip", "Concat", "Flatten", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"]
    + ["MaxPool", "Mul", "Pad", "Relu", "Reshape", "Sigmoid", "Slice", "Split", "Squeeze", "Sub", "Tanh"]
    + ["Transpose", "Unsqueeze"]
)
_POOLING = frozenset(["GlobalAveragePool", "ReduceMean"])
_NUMPY = {TensorProto.FLOAT16: np.float16, TensorProto.FLOAT: np.float32}


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model that computes in float16; inputs and outputs keep their types.

    Args:
        model: float32, as from `to_onnx`.

    Raises:
        UserError: a weight is too large for float16.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = Graph(made)
    wide = float32_tensors(made, graph)
    dtypes = dict(graph.types)
    nodes, copies = [], {}

    def in_type(name, dtype):
        """`name` in `dtype`: itself, a converted constant or a cast; each is made once."""
        if dtypes.get(name) not in _NUMPY or dtypes[name] == dtype:
            return name
        if (name, dtype) not in copies:
            copies[name, dtype] = copy = f"{name}/{TensorProto.DataType.Name(dtype).lower()}"
            if name in graph.constants:
                made.graph.initializer.append(_converted(graph.array(name), dtype, name, copy))
            else:
                nodes.append(helper.make_node("Cast", [name], [copy], copy, to=dtype))
        return copies[name, dtype]

    for node in made.graph.node:
        if node.op_type != "Cast" and graph.types.get(node.output[0]) in _NUMPY:
            dtype = TensorProto.FLOAT if node.output[0] in wide else TensorProto.FLOAT16
            node.input[:] = [in_type(name, dtype) for name in node.input]
            dtypes.update((name, dtype) for name in node.output)
        nodes.append(node)
    read = {name for node in nodes for name in node.input}
    constants = [constant for constant in made.graph.initializer if constant.name in read]
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]  # the last: types as they were
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(constants)
    return made


def float32_tensors(model: onnx.ModelProto, graph: Graph) -> set[str]:
    """First outputs of the nodes that stay float32; see the head of this file."""
    nodes = model.graph.node
    products = {node.output[0] for node in nodes if node.op_type in PRODUCTS}
    scores = [node.input[0] for node in nodes if node.op_type == "Softmax"]
    wide = _back_to(graph, scores, products) - products
    pools = {n.output[0] for n in nodes if n.op_type in _POOLING and len(graph.shapes[n.input[0]]) == 4}
    wide |= _back_to(graph, [output.name for output in model.graph.output], pools)
    after = set()
    for node in nodes:
        if node.op_type in PRODUCTS or after.intersection(node.input):
            after.update(node.output)
        else:  # the pixels, while they are scaled
            wide.update(node.output)
        sizes = [np.prod(graph.shapes[name]) for name in node.input if name in graph.constants]
        by_channel = node.op_type in ("Add", "Mul", "Sub") and any(size > 1 for size in sizes)
        if by_channel or node.op_type not in PRODUCTS | _BETWEEN:
            wide.add(node.output[0])
    return wide


def _back_to(graph, tensors, ends):
    """The float tensors that `tensors` are computed from, back to `ends` and with them."""
    found, pending = set(), list(tensors)
    while pending:
        name = pending.pop()
        node = graph.producers.get(name)
        if node is None or node.output[0] in found or graph.types.get(name) not in _NUMPY:
            continue
        found.add(node.output[0])
        if node.output[0] not in ends:
            pending.extend(node.input)
    return found


def _converted(array, dtype, name, copy):
    with np.errstate(over="ignore"):
        converted = array.astype(_NUMPY[dtype])
    if not np.isfinite(converted.astype(np.float32)).all():
        raise UserError(
            f"--precision=fp16 cannot hold {name}, whose largest value is {np.abs(array).max():.3g} (float16 ends at "
            "65504): use --precision=fp32."
        )
    return numpy_helper.from_array(converted, copy)
