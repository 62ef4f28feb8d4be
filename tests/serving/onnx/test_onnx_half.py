"""Half precision: what is in it, what is not, and that the file says so itself."""

import ml_dtypes
import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import TensorProto, numpy_helper

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.bf16 import emulated
from ccsn_tf.serving.onnx.graph import Graph
from ccsn_tf.serving.onnx.half import to_half
from ccsn_tf.serving.onnx.products import precision_of, product_precisions, unweighted_products

FLOAT32 = ["cast", "centre", "biased", "softmax", "scaled", "pool", "squeeze", "classify", "shifted"]
HALF = ["conv1", "relu", "conv2", "flatten", "transpose", "product", "gather", "back", "unflatten", "residual"]
TYPES = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}


@pytest.mark.parametrize("precision", TYPES)
def test_every_node_has_the_type_that_it_should(precision):
    model = onnx_graphs.network()
    half = to_half(model, precision)
    onnx.checker.check_model(half, full_check=True)
    graph = Graph(half)
    for names, dtype in ((FLOAT32, TensorProto.FLOAT), (HALF, TYPES[precision][0])):
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
    assert half.opset_import[0].version == {"fp16": 17, "bf16": 22}[precision]


@pytest.mark.parametrize("precision", TYPES)
def test_constants_are_rounded_once_and_kept_in_one_type(precision):
    model = onnx_graphs.network()
    half = {constant.name: numpy_helper.to_array(constant) for constant in to_half(model, precision).graph.initializer}
    whole = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    suffix = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    narrow = {f"{name}/{suffix}" for name in ("w1", "b1", "w2", "b2")}
    assert set(half) == narrow | (set(whole) - {"w1", "b1", "w2", "b2"})
    for name in narrow:
        np.testing.assert_array_equal(half[name], whole[name.split("/")[0]].astype(TYPES[precision][1]))


def test_float16_computes_what_float32_does_but_for_rounding():
    model, inputs = onnx_graphs.network(), onnx_graphs.pixels()
    wanted, found = (onnx_graphs.run(m, inputs)["logits"] for m in (model, to_half(model, "fp16")))
    difference = np.abs(found - wanted).max()
    assert 0 < difference < 0.02


def test_the_original_is_left_alone():
    model = onnx_graphs.network()
    before = model.SerializeToString()
    for precision in TYPES:
        to_half(model, precision)
    assert model.SerializeToString() == before


def test_weights_beyond_float16_are_refused():
    model = onnx_graphs.network()
    weights = next(constant for constant in model.graph.initializer if constant.name == "w2")
    array = numpy_helper.to_array(weights).copy()
    array[0, 0] = 70000
    weights.CopyFrom(numpy_helper.from_array(array, "w2"))
    with pytest.raises(UserError, match=r"cannot hold w2, whose largest value is 7e\+04 .* use --precision=bf16"):
        to_half(model, "fp16")
    assert precision_of(to_half(model, "bf16")) == "bf16"


def test_emulated_bfloat16_rounds_every_result_and_nothing_else():
    model, inputs = onnx_graphs.network(), onnx_graphs.pixels()
    half = to_half(model, "bf16")
    watched = ["c1", "r1", "c2", "similar", "nearby", "attention", "gathered", "maps", "joined", "pooled"]
    values = onnx_graphs.run(emulated(half), inputs, watched)
    in_half = {name for name in watched if Graph(half).types[name] == TensorProto.BFLOAT16}
    assert in_half == {"c1", "r1", "c2", "similar", "gathered", "maps", "joined"}
    for name in watched:
        is_rounded = np.array_equal(values[name], values[name].astype(ml_dtypes.bfloat16).astype(np.float32))
        assert is_rounded == (name in in_half), name
    # A 1x1 convolution of rounded values with rounded weights: the nearest bfloat16 of the exact sum.
    rounded = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in half.graph.initializer}
    weights, bias = rounded["w2/bfloat16"][..., 0, 0], rounded["b2/bfloat16"]
    exact = np.einsum("oc,bchw->bohw", weights, values["r1"].astype(np.float64)) + bias[:, None, None]
    assert np.all(np.abs(values["c2"] - exact) <= 2.0**-8 * np.abs(exact) * 1.01 + 1e-6)


def test_precisions_are_read_from_the_graph():
    model = onnx_graphs.network()
    products = {"conv1": "fp32", "conv2": "fp32", "product": "fp32", "gather": "fp32", "classify": "fp32"}
    assert product_precisions(model) == products and precision_of(model) == "fp32"
    assert unweighted_products(model) == {"product", "gather"}
    for precision in TYPES:
        half = to_half(model, precision)
        assert product_precisions(half) == {**dict.fromkeys(products, precision), "classify": "fp32"}
        assert precision_of(half) == precision and unweighted_products(half) == {"product", "gather"}
