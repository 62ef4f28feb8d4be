"""Keras to ONNX, float32, by tf2onnx, which has to succeed without a single warning."""

import contextlib
import logging.handlers
import os
from collections.abc import Iterator

import keras
import onnx
import tensorflow as tf
from onnx import TensorProto, helper

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow.loops import WRITTEN_OUT, iterations
from ccsn_tf.models.folding import fold_batch_norms
from ccsn_tf.serving import optional
from ccsn_tf.serving.metadata import STREAM_SIGNATURES
from ccsn_tf.streaming.stream_model import stream_functions

# The last one that tf2onnx 1.17 writes valid graphs for, and all that TensorRT 10 reads.
OPSET = 17


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The network as an ONNX model, batch normalisations folded into the convolutions before them.

    Inputs and outputs have the names that they have in Keras; both leading axes of the inputs, "batch" and "segments",
    are dynamic. There is one output more, `scores`: the softmax of `logits`, (batch, classes).

    Args:
        model: a `CCSN`.

    Raises:
        UserError: the converter had something to complain of, or what it wrote is not valid ONNX.
    """
    network = fold_batch_norms(model)
    clips = {name: tf.TensorSpec(tensor.shape, tf.uint8, name=name) for name, tensor in model.input.items()}
    return _converted(_with_scores(lambda inputs: network(inputs, training=False)), clips, ("batch", "segments"))


def stream_to_onnx(model: keras.Model) -> dict[str, onnx.ModelProto]:
    """The network in two parts (`snippet_parts`), as the signatures of a SavedModel have them.

    Returns:
        By `STREAM_SIGNATURES`: from the inputs without "segments" to "spatial" and "temporal", ("snippets", D); and
        from these, ("batch", "segments", D), to the outputs.

    Raises:
        UserError: as `to_onnx`, and `snippet_parts`.
    """
    (snippet, ones), (heads, clips) = stream_functions(fold_batch_norms(model))
    parts = _converted(snippet, ones, ("snippets",)), _converted(_with_scores(heads), clips, ("batch", "segments"))
    return dict(zip(STREAM_SIGNATURES, parts, strict=True))


def _with_scores(function):
    def outputs(inputs):
        made = function(inputs)
        return {**made, "scores": tf.nn.softmax(made["logits"])}

    return outputs


def _converted(function, specs, axes):
    """A function of {name: tensor}, at inference, as ONNX; the leading axes are dynamic and named."""
    tf2onnx = optional("tf2onnx", "onnx")

    def outputs(*arrays):
        return function(dict(zip(specs, arrays, strict=True)))

    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"  # else each pass copies the graph, to go on when it fails
    with _complaints_are_errors("tf2onnx"), iterations(WRITTEN_OUT):
        converted, _ = tf2onnx.convert.from_function(
            tf.function(outputs, autograph=False), input_signature=list(specs.values()), opset=OPSET
        )
    name_dimensions(converted, axes)
    cast_inputs_first(converted)
    check(converted)
    return converted


def check(model: onnx.ModelProto) -> None:
    """The checker of ONNX in full: operators, types and shapes.

    Raises:
        UserError: the model is not valid, which its consumers would find out later and say less well.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The conversion to ONNX made an invalid graph ({reason}): export a SavedModel.") from None


def name_dimensions(model: onnx.ModelProto, names: tuple[str, ...]) -> None:
    """Gives the dynamic leading axes of every input and output the same names, as in ("batch", "segments").

    The converter gives each its own, and a consumer could not know that they must agree. Its notes on the shapes of
    inner tensors, which use those names, are dropped.
    """
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
    del model.graph.value_info[:]


def cast_inputs_first(model: onnx.ModelProto) -> None:
    """Casts each uint8 input to float before anything else reads it: TensorRT takes uint8 for nothing but a cast."""
    uint8 = (value for value in model.graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8)
    floats = {value.name: f"{value.name}_float" for value in uint8}
    nodes = [helper.make_node("Cast", [name], [cast], cast, to=TensorProto.FLOAT) for name, cast in floats.items()]
    for node in model.graph.node:
        node.input[:] = [floats.get(name, name) for name in node.input]
    nodes.extend(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextlib.contextmanager
def _complaints_are_errors(name: str) -> Iterator[None]:
    """Raises UserError with the first warning or error that was logged under `name`: tf2onnx goes on after some."""
    logger, collector = logging.getLogger(name), logging.handlers.BufferingHandler(capacity=1_000_000)
    collector.setLevel(logging.WARNING)
    logger.addHandler(collector)
    failures = []
    try:
        yield
    except Exception as error:  # whatever goes wrong inside: the network has something that it cannot convert
        failures = [f"{type(error).__name__}: {error}"]
    finally:
        logger.removeHandler(collector)
    if complaints := [record.getMessage() for record in collector.buffer] + failures:
        raise UserError(f"The network cannot be converted to ONNX ({complaints[0]}): export a SavedModel.")
