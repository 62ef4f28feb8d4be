"""Keras to ONNX, float32, by tf2onnx, which has to succeed without a single warning."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import keras
import numpy as np
import onnx
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow.iterating import WRITTEN_OUT, iterations
from ccsn_tf.serving.onnx.folding import fold_batch_norms
from ccsn_tf.serving.onnx.graph import cast_inputs_first, name_dimensions
from ccsn_tf.serving.packages import optional

# The last one that tf2onnx 1.17 writes valid graphs for, and all that TensorRT 10 reads.
OPSET = 17

BATCH, SEGMENTS = "batch", "segments"


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The network as an ONNX model, batch normalisations folded into the convolutions before them.

    Inputs and outputs have the names that they have in Keras; both leading axes of the inputs, "batch" and "segments",
    are dynamic. There is one output more, `scores`: the softmax of `logits`, (batch, classes).

    Args:
        model: a `CCSN`.

    Raises:
        UserError: the converter had something to complain of, or what it wrote is not valid ONNX.
    """
    tf2onnx = optional("tf2onnx", "onnx")
    network, _ = fold_batch_norms(model)

    names = list(model.input)

    def outputs(*arrays):
        made = network(dict(zip(names, arrays, strict=True)), training=False)
        return {**made, "scores": tf.nn.softmax(made["logits"])}

    signature = [tf.TensorSpec(model.input[name].shape, tf.uint8, name=name) for name in names]
    with _complaints_are_errors("tf2onnx"), _without_copies(), iterations(WRITTEN_OUT):
        converted, _ = tf2onnx.convert.from_function(
            tf.function(outputs, autograph=False),
            input_signature=signature,
            opset=OPSET,
            custom_op_handlers={"Roll": (_roll, [])},
        )
    name_dimensions(converted, (BATCH, SEGMENTS))
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


def _roll(graph, node, name, _):
    """tf.roll by a constant along one axis: two slices, whose bounds tf2onnx would compute from shapes at run time."""
    shift, axis = (node.inputs[place].get_tensor_value(as_list=False).item() for place in (1, 2))
    begin, cut, end, along = (
        graph.make_const(f"{name}/{word}", np.array([value], np.int64)).output[0]
        for word, value in (("begin", 0), ("cut", -shift), ("end", np.iinfo(np.int64).max), ("along", axis))
    )
    parts = [
        graph.make_node("Slice", [node.input[0], *bounds, along], name=f"{name}/{word}").output[0]
        for word, bounds in (("last", (cut, end)), ("first", (begin, cut)))
    ]
    kept = {"shapes": [graph.get_shape(node.output[0])], "dtypes": [graph.get_dtype(node.output[0])]}
    graph.remove_node(name)
    graph.make_node("Concat", parts, {"axis": axis}, outputs=node.output, name=name, **kept)


@contextlib.contextmanager
def _without_copies() -> Iterator[None]:
    """tf2onnx does not copy the graph before each of its passes, to go on after a failed one: here that is an error."""
    name = "TF2ONNX_CATCH_ERRORS"
    before = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _complaints_are_errors(name: str) -> Iterator[None]:
    """Raises UserError with the first warning or error that was logged under `name`: tf2onnx goes on after some."""
    complaints = []

    class Collector(logging.Handler):
        def emit(self, record):
            complaints.append(record.getMessage())

    logger, collector = logging.getLogger(name), Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield
    except Exception as error:  # whatever goes wrong inside: the network has something that it cannot convert
        reason = complaints[0] if complaints else f"{type(error).__name__}: {error}"
        raise UserError(f"The network cannot be converted to ONNX ({reason}): export a SavedModel.") from error
    finally:
        logger.removeHandler(collector)
    if complaints:
        raise UserError(f"The conversion to ONNX complained ({complaints[0]}): export a SavedModel.")
