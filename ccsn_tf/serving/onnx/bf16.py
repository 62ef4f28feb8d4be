"""bfloat16 on a CPU that has no kernels for it: computed in float32, every result rounded to bfloat16."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ccsn_tf.serving.onnx.graph import Graph
from ccsn_tf.serving.onnx.products import precision_of
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.packages import optional


def runnable(model: onnx.ModelProto) -> tuple[OnnxModel, str]:
    """A model, with its metadata, as a function on this CPU, and in words how it is computed."""
    runtime = f"ONNX Runtime {optional('onnxruntime', 'onnx').__version__} on the CPU"
    if precision_of(model) != "bf16":
        return OnnxModel(model.SerializeToString()), runtime
    words = f"emulated: float32 in {runtime}, every result rounded to bfloat16; the file itself was not run"
    return OnnxModel(emulated(model).SerializeToString(), optimize=False), words


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 model whose values are those of a bfloat16 one with float32 accumulation, which tensor cores have.

    For ONNX Runtime with its optimisations off: they could take pairs of casts for superfluous.

    Args:
        model: as from `to_half(model, "bf16")`.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = Graph(made)
    for constant in made.graph.initializer:
        if constant.data_type == TensorProto.BFLOAT16:
            constant.CopyFrom(numpy_helper.from_array(graph.array(constant.name).astype(np.float32), constant.name))
    nodes = []
    for node in made.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if graph.types.get(name) == TensorProto.BFLOAT16:
                node.output[index] = f"{name}/exact"
                nodes += _rounding(node, f"{name}/exact", name)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _rounding(node, exact, rounded):
    cast = exact
    nodes = []
    if node.op_type != "Cast":  # which rounds for itself
        cast = f"{rounded}/narrow"
        nodes.append(helper.make_node("Cast", [exact], [cast], cast, to=TensorProto.BFLOAT16))
    return [*nodes, helper.make_node("Cast", [cast], [rounded], f"{rounded}/wide", to=TensorProto.FLOAT)]
