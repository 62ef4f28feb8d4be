"""INT8: ranges from clips, and quantisation that is exactly what it says."""

import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import numpy_helper

from ccsn_tf.serving.onnx.int8 import deep_convolutions, to_int8

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


def rounded(values, limits):
    """The nearest multiples of a 127th of `limits`, from -128 to 127 of them."""
    step = limits / 127
    return (np.clip(np.rint(values / step), -128, 127) * step).astype(np.float32)


def types_of(model):
    return [node.op_type for node in model.graph.node]


def test_convolutions_compute_on_values_rounded_to_the_largest_of_all_batches():
    model = onnx_graphs.network()
    before = model.SerializeToString()
    batches = [onnx_graphs.pixels(batch=1, seed=seed) for seed in range(3)]
    int8 = to_int8(model, ["conv1", "conv2"], batches)
    onnx.checker.check_model(int8, full_check=True)
    assert model.SerializeToString() == before
    assert [value.type for value in int8.graph.input] == [value.type for value in model.graph.input]
    seen = [onnx_graphs.run(model, batch, ["centred", "r1"]) for batch in batches]
    limits = {name: max(np.abs(values[name]).max() for values in seen) for name in ("centred", "r1")}
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    weights = {
        name: rounded(constants[name], np.abs(constants[name]).max(axis=(1, 2, 3), keepdims=True))
        for name in ("w1", "w2")
    }
    inputs = onnx_graphs.pixels()
    found = onnx_graphs.run(int8, inputs, ["c1", "r1", "c2"])
    # The same convolutions in float32, on values that were rounded by hand.
    by_hand = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> c (float[b, 3, 6, 6] x, float[b, 4, 6, 6] r, float[4, 3, 3, 3] w1, '
        "float[4] b1, float[4, 4, 1, 1] w2, float[4] b2) => (float[b, 4, 6, 6] c1, float[b, 4, 6, 6] c2) "
        "{ c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) c2 = Conv (r, w2, b2) }"
    )
    activations = {
        "x": rounded(inputs["pixels"] - np.float32(127.5), limits["centred"]),
        "r": rounded(found["r1"], limits["r1"]),
    }
    biases = {name: constants[name] for name in ("b1", "b2")}
    wanted = onnx_graphs.run(by_hand, {**activations, **weights, **biases})
    for name in ("c1", "c2"):
        np.testing.assert_allclose(found[name], wanted[name], atol=2e-5)


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
