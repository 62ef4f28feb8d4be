"""Keras to ONNX: every kind of network, every complaint."""

import collections

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import small_models
import tensorflow as tf
from keras import ops

from ccsn_tf.errors import UserError
from ccsn_tf.models.connections import CONNECTIONS
from ccsn_tf.serving.agreement import as_exported
from ccsn_tf.serving.onnx.convert import check, to_onnx

# Beside the one that the fixture `onnx_export` exports.
SLOW = [{"fusion_features": False, "fusion_weights": (1.0, 1.5)}, {"position": "mlp"}]
SLOW += [{"connection": kind} for kind in CONNECTIONS if kind != "cross_attention"]
KINDS = [{"span": "clip"}, *(pytest.param(arguments, marks=pytest.mark.slow) for arguments in SLOW)]


@pytest.fixture(scope="module")
def converted(onnx_export):
    return onnx.load(onnx_export("fp32").path)


@pytest.mark.parametrize("arguments", KINDS, ids=lambda arguments: "-".join(map(str, arguments.values())))
def test_every_kind_of_network_computes_the_same(arguments):
    model = small_models.model(**arguments)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    names, trained = [output.name for output in session.get_outputs()], as_exported(model)
    for batch, segments in ((1, 2), (3, 1), (2, 5)):
        inputs = small_models.clips(batch, segments)
        wanted = trained(inputs)
        assert sorted(names) == sorted(wanted) and "scores" in names
        for name, value in zip(names, session.run(names, inputs), strict=True):
            np.testing.assert_allclose(value, wanted[name], atol=1e-5, err_msg=name)


def test_inputs_and_outputs_are_named_and_dynamic(converted):
    def described(values):
        return {
            value.name: (
                value.type.tensor_type.elem_type,
                [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
            )
            for value in values
        }

    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert described(converted.graph.input) == {
        "rgb": (uint8, ["batch", "segments", 32, 32, 3]),
        "flow": (uint8, ["batch", "segments", 32, 32, 10]),
    }
    classes, embedding = (float32, ["batch", 3]), (float32, ["batch", 8])
    assert described(converted.graph.output) == {
        **dict.fromkeys(("logits", "scores", "spatial_logits", "temporal_logits"), classes),
        **dict.fromkeys(("spatial_embedding", "temporal_embedding"), embedding),
    }
    assert converted.opset_import[0].version == 17


def test_normalisations_are_folded_and_pixels_cast_at_once(converted):
    readers = collections.defaultdict(list)
    for node in converted.graph.node:
        for name in node.input:
            readers[name].append(node.op_type)
    convolutions = [node for node in converted.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 10 and all(len(node.input) == 3 for node in convolutions)
    assert readers["rgb"] == readers["flow"] == ["Cast"]
    assert all(readers[node.output[0]] == ["Relu"] for node in convolutions)


def as_network(function):
    """A functional model with the inputs of a CCSN and `function` between features and logits."""
    inputs = {
        name: keras.Input((None, 16, 16, channels), dtype="uint8", name=name)
        for name, channels in (("rgb", 3), ("flow", 10))
    }
    means = [
        keras.layers.Lambda(lambda x: ops.mean(ops.cast(x, "float32"), axis=(1, 2, 3)))(x) for x in inputs.values()
    ]
    logits = keras.layers.Lambda(function)(keras.layers.Concatenate()(means))
    return keras.Model(inputs, {"logits": logits})


def test_an_operation_that_cannot_be_converted_is_an_error():
    with pytest.raises(UserError, match=r"cannot be converted to ONNX \(.*Digamma.*\)"):
        to_onnx(as_network(tf.math.digamma))


def test_a_graph_whose_types_contradict_is_an_error(converted):
    broken = onnx.ModelProto()
    broken.CopyFrom(converted)
    broken.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    with pytest.raises(UserError, match="invalid graph"):
        check(broken)
