"""Engines for every GPU that we name, of the demo's model and of the one for UCF101: built, and not run."""

import collections
import pathlib

import layers
import pytest
import tensorrt_rtx

from ccsn_tf.config import ModelConfig
from ccsn_tf.models.build import build_model
from ccsn_tf.serving.onnx.convert import to_onnx
from ccsn_tf.serving.onnx.graph import product_precisions
from ccsn_tf.serving.onnx.half import to_half
from ccsn_tf.serving.tensorrt.build import DEFAULT_CAPABILITIES, BuildSettings, build

ROOT = pathlib.Path(__file__).parents[3]

# Of the flag file: (image size, products that compute in half precision, those of the heads, which stay float32).
MODELS = {"demo.flags": (48, 22, 5), "ucf101.flags": (64, 110, 5)}

# Where TensorRT for RTX 1.7 keeps a bit for each compute capability of an engine: found by comparing engines.
CAPABILITY_BITS = slice(32, 36)


def settings_of(flag_file, size):
    """The model's settings in a flag file, at another size, with random weights."""
    lines = (ROOT / flag_file).read_text().splitlines()
    given = dict(line[2:].split("=") for line in lines if line.startswith("--") and "=" in line)
    names = ("backbone", "connection", "num_segments", "flow_length")
    values = {name: type(getattr(ModelConfig(), name))(given[name]) for name in names if name in given}
    return ModelConfig(**values, image_size=size)


@pytest.fixture(scope="module", params=MODELS)
def graphs(request):
    """(the graphs by precision; by precision, how many products have what; the capabilities to build for)."""
    size, inner, heads = MODELS[request.param]
    model = build_model(settings_of(request.param, size), ["a", "b", "c", "d"])
    layers.randomise_in_scale(model)
    whole = to_onnx(model)
    counts = {"fp32": {"fp32": inner + heads}, "fp16": {"fp16": inner, "fp32": heads}}
    alone = [(capability,) for capability in DEFAULT_CAPABILITIES] if request.param == "demo.flags" else []
    return {"fp32": whole, "fp16": to_half(whole)}, counts, [*alone, DEFAULT_CAPABILITIES]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engines_for_each_and_for_all_of_them(precision, graphs):
    graph, counts = graphs[0][precision], graphs[1][precision]
    assert collections.Counter(product_precisions(graph).values()) == counts
    assert all(len(node.input) == 3 for node in graph.graph.node if node.op_type == "Conv")  # every normalisation in it
    for capabilities in graphs[2]:
        plan, _, _ = build(tensorrt_rtx, graph.SerializeToString(), BuildSettings(compute_capabilities=capabilities))
        bits = sum(1 << 1 + DEFAULT_CAPABILITIES.index(capability) for capability in capabilities)
        assert int.from_bytes(plan[CAPABILITY_BITS], "little") == bits


def test_the_models_are_those_of_the_flag_files():
    demo, ucf101 = (settings_of(name, 64) for name in MODELS)
    assert (demo.backbone, ucf101.backbone) == ("tiny", "efficientnet_lite0")
    assert demo.connection == ucf101.connection == "cross_attention"
