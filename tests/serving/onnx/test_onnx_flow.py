"""Networks that compute flow from frames, as ONNX files: whole, and flow in float32 in every precision."""

import collections
import json

import keras
import numpy as np
import onnx
import onnx_graphs
import pytest
from onnx_fixtures import exporter
from onnx_graphs import flow_types, is_of_flow

from ccsn_tf.models.flow import QuantizedFlow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.onnx.graph import Graph, product_precisions
from ccsn_tf.serving.onnx.precision import deep_convolutions, to_half, to_int8
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository

SIZE, LENGTH = 32, 2


@pytest.fixture(scope="module")
def flow_export(frames_config, tmp_path_factory):
    """The model that computes flow, in float32."""
    return exporter(frames_config, tmp_path_factory.mktemp("flow"))("fp32")


@pytest.fixture(scope="module")
def inputs(exported_frames):
    with clips_to_try(exported_frames.config, tuple(exported_frames.model.classes), 4, must_be_real=True) as clips:
        return clips.arrays(2)


def test_float32_takes_frames_and_depends_on_their_motion(flow_export, inputs):
    (frames,) = onnx.load(flow_export.path).graph.input
    shape = [axis.dim_param or axis.dim_value for axis in frames.type.tensor_type.shape.dim]
    assert (frames.name, shape) == ("frames", ["batch", "segments", LENGTH + 1, SIZE, SIZE, 3])
    assert frames.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert flow_export.report["comparison"]["limit"] == 1e-3 and len(flow_export.report["comparison"]["largest"]) == 6
    model, still = OnnxModel(str(flow_export.path)), np.repeat(inputs["frames"][:, :, :1], LENGTH + 1, axis=2)
    assert np.abs(model(inputs)["temporal_logits"] - model({"frames": still})["temporal_logits"]).max() > 0.01


def test_flow_differs_by_the_rounding_of_single_values_at_most(flow_export, exported_frames, inputs):
    """What the limit of 1e-3 is for: values on the edge between two of the 255 steps."""
    model = exported_frames.model
    stored = next(layer for layer in model.layers if isinstance(layer, QuantizedFlow))
    with iterations(LOOPED):
        wanted = np.asarray(keras.Model(model.inputs, stored.output)(inputs))
    whole = onnx.load(flow_export.path)
    (rounding,) = (node for node in whole.graph.node if node.op_type == "Round" and "quantized_flow" in node.name)
    before, after = rounding.input[0], rounding.output[0]
    values = onnx_graphs.run(whole, inputs, watch=(before, after))
    assert np.abs(values[before] - wanted).max() < 0.51
    otherwise = np.abs(values[after] - wanted)
    assert otherwise.max() <= 1 and np.count_nonzero(otherwise) < 1e-3 * otherwise.size


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_flow_stays_float32_and_is_the_same_to_the_last_bit(precision, flow_export, inputs):
    whole = onnx.load(flow_export.path)
    model = to_half(whole) if precision == "fp16" else to_int8(whole, deep_convolutions(whole, 2), [inputs])
    found = flow_types(model)
    assert set(found.values()) == {onnx.TensorProto.FLOAT}
    assert len(found) == len(flow_types(whole)) > 100 and not set(found) & set(product_precisions(model))
    products = collections.Counter(product_precisions(model).values())
    assert products == {"int8": {"int8": 6, "fp32": 21}}.get(precision, {precision: 22, "fp32": 5})
    watched = flow_tensor(whole)
    flow = onnx_graphs.run(whole, inputs, [watched])[watched]
    assert np.ptp(flow) > 1
    np.testing.assert_array_equal(onnx_graphs.run(model, inputs, [watched])[watched], flow)


def flow_tensor(model):
    """The layer's result: what it makes and others read."""
    graph = Graph(model)
    (found,) = {
        name
        for node in model.graph.node
        if not is_of_flow(node.name) and "quantized_flow" in node.name
        for name in node.input
        if graph.types[name] == onnx.TensorProto.FLOAT
        and name in graph.producers
        and is_of_flow(graph.producers[name].name)
    }
    return found


def test_tritons_configuration_has_frames(flow_export, tmp_path):
    version = make_repository(str(flow_export.path), str(tmp_path), TritonSettings())
    text = (version.parent / "config.pbtxt").read_text()
    shape = f"{LENGTH + 1}, {SIZE}, {SIZE}, 3 ]"
    assert f'{{ name: "frames" data_type: TYPE_UINT8 dims: [ -1, {shape} }}' in text
    segments = json.loads(onnx.load(flow_export.path).metadata_props[0].value)["segments"]
    assert f"data_type: TYPE_UINT8 dims: [ {segments}, {shape} zero_data: true" in text and '"rgb"' not in text
