"""Small ONNX graphs, and how to run them."""

import re

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from ccsn_tf.serving.onnx.graph import Graph

# Two convolutions of "pixels", then attention between positions, then pooling and a head: a network in miniature.
NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
network (uint8[batch, 3, 6, 6] pixels) => (float[batch, 2] logits)
<float mean, float[4, 3, 3, 3] w1, float[4] b1, float[4, 4, 1, 1] w2, float[4] b2, int64[3] flat, float[36, 36] bias,
 float[4] scale, int64[4] square, int64[2] axes, float[4, 2] head, float[2] shift>
{
   [cast] values = Cast <to = 1> (pixels)
   [centre] centred = Sub (values, mean)
   [conv1] c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (centred, w1, b1)
   [relu] r1 = Relu (c1)
   [conv2] c2 = Conv (r1, w2, b2)
   [flatten] rows = Reshape (c2, flat)
   [transpose] columns = Transpose <perm = [0, 2, 1]> (rows)
   [product] similar = MatMul (columns, rows)
   [biased] nearby = Add (similar, bias)
   [softmax] attention = Softmax <axis = -1> (nearby)
   [gather] gathered = MatMul (attention, columns)
   [scaled] normal = Mul (gathered, scale)
   [back] restored = Transpose <perm = [0, 2, 1]> (normal)
   [unflatten] maps = Reshape (restored, square)
   [residual] joined = Add (maps, c2)
   [pool] pooled = GlobalAveragePool (joined)
   [squeeze] features = Squeeze (pooled, axes)
   [classify] raw = MatMul (features, head)
   [shifted] logits = Add (raw, shift)
}
"""


def network(seed=0):
    """`NETWORK` with random weights, in scale."""
    rng = np.random.default_rng(seed)
    values = {
        "mean": np.float32(127.5),
        "w1": rng.normal(0, 0.004, (4, 3, 3, 3)),
        "b1": rng.normal(0, 0.2, 4),
        "w2": rng.normal(0, 0.5, (4, 4, 1, 1)),
        "b2": rng.normal(0, 0.2, 4),
        "flat": np.array([0, 4, 36]),
        "bias": rng.normal(0, 1, (36, 36)),
        "scale": rng.normal(1, 0.2, 4),
        "square": np.array([0, 4, 6, 6]),
        "axes": np.array([2, 3]),
        "head": rng.normal(0, 1, (4, 2)),
        "shift": rng.normal(0, 1, 2),
    }
    return with_constants(NETWORK, values)


def with_constants(text, values):
    """The graph in ONNX's text form, with these values for the constants that it declares."""
    model = onnx.parser.parse_model(text)
    del model.graph.initializer[:]
    for name, value in values.items():
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def pixels(batch=2, seed=1):
    return {"pixels": np.random.default_rng(seed).integers(0, 256, (batch, 3, 6, 6)).astype("uint8")}


def run(model, inputs, watch=()):
    """Outputs as a dict, with those of the tensors in `watch`; as the graph is, without the runtime's rewriting."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for name in watch:
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def is_of_flow(name):
    """Whether a node belongs to the layer of `CCSN` that computes flow from frames."""
    return re.search(r"(^|/)temporal_flow(_\d+)?/", name) is not None


def flow_types(model):
    """{name: element type} of the nodes of that layer that give floating-point numbers."""
    types, floats = Graph(model).types, (TensorProto.FLOAT, TensorProto.FLOAT16)
    nodes = [node for node in model.graph.node if is_of_flow(node.name)]
    return {node.name: types[node.output[0]] for node in nodes if types.get(node.output[0]) in floats}
