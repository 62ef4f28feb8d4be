"""Lower precisions that the graph itself says, node by node, and no runtime decides.

Half precision is strongly typed: TensorRT 11 and TensorRT for RTX have no precision switches; they build what the
graph's types say. Convolutions, matrix products and what lies between them become float16. These stay float32:

    scaling of the pixels       everything before the first convolution
    attention                   the bias that is added to the scores, and their softmax
    biases, normalisation       what of them is not part of a convolution: constants by channel, added or multiplied
    heads                       pooling over positions and all that follows: consensus, logits, embeddings
    anything not listed below   an operation of which it is not known that half precision does no harm

INT8 is QuantizeLinear and DequantizeLinear before every convolution, as TensorRT takes them: symmetric (zero point 0),
activations with one scale a tensor, weights with one a channel, sums and biases in float32. The convolutions are
quantised and nothing else: all of the work that is worth it is there, and the attention and the heads stay as they
are. Only inputs of convolutions are quantised, not their results: those of a residual branch would be rounded twice.
"""

import pathlib
import tempfile
from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

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


def deep_convolutions(model: onnx.ModelProto, depth: int) -> list[str]:
    """Names of the convolutions that follow at least `depth` others on every way from the input.

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
            found.append(node.name)
        if graph.types[node.output[0]] == TensorProto.FLOAT:  # not the shape arithmetic, which leads past all of them
            depths[node.output[0]] = min(ways) + is_convolution
    return found


def to_int8(
    model: onnx.ModelProto, convolutions: Collection[str], batches: Iterable[dict[str, np.ndarray]]
) -> onnx.ModelProto:
    """A copy of a float32 model with convolutions on 8-bit integers; inputs and outputs keep their types.

    Args:
        model: float32, as from `to_onnx`.
        convolutions: names of those that are quantised.
        batches: inputs of the model; the values that they give a tensor are the range that 8 bits cover.
    """
    batches = iter(batches)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = (pathlib.Path(folder, name) for name in ("float32.onnx", "int8.onnx"))
        marked = onnx.ModelProto()
        marked.CopyFrom(model)
        marked.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # spares us the advice
        onnx.save(marked, source)
        quantization.quantize_static(
            source,
            target,
            Reader(),
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(convolutions),
            per_channel=True,
            extra_options={
                "ActivationSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        return onnx.load(target)
