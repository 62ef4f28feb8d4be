"""Half precision: what is in it, what is not, and that the file says so itself."""

import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import TensorProto, numpy_helper

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.graph import Graph, precision_of, product_precisions
from ccsn_tf.serving.onnx.half import to_half

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
