"""INT8: ranges from clips, and quantisation that is exactly what it says."""

import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx import numpy_helper

from ccsn_tf.serving.onnx.calibrate import best_range, calibrate, histogram, quantised
from ccsn_tf.serving.onnx.int8 import deep_convolutions, to_int8
from ccsn_tf.serving.onnx.products import precision_of, product_precisions

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


def test_histogram_counts_magnitudes_by_octave():
    counts = histogram(np.float32([0, 0, 1, -1, 2, -1e-9, 1e9]))
    assert counts.sum() == 5 and counts.max() == 2
    assert counts[0] == 1 and counts[-1] == 1
    one, two = np.flatnonzero(counts)[1:3]
    assert counts[one] == 2 and two - one == 64


@pytest.mark.parametrize("kind", ["normal", "outlier", "clipped"])
def test_best_range_has_the_least_squared_error(kind):
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(0, 3, 20000),
        "outlier": np.append(rng.normal(0, 1, 400000), 30.0),
        "clipped": np.clip(rng.normal(3, 3, 20000), 0, 6),
    }[kind]

    def error(limit):
        return np.mean((values - quantised(values, limit)) ** 2)

    found = best_range(histogram(values.astype(np.float32)))
    least = min(error(limit) for limit in np.abs(values).max() * np.geomspace(0.01, 1, 2000))
    assert error(found) <= 1.03 * least
    if kind == "outlier":
        assert found < 20, "one value does not pay for the loss of all others"


def test_a_tensor_that_is_always_zero_gets_a_range():
    assert best_range(histogram(np.zeros(5, np.float32))) > 0


def test_quantised_values_are_the_nearest_of_256():
    values = np.linspace(-2, 2, 4001)
    found = quantised(values, 1.27)
    np.testing.assert_allclose(np.unique(found), np.arange(-128, 128) / 100, atol=1e-12)
    inside = (values >= -1.285) & (values <= 1.275)
    assert np.abs(found - values)[inside].max() <= 0.005 + 1e-12
    assert set(found[~inside].round(12)) == {-1.28, 1.27}


def test_calibration_sees_every_batch():
    model = onnx_graphs.network()
    batches = [onnx_graphs.pixels(batch=1, seed=seed) for seed in range(3)]
    done = []
    ranges = calibrate(model, ["centred", "r1"], batches, done.append)
    seen = [onnx_graphs.run(model, batch, ["centred", "r1"]) for batch in batches]
    counts = {name: sum(histogram(values[name]) for values in seen) for name in ranges}
    assert ranges == {name: best_range(count) for name, count in counts.items()} and done == [1, 2, 3]
    assert ranges["centred"] == pytest.approx(127.5, rel=0.02)


def test_convolutions_compute_on_quantised_values():
    model, inputs = onnx_graphs.network(), onnx_graphs.pixels()
    ranges = {"centred": 100.0, "r1": 1.5}
    int8 = to_int8(model, ranges, ["conv1", "conv2"])
    onnx.checker.check_model(int8, full_check=True)
    weights = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    for name in ("w1", "w2"):
        limits = np.abs(weights[name]).max(axis=(1, 2, 3), keepdims=True)
        array = quantised(weights[name], limits).astype(np.float32)
        constant = next(constant for constant in model.graph.initializer if constant.name == name)
        constant.CopyFrom(numpy_helper.from_array(array, name))
    found = onnx_graphs.run(int8, inputs, ["c1", "r1", "c2"])
    # The same convolutions in float32, on values that were quantised by hand.
    by_hand = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> c (float[b, 3, 6, 6] x, float[b, 4, 6, 6] r, float[4, 3, 3, 3] w1, '
        "float[4] b1, float[4, 4, 1, 1] w2, float[4] b2) => (float[b, 4, 6, 6] c1, float[b, 4, 6, 6] c2) "
        "{ c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) c2 = Conv (r, w2, b2) }"
    )
    constants = {
        c.name: numpy_helper.to_array(c) for c in model.graph.initializer if c.name in ("w1", "b1", "w2", "b2")
    }
    centred = quantised(inputs["pixels"] - np.float32(127.5), 100.0).astype(np.float32)
    relu = quantised(found["r1"], 1.5).astype(np.float32)
    wanted = onnx_graphs.run(by_hand, {"x": centred, "r": relu, **constants})
    for name in ("c1", "c2"):
        np.testing.assert_allclose(found[name], wanted[name], atol=2e-5)


def test_only_the_convolutions_named_are_quantised():
    model = onnx_graphs.network()
    int8 = to_int8(model, {"r1": 2.0}, ["conv2"])
    assert product_precisions(int8) == {**product_precisions(model), "conv2": "int8"}
    assert precision_of(int8) == "int8"
    assert [node.op_type for node in int8.graph.node].count("QuantizeLinear") == 1
    same = [(node.name, list(node.input)) for node in model.graph.node if node.name != "conv2"]
    kept = [(node.name, list(node.input)) for node in int8.graph.node]
    assert all(entry in kept for entry in same)


def test_a_tensor_for_two_convolutions_is_quantised_once():
    text = SHORTCUT.replace("Conv (x1, b)", "Conv (image, b)")
    model = onnx_graphs.with_constants(text, {name: np.ones((2, 2, 1, 1)) for name in "abc"})
    int8 = to_int8(model, {"image": 1.0}, ["one", "two"])
    assert [node.op_type for node in int8.graph.node].count("QuantizeLinear") == 1


def test_weights_of_a_dead_channel():
    weights = np.ones((2, 2, 1, 1))
    weights[1] = 0
    model = onnx_graphs.with_constants(SHORTCUT, {"a": weights, "b": weights, "c": weights})
    inputs = {"image": np.ones((1, 2, 4, 4), "float32")}
    out = onnx_graphs.run(to_int8(model, {"image": 1.0, "x1": 2.0, "x4": 6.0}, ["one", "two", "three"]), inputs)["out"]
    np.testing.assert_allclose(out, onnx_graphs.run(model, inputs)["out"], rtol=0.03)
    assert not out[:, 1].any()


@pytest.mark.parametrize(("depth", "names"), [(0, "one two three"), (1, "two three"), (2, ""), (3, "")])
def test_depth_counts_the_convolutions_on_the_shortest_way(depth, names):
    """The shape of the input is no way: it leads past everything. The shortcut is: one convolution, then `three`."""
    model = onnx_graphs.with_constants(SHORTCUT, {name: np.ones((2, 2, 1, 1)) for name in "abc"})
    assert [node.name for node in deep_convolutions(model, depth)] == names.split()


def test_depth_of_the_network():
    assert [node.name for node in deep_convolutions(onnx_graphs.network(), 1)] == ["conv2"]
