"""The rewrites of a converted graph."""

import numpy as np
import onnx
import onnx_graphs

from ccsn_tf.serving.onnx.convert import cast_inputs_first, name_dimensions

SHAPED = """
<ir_version: 8, opset_import: ["" : 17]>
shaped (uint8[a, b, 4] rgb, uint8[c, d, 4] flow) => (float[e, 4] sums, int64[3] shape)
<int64[2] flat>
{
   [reshape] rows = Reshape (rgb, flat)
   [cast] values = Cast <to = 1> (rows)
   [measure] shape = Shape (flow)
   [sum] sums = Identity (values)
}
"""


def test_dimensions_get_one_name_each_and_pixels_are_cast_before_all_else():
    model = onnx_graphs.with_constants(SHAPED, {"flat": np.array([-1, 4])})
    inputs = {"rgb": np.arange(24, dtype="uint8").reshape(2, 3, 4), "flow": np.zeros((5, 6, 4), "uint8")}
    before = onnx_graphs.run(model, inputs)
    cast_inputs_first(model)
    after = onnx_graphs.run(model, inputs)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    name_dimensions(model, ("batch", "segments"))
    onnx.checker.check_model(model, full_check=True)
    readers = {name: [n.op_type for n in model.graph.node if name in n.input] for name in ("rgb", "flow")}
    assert readers == {"rgb": ["Cast"], "flow": ["Cast"]}
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
