"""Questions to a graph, and the rewrites of a converted one."""

import numpy as np
import onnx
import onnx_graphs
from onnx import TensorProto

from ccsn_tf.serving.onnx.graph import Graph, cast_inputs_first, name_dimensions, prune

SHAPED = """
<ir_version: 8, opset_import: ["" : 17]>
shaped (uint8[a, b, 4] rgb, uint8[c, d, 4] flow) => (float[e, 4] sums, int64[3] shape)
<int64[2] flat, int64[1] first>
{
   [reshape] rows = Reshape (rgb, flat)
   [cast] values = Cast <to = 1> (rows)
   [again] floats = Cast <to = 1> (values)
   [measure] shape = Shape (flow)
   [unused] spare = Cast <to = 1> (flow)
   [sum] sums = Identity (floats)
}
"""


def shaped():
    return onnx_graphs.with_constants(SHAPED, {"flat": np.array([-1, 4]), "first": np.array([0])})


def test_graph_knows_makers_readers_types_and_shapes():
    model = onnx_graphs.network()
    graph = Graph(model)
    assert graph.producers["c2"].name == "conv2"
    assert [node.name for node in graph.readers["c2"]] == ["flatten", "residual"]
    assert [node.name for node in graph.readers["columns"]] == ["product", "gather"]
    assert (graph.types["pixels"], graph.types["values"], graph.types["flat"]) == (
        TensorProto.UINT8,
        TensorProto.FLOAT,
        TensorProto.INT64,
    )
    assert graph.shapes["c1"] == (None, 4, 6, 6) and graph.shapes["similar"] == (None, 36, 36)
    assert graph.outputs == {"logits"}
    np.testing.assert_array_equal(graph.array("flat"), [0, 4, 36])
    assert graph.array("c1") is None


def test_dimensions_get_one_name_each():
    model = shaped()
    name_dimensions(model, ("batch", "segments"))
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "rgb": ["batch", "segments", 4],
        "flow": ["batch", "segments", 4],
        "sums": ["batch", 4],
        "shape": [3],
    }
    onnx.checker.check_model(model, full_check=True)


def test_pixels_are_cast_before_all_else():
    model, inputs = shaped(), {"rgb": np.arange(24, dtype="uint8").reshape(2, 3, 4)}
    inputs["flow"] = np.zeros((5, 6, 4), "uint8")
    before = onnx_graphs.run(model, inputs)
    cast_inputs_first(model)
    onnx.checker.check_model(model, full_check=True)
    graph = Graph(model)
    for name in ("rgb", "flow"):
        assert [(node.op_type, node.output[0]) for node in graph.readers[name]] == [("Cast", f"{name}_float")]
    # The casts that were there cast float to float now, and are gone, as is what nothing depends on.
    assert [node.name for node in model.graph.node] == ["rgb_float", "flow_float", "reshape", "measure", "sum"]
    after = onnx_graphs.run(model, inputs)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_prune_leaves_what_outputs_depend_on():
    model = shaped()
    prune(model)
    assert "unused" not in [node.name for node in model.graph.node]
    assert [constant.name for constant in model.graph.initializer] == ["flat"]
    assert len(model.graph.node) == 5
