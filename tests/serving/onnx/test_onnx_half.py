"""Half precision: what is in it, what is not, and that the file says so itself."""

import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import TensorProto, numpy_helper

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.graph import Graph
from ccsn_tf.serving.onnx.half import to_half
from ccsn_tf.serving.onnx.products import precision_of, product_precisions

FLOAT32 = ["cast", "centre", "biased", "softmax", "scaled", "pool", "squeeze", "classify", "shifted"]
HALF = ["conv1", "relu", "conv2", "flatten", "transpose", "product", "gather", "back", "unflatten", "residual"]


def test_every_node_has_the_type_that_it_should():
    model = onnx_graphs.network()
    half = to_half(model)
    onnx.checker.check_model(half, full_check=True)
    graph = Graph(half)
    for names, dtype in ((FLOAT32, TensorProto.FLOAT), (HALF, TensorProto.FLOAT16)):
        for name in names:
            node = onnx_graphs.node(half, name)
            assert graph.types[node.output[0]] == dtype, name
            if name != "cast":
                floats = {graph.types[x] for x in node.input} - {TensorProto.INT64}
                assert floats == {dtype}, name
    added = [node for node in half.graph.node if node.name not in FLOAT32 + HALF]
    # Into half before the first convolution, out of it for the bias, into it for the product, and so on.
    assert {node.op_type for node in added} == {"Cast"} and len(added) == 6
    assert [value.type for value in half.graph.input] == [value.type for value in model.graph.input]
    assert [value.type for value in half.graph.output] == [value.type for value in model.graph.output]
    assert half.opset_import[0].version == 17


def test_constants_are_rounded_once_and_kept_in_one_type():
    model = onnx_graphs.network()
    half = {constant.name: numpy_helper.to_array(constant) for constant in to_half(model).graph.initializer}
    whole = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    narrow = {f"{name}/float16" for name in ("w1", "b1", "w2", "b2")}
    assert set(half) == narrow | (set(whole) - {"w1", "b1", "w2", "b2"})
    for name in narrow:
        np.testing.assert_array_equal(half[name], whole[name.split("/")[0]].astype(np.float16))


def test_float16_computes_what_float32_does_but_for_rounding():
    model, inputs = onnx_graphs.network(), onnx_graphs.pixels()
    wanted, found = (onnx_graphs.run(m, inputs)["logits"] for m in (model, to_half(model)))
    difference = np.abs(found - wanted).max()
    assert 0 < difference < 0.02


def test_the_original_is_left_alone():
    model = onnx_graphs.network()
    before = model.SerializeToString()
    to_half(model)
    assert model.SerializeToString() == before


def test_weights_beyond_float16_are_refused():
    model = onnx_graphs.network()
    weights = next(constant for constant in model.graph.initializer if constant.name == "w2")
    array = numpy_helper.to_array(weights).copy()
    array[0, 0] = 70000
    weights.CopyFrom(numpy_helper.from_array(array, "w2"))
    with pytest.raises(UserError, match=r"cannot hold w2, whose largest value is 7e\+04 .* use --precision=fp32"):
        to_half(model)


def test_precisions_are_read_from_the_graph():
    model = onnx_graphs.network()
    products = {"conv1": "fp32", "conv2": "fp32", "product": "fp32", "gather": "fp32", "classify": "fp32"}
    assert product_precisions(model) == products and precision_of(model) == "fp32"
    half = to_half(model)
    assert product_precisions(half) == {**dict.fromkeys(products, "fp16"), "classify": "fp32"}
    assert precision_of(half) == "fp16"
