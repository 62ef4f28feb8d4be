"""INT8: explicit QuantizeLinear and DequantizeLinear before every convolution, as TensorRT takes them.

Symmetric (zero point 0), activations with one scale a tensor, weights with one a channel, sums and biases in float32.
The convolutions are quantised and nothing else: all of the work that is worth it is there, and the attention and the
heads stay as they are. Only inputs of convolutions are quantised, not their results: those of a residual branch would
be rounded twice.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import TensorProto
from onnxruntime import quantization

from ccsn_tf.serving.onnx.graph import Graph


def deep_convolutions(model: onnx.ModelProto, depth: int) -> list[str]:
    """Names of the convolutions that follow at least `depth` others on every way from the input.

    The first ones of each stream are best left alone: they see few channels, a scale each would be needed, and flow,
    most of which is nearly zero, loses there what the 8 bits of its pixels just hold.
    """
    graph = Graph(model)
    depths, found = {value.name: 0 for value in model.graph.input}, []
    for node in model.graph.node:
        ways = [depths[name] for name in node.input if name in depths]
        if not ways:
            continue
        is_convolution = node.op_type == "Conv" and node.input[1] in graph.constants
        if is_convolution and min(ways) >= depth:
            found.append(node.name)
        if graph.types[node.output[0]] == TensorProto.FLOAT:  # not the shape arithmetic, which leads past all of them
            depths[node.output[0]] = min(ways) + is_convolution
    return found


def to_int8(
    model: onnx.ModelProto, convolutions: Collection[str], batches: Iterable[dict[str, np.ndarray]]
) -> onnx.ModelProto:
    """A copy of a float32 model with convolutions on 8-bit integers; inputs and outputs keep their types.

    Args:
        model: float32, as from `to_onnx`.
        convolutions: names of those that are quantised.
        batches: inputs of the model; the values that they give a tensor are the range that 8 bits cover.
    """
    batches = iter(batches)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = (pathlib.Path(folder, name) for name in ("float32.onnx", "int8.onnx"))
        marked = onnx.ModelProto()
        marked.CopyFrom(model)
        marked.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # spares us the advice
        onnx.save(marked, source)
        quantization.quantize_static(
            source,
            target,
            Reader(),
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(convolutions),
            per_channel=True,
            extra_options={
                "ActivationSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        return onnx.load(target)
