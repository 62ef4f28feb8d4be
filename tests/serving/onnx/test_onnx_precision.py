"""Half precision: what is in it, and what is not. INT8: ranges from clips, and quantisation that is what it says."""

import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import TensorProto, numpy_helper

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.graph import Graph, precision_of, product_precisions
from ccsn_tf.serving.onnx.precision import deep_convolutions, to_half, to_int8

FLOAT32 = ["cast", "centre", "biased", "softmax", "scaled", "pool", "squeeze", "classify", "shifted"]
HALF = ["conv1", "relu", "conv2", "flatten", "transpose", "product", "gather", "back", "unflatten", "residual"]


def test_every_node_has_the_type_that_it_should():
    model = onnx_graphs.network()
    before = model.SerializeToString()
    half = to_half(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(half, full_check=True)
    graph = Graph(half)
    assert graph.shapes["c1"] == (None, 4, 6, 6) and graph.shapes["similar"] == (None, 36, 36)
    nodes = {node.name: node for node in half.graph.node}
    for names, dtype in ((FLOAT32, TensorProto.FLOAT), (HALF, TensorProto.FLOAT16)):
        for name in names:
            types = {graph.types[tensor] for tensor in (*nodes[name].input, nodes[name].output[0])}
            assert types - {TensorProto.INT64, TensorProto.UINT8} == {dtype}, name
    # Into half before the first convolution, out of it for the bias, into it for the product, and so on.
    assert [node.op_type for name, node in nodes.items() if name not in FLOAT32 + HALF] == ["Cast"] * 6
    for ours, theirs in ((half.graph.input, model.graph.input), (half.graph.output, model.graph.output)):
        assert [value.type for value in ours] == [value.type for value in theirs]
    products = {"conv1": "fp32", "conv2": "fp32", "product": "fp32", "gather": "fp32", "classify": "fp32"}
    assert (product_precisions(model), precision_of(model)) == (products, "fp32")
    assert product_precisions(half) == {**dict.fromkeys(products, "fp16"), "classify": "fp32"}
    assert precision_of(half) == "fp16"


def test_constants_are_rounded_once_and_kept_in_one_type():
    model = onnx_graphs.network()
    half, whole = ({c.name: numpy_helper.to_array(c) for c in m.graph.initializer} for m in (to_half(model), model))
    narrow = {f"{name}/float16": whole.pop(name).astype(np.float16) for name in ("w1", "b1", "w2", "b2")}
    assert set(half) == set(narrow) | set(whole)
    for name, values in narrow.items():
        np.testing.assert_array_equal(half[name], values)
    wanted, found = (onnx_graphs.run(m, onnx_graphs.pixels())["logits"] for m in (model, to_half(model)))
    assert 0 < np.abs(found - wanted).max() < 0.02


def test_weights_beyond_float16_are_refused():
    model = onnx_graphs.network()
    weights = next(constant for constant in model.graph.initializer if constant.name == "w2")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) + np.float32(70000), "w2"))
    with pytest.raises(UserError, match=r"cannot hold w2, whose largest value is 7e\+04 .* use --precision=fp32"):
        to_half(model)


# One stream whose second convolution is passed by a shortcut, and by its shape.
SHORTCUT = """
<ir_version: 8, opset_import: ["" : 17]>
shortcut (float[batch, 2, 4, 4] image) => (float[batch, 2, 4, 4] out)
<float[2, 2, 1, 1] a, float[2, 2, 1, 1] b, float[2, 2, 1, 1] c>
{
   [one] x1 = Conv (image, a)
   [two] x2 = Conv (x1, b)
   [skip] x3 = Add (x1, x2)
   [measure] shape = Shape (image)
   [same] x4 = Reshape (x3, shape)
   [three] out = Conv (x4, c)
}
"""


def types_of(model):
    return [node.op_type for node in model.graph.node]


def test_convolutions_are_quantised_symmetrically_by_the_largest_values_of_all_batches():
    """Inputs by tensor, weights by channel; the rest of the graph, biases among it, stays as it is."""
    model = onnx_graphs.network()
    before = model.SerializeToString()
    batches = [onnx_graphs.pixels(batch=1, seed=seed) for seed in range(3)]
    int8 = to_int8(model, ["conv1", "conv2"], batches)
    onnx.checker.check_model(int8, full_check=True)
    assert model.SerializeToString() == before and types_of(int8).count("QuantizeLinear") == 2
    assert [value.type for value in int8.graph.input] == [value.type for value in model.graph.input]
    constants = {constant.name: numpy_helper.to_array(constant) for constant in int8.graph.initializer}
    assert not any(values.any() for name, values in constants.items() if name.endswith("zero_point"))
    seen = [onnx_graphs.run(model, batch, ["centred", "r1"]) for batch in batches]
    for name in ("centred", "r1"):
        largest = max(np.abs(values[name]).max() for values in seen)
        np.testing.assert_allclose(constants[f"{name}_scale"], largest / 127, rtol=1e-5)
    whole = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    for name in ("w1", "w2"):
        largest = np.abs(whole[name]).max(axis=(1, 2, 3))
        np.testing.assert_allclose(constants[f"{name}_scale"], largest / 127, rtol=1e-5)
        np.testing.assert_array_equal(constants[f"b{name[1]}"], whole[f"b{name[1]}"])


def test_a_dead_channel_and_a_tensor_for_two_convolutions():
    weights = np.ones((2, 2, 1, 1))
    weights[1] = 0
    text = SHORTCUT.replace("Conv (x1, b)", "Conv (image, b)")
    model = onnx_graphs.with_constants(text, dict.fromkeys("abc", weights))
    inputs = {"image": np.ones((1, 2, 4, 4), "float32")}
    int8 = to_int8(model, ["one", "two", "three"], [inputs])
    assert types_of(int8).count("QuantizeLinear") == 2
    out = onnx_graphs.run(int8, inputs)["out"]
    np.testing.assert_allclose(out, onnx_graphs.run(model, inputs)["out"], rtol=0.03)
    assert not out[:, 1].any()


@pytest.mark.parametrize(("depth", "names"), [(0, "one two three"), (1, "two three"), (2, "")])
def test_depth_counts_the_convolutions_on_the_shortest_way(depth, names):
    """The shape of the input is no way: it leads past everything. The shortcut is: one convolution, then `three`."""
    model = onnx_graphs.with_constants(SHORTCUT, {name: np.ones((2, 2, 1, 1)) for name in "abc"})
    assert deep_convolutions(model, depth) == names.split()
