"""Engines, built by TensorRT for RTX; the calls of TensorRT 10 and 11, against stand-ins; which of them is taken."""

import collections
import dataclasses
import pathlib
import sys
import types

import layers
import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins

from ccsn_tf.config import ModelConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model
from ccsn_tf.serving.onnx.convert import to_onnx
from ccsn_tf.serving.onnx.graph import product_precisions
from ccsn_tf.serving.onnx.precision import to_half
from ccsn_tf.serving.tensorrt.build import (
    DEFAULT_CAPABILITIES,
    BuildSettings,
    build,
    capabilities_for,
    is_rtx,
    load_tensorrt,
)

ROOT = pathlib.Path(__file__).parents[3]
RTX = BuildSettings(compute_capabilities=("8.6",))


def test_int8_is_built_with_its_profile(onnx_export):
    settings = dataclasses.replace(RTX, batch=(2, 3, 4), segments=(1, 2, 9))
    plan, inputs, outputs = build(tensorrt_rtx, onnx_export("int8").path.read_bytes(), settings)
    assert len(plan) > 100_000
    for name, channels in (("rgb", 3), ("flow", 10)):
        bounds = {"min": [2, 1], "opt": [3, 2], "max": [4, 9]}
        assert inputs[name] == {
            "dtype": "UINT8",
            "shape": [-1, -1, 32, 32, channels],
            "profile": {bound: [*both, 32, 32, channels] for bound, both in bounds.items()},
        }
    classes, embedding = ({"dtype": "FLOAT", "shape": [-1, size]} for size in (3, 8))
    assert outputs == {
        **dict.fromkeys(("logits", "scores", "spatial_logits", "temporal_logits"), classes),
        **dict.fromkeys(("spatial_embedding", "temporal_embedding"), embedding),
    }


def test_what_is_not_taken_or_not_built_is_an_error(onnx_export):
    """GPUs of capability 7.5 have no float32 matrix products there."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        text (string[3] words, float[n, 4] x) => (float[n, 4] y, string[3] z)
        { y = Identity (x) z = StringNormalizer (words) }"""
    old = BuildSettings(compute_capabilities=("7.5",))
    for content, settings, sentence in (
        (onnx_graphs.with_constants(text, {}).SerializeToString(), RTX, "tensorrt_rtx does not take the ONNX file: "),
        (onnx_export("fp32").path.read_bytes(), old, r"tensorrt_rtx cannot build an engine: .*SM75"),
    ):
        with pytest.raises(UserError, match=sentence) as error:
            build(tensorrt_rtx, content, settings)
        assert "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize("bounds", [{"batch": (0, 1, 2)}, {"segments": (1, 9, 8)}])
def test_bounds_out_of_order_are_refused(bounds):
    ((name, (least, most_likely, most)),) = bounds.items()
    with pytest.raises(
        UserError, match=f"--min_{name}={least}, --opt_{name}={most_likely}, --max_{name}={most} must be"
    ):
        BuildSettings(**bounds)


def test_capabilities_are_those_asked_for_else_the_gpus_else_the_usual():
    assert capabilities_for(tensorrt_rtx, ("8.9", "7.5", "8.9"), None) == ("8.9", "7.5")
    assert capabilities_for(tensorrt_rtx, (), "12.0") == ("12.0",)
    assert capabilities_for(tensorrt_rtx, (), "9.0") == DEFAULT_CAPABILITIES
    assert capabilities_for(tensorrt_rtx, (), None) == ("8.6", "8.9", "12.0")
    full = tensorrt_stand_ins.tensorrt()
    assert capabilities_for(full, (), "9.0") == capabilities_for(full, (), None) == ()
    for trt, wanted, sentence in (
        (tensorrt_rtx, ("8.6", "9.0"), r"--compute_capability=9.0 is not among those that .* builds for: 7.5, 8.0"),
        (full, ("8.6",), "--compute_capability=8.6: tensorrt builds for the GPU that it runs on: leave the flag"),
    ):
        with pytest.raises(UserError, match=sentence):
            capabilities_for(trt, wanted, None)


@pytest.mark.parametrize("version", ["10.13.3", "11.0.0"])
def test_the_calls_of_tensorrt_10_and_11(version, onnx_export):
    trt, content = tensorrt_stand_ins.tensorrt(version), onnx_export("fp16").path.read_bytes()
    assert build(trt, content, BuildSettings())[0] == b"PLAN" + content
    (config,) = trt.made
    assert config.cleared == ["TF32"]
    assert config.profile.shapes["rgb"] == ((1, 1, 32, 32, 3), (1, 8, 32, 32, 3), (8, 25, 32, 32, 3))


def test_without_a_gpu_the_tensorrt_that_needs_one_says_so(onnx_export):
    trt = tensorrt_stand_ins.tensorrt(gpu=False)
    with pytest.raises(UserError, match=r"tensorrt cannot start \(Stand-in: no CUDA\): .* use --module=tensorrt_rtx"):
        build(trt, onnx_export("fp16").path.read_bytes(), BuildSettings())


def test_auto_is_the_first_that_is_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert load_tensorrt() is load_tensorrt("tensorrt_rtx") is tensorrt_rtx and is_rtx(tensorrt_rtx)
    with pytest.raises(UserError, match=r"--module=tensorrt cannot be imported .*: pip install .*, or use --module"):
        load_tensorrt("tensorrt")
    full = types.ModuleType("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    assert load_tensorrt() is load_tensorrt("tensorrt") is full and not is_rtx(full)
    # The one on PyPI is a stub that runs code when it is imported, which may fail in its own way.
    monkeypatch.delitem(sys.modules, "tensorrt")
    (tmp_path / "tensorrt.py").write_text("raise RuntimeError('needs an index of its own')")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_tensorrt("auto") is tensorrt_rtx
    with pytest.raises(UserError, match="needs an index of its own"):
        load_tensorrt("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    for name in ("auto", "tensorrt_rtx"):
        with pytest.raises(
            UserError, match=r"tensorrt_rtx is needed .*: pip install -c constraints.txt -e '.\[tensorrt"
        ):
            load_tensorrt(name)


# Of the flag file: (image size, products that compute in half precision, those of the heads, which stay float32).
MODELS = {"demo.flags": (48, 22, 5), "ucf101.flags": (64, 110, 5)}
# Where TensorRT for RTX 1.7 keeps a bit for each compute capability of an engine: found by comparing engines.
CAPABILITY_BITS, BITS = slice(32, 36), {"8.6": 2, "8.9": 3, "12.0": 4}


@pytest.mark.slow
@pytest.mark.parametrize("flag_file", MODELS)
def test_engines_for_each_and_for_all_of_them(flag_file):
    """Of the demo's model and of the one for UCF101, for every GPU that we name."""
    lines = (ROOT / flag_file).read_text().splitlines()
    given = dict(line[2:].split("=") for line in lines if line.startswith("--") and "=" in line)
    names = ("backbone", "connection", "num_segments", "flow_length")
    values = {name: type(getattr(ModelConfig(), name))(given[name]) for name in names if name in given}
    size, inner, heads = MODELS[flag_file]
    model = build_model(ModelConfig(**values, image_size=size), ["a", "b", "c", "d"])
    layers.randomise_in_scale(model)
    whole = to_onnx(model)
    for graph, counts in ((whole, {"fp32": inner + heads}), (to_half(whole), {"fp16": inner, "fp32": heads})):
        assert collections.Counter(product_precisions(graph).values()) == counts
        assert all(len(node.input) == 3 for node in graph.graph.node if node.op_type == "Conv")  # normalisations in it
        for capabilities in (*((each,) for each in DEFAULT_CAPABILITIES), DEFAULT_CAPABILITIES):
            settings = BuildSettings(compute_capabilities=capabilities)
            plan, _, _ = build(tensorrt_rtx, graph.SerializeToString(), settings)
            bits = sum(1 << BITS[capability] for capability in capabilities)
            assert int.from_bytes(plan[CAPABILITY_BITS], "little") == bits
