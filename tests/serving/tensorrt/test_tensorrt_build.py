"""Engines of a small model, built by TensorRT for RTX; and the calls of TensorRT 10 and 11, against stand-ins."""

import dataclasses

import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.build import DEFAULT_CAPABILITIES, BuildSettings, build, capabilities_for
from ccsn_tf.serving.tensorrt.cuda import Gpu

RTX = BuildSettings(compute_capabilities=("8.6",))


def test_int8_is_built(onnx_export):
    """As the others are by the tests below and of the export."""
    assert len(build(tensorrt_rtx, onnx_export("int8").path.read_bytes(), RTX)[0]) > 100_000


def test_profiles_inputs_and_outputs(onnx_export):
    content = onnx_export("fp32").path.read_bytes()
    settings = dataclasses.replace(RTX, batch=(2, 3, 4), segments=(1, 2, 9), workspace_mb=64, tf32=True)
    _, inputs, outputs = build(tensorrt_rtx, content, settings)
    for name, channels in (("rgb", 3), ("flow", 10)):
        assert inputs[name] == {
            "dtype": "UINT8",
            "shape": [-1, -1, 32, 32, channels],
            "profile": {
                "min": [2, 1, 32, 32, channels],
                "opt": [3, 2, 32, 32, channels],
                "max": [4, 9, 32, 32, channels],
            },
        }
    classes, embedding = ({"dtype": "FLOAT", "shape": [-1, size]} for size in (3, 8))
    assert outputs == {
        **dict.fromkeys(("logits", "scores", "spatial_logits", "temporal_logits"), classes),
        **dict.fromkeys(("spatial_embedding", "temporal_embedding"), embedding),
    }


def test_what_is_set_reaches_the_builder(onnx_export, monkeypatch):
    """Asked of the real configuration, in place of building."""
    seen = []

    class Builder:
        def __init__(self, log):
            self._builder = RealBuilder(log)

        def __getattr__(self, name):
            return getattr(self._builder, name)

        def build_serialized_network(self, network, config):
            tf32 = config.get_flag(tensorrt_rtx.BuilderFlag.TF32)
            capabilities = [config.get_compute_capability(i).name for i in range(config.num_compute_capabilities)]
            workspace = config.get_memory_pool_limit(tensorrt_rtx.MemoryPoolType.WORKSPACE)
            typed = network.get_flag(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            seen.append((tf32, capabilities, workspace, typed))

    RealBuilder = tensorrt_rtx.Builder
    monkeypatch.setattr(tensorrt_rtx, "Builder", Builder)
    for settings in (
        BuildSettings(compute_capabilities=("8.9", "12.0"), workspace_mb=48),
        BuildSettings(compute_capabilities=("8.0",), workspace_mb=1, tf32=True),
    ):
        with pytest.raises(UserError, match="cannot build an engine: it gives no reason"):
            build(tensorrt_rtx, onnx_export("fp32").path.read_bytes(), settings)
    assert seen == [(False, ["SM89", "SM120"], 48 << 20, True), (True, ["SM80"], 1 << 20, True)]


def test_a_graph_that_is_not_taken_is_an_error():
    text = """<ir_version: 8, opset_import: ["" : 17]>
        text (string[3] words, float[n, 4] x) => (float[n, 4] y, string[3] z)
        { y = Identity (x) z = StringNormalizer (words) }"""
    model = onnx_graphs.with_constants(text, {})
    with pytest.raises(UserError, match="tensorrt_rtx does not take the ONNX file: ") as error:
        build(tensorrt_rtx, model.SerializeToString(), RTX)
    assert "\n" not in str(error.value)


def test_a_build_that_fails_is_an_error_and_the_next_one_is_not(onnx_export):
    """GPUs of capability 7.5 have no float32 matrix products there."""
    content = onnx_export("fp32").path.read_bytes()
    with pytest.raises(UserError, match=r"tensorrt_rtx cannot build an engine: .*SM75") as error:
        build(tensorrt_rtx, content, BuildSettings(compute_capabilities=("7.5",)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert build(tensorrt_rtx, content, RTX)[0]


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        ({"batch": (0, 1, 2)}, "--min_batch=0, --opt_batch=1, --max_batch=2 must be in ascending order, from 1 on"),
        ({"segments": (1, 9, 8)}, "--min_segments=1, --opt_segments=9, --max_segments=8 must be in ascending order"),
    ],
)
def test_bounds_out_of_order_are_refused(bounds, sentence):
    with pytest.raises(UserError, match=sentence):
        BuildSettings(**bounds)


def wanted(*capabilities):
    return BuildSettings(compute_capabilities=capabilities)


def test_capabilities_are_those_asked_for_else_the_gpus_else_the_usual():
    assert capabilities_for(tensorrt_rtx, wanted("8.9", "7.5", "8.9"), None) == ("8.9", "7.5")
    assert capabilities_for(tensorrt_rtx, wanted(), Gpu("RTX", "12.0")) == ("12.0",)
    assert capabilities_for(tensorrt_rtx, wanted(), Gpu("H100", "9.0")) == DEFAULT_CAPABILITIES
    assert capabilities_for(tensorrt_rtx, wanted(), None) == ("8.0", "8.6", "8.9", "12.0")
    full = tensorrt_stand_ins.tensorrt()
    assert capabilities_for(full, wanted(), Gpu("H100", "9.0")) == ()
    for trt, settings, sentence in (
        (
            tensorrt_rtx,
            wanted("8.6", "9.0"),
            r"--compute_capability=9.0 is not among those that .* builds for: 7.5, 8.0",
        ),
        (full, wanted("8.6"), "--compute_capability=8.6: tensorrt builds for the GPU that it runs on: leave the flag"),
        (full, wanted(), "tensorrt builds on a GPU, and there is none here: use --module=tensorrt_rtx"),
    ):
        with pytest.raises(UserError, match=sentence):
            capabilities_for(trt, settings, None)


def test_rtx_keeps_no_timing_cache(onnx_export, tmp_path):
    settings = dataclasses.replace(RTX, timing_cache=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"--timing_cache=.*cache: tensorrt_rtx times no kernels and keeps no cache"):
        build(tensorrt_rtx, onnx_export("fp32").path.read_bytes(), settings)


@pytest.mark.parametrize("version", ["10.13.3", "11.0.0"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_calls_of_tensorrt_10_and_11(version, precision, onnx_export, tmp_path):
    trt, export = tensorrt_stand_ins.tensorrt(version), onnx_export(precision)
    settings = BuildSettings(workspace_mb=5, timing_cache=str(tmp_path / "below" / "cache"))
    plan, _, _ = build(trt, export.path.read_bytes(), settings)
    assert plan == b"PLAN" + export.path.read_bytes()
    config = trt.made[0]
    assert (config.cleared, config.pools) == (["TF32"], {"WORKSPACE": 5 << 20})
    assert config.profile.shapes["rgb"] == ((1, 1, 32, 32, 3), (1, 3, 32, 32, 3), (8, 25, 32, 32, 3))
    assert (tmp_path / "below" / "cache").read_bytes() == b"timed;"
    build(trt, export.path.read_bytes(), settings)
    assert (tmp_path / "below" / "cache").read_bytes() == b"timed;timed;"


def test_a_timing_cache_of_another_gpu_is_refused(onnx_export, tmp_path):
    (tmp_path / "cache").write_bytes(b"other")
    settings = BuildSettings(timing_cache=str(tmp_path / "cache"))
    with pytest.raises(UserError, match="was written by another TensorRT or for another GPU: delete it"):
        build(tensorrt_stand_ins.tensorrt(takes_cache=False), onnx_export("fp32").path.read_bytes(), settings)
    assert (tmp_path / "cache").read_bytes() == b"other"
