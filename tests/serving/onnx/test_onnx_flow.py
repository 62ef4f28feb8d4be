"""Networks that compute flow from frames, as ONNX files and engines: whole, and flow in float32 in every precision."""

import functools
import json

import kept_models
import keras
import layers
import numpy as np
import onnx
import onnx_graphs
import pytest
import tensorrt_rtx
import tensorrt_stand_ins
from onnx_fixtures import exporter

from ccsn_tf.config import Config, ModelConfig, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow
from ccsn_tf.serving.agreement import as_exported, compare_on_clips
from ccsn_tf.serving.batch.backends import ModelThread, choose, read_metadata
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.onnx import export as export_module
from ccsn_tf.serving.onnx import half as onnx_half
from ccsn_tf.serving.onnx.convert import to_onnx
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.graph import Graph, flow_precisions, is_of_flow, product_precisions
from ccsn_tf.serving.onnx.half import to_half
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.servers.triton import TritonSettings, make_repository
from ccsn_tf.serving.tensorrt import compare as tensorrt_compare
from ccsn_tf.serving.tensorrt import export as tensorrt_export
from ccsn_tf.serving.tensorrt import run as tensorrt_run
from ccsn_tf.serving.tensorrt.build import DEFAULT_CAPABILITIES, BuildSettings, build
from ccsn_tf.serving.tensorrt.compare import compare_engine
from ccsn_tf.serving.tensorrt.cuda import Cuda, find_gpu
from ccsn_tf.serving.tensorrt.export import export_engine

SIZE, LENGTH = 24, 2
PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def run_config(tiny_data, tiny_manifest, tmp_path_factory):
    """The Config of a work directory with a model that computes flow: of the iterations, which are alike, a few."""
    workdir = tmp_path_factory.mktemp("flow") / "run"
    settings = ModelConfig(
        image_size=SIZE, flow_length=LENGTH, num_segments=2, embedding_dim=8, attention_heads=2, flow_source="graph"
    )
    config = Config(data=tiny_data, model=settings, train=TrainConfig(workdir=str(workdir)))
    workdir.mkdir()
    flow = TVL1Flow(levels=2, warps=1, iterations=2)
    model = CCSN(
        tiny_manifest.classes,
        flow_source="graph",
        flow=flow,
        **{name: getattr(settings, name) for name in ("image_size", "flow_length", "embedding_dim", "attention_heads")},
    )
    layers.randomise_in_scale(model)
    model.save(workdir / "model.keras")
    (workdir / "config.json").write_text(config.to_json())
    return config


@pytest.fixture(scope="module")
def flow_export(run_config, tmp_path_factory):
    """Exports that model in a precision, once."""
    return exporter(run_config, tmp_path_factory.mktemp("flow"))


@pytest.fixture
def clips(run_config, tiny_manifest):
    with clips_to_try(run_config, tuple(tiny_manifest.classes), 4, must_be_real=True) as found:
        yield found


def test_float32_answers_as_keras_does(flow_export, run_config, clips):
    export = flow_export("fp32")
    (frames,) = onnx.load(export.path).graph.input
    shape = [axis.dim_param or axis.dim_value for axis in frames.type.tensor_type.shape.dim]
    assert (frames.name, shape) == ("frames", ["batch", "segments", LENGTH + 1, SIZE, SIZE, 3])
    assert frames.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert export.report["comparison"]["limit"] == 1e-3
    trained = kept_models.as_exported(kept_models.load_model(f"{run_config.train.workdir}/model.keras"))
    again = compare_on_clips(OnnxModel(str(export.path)), trained, clips, (4,), (3,), 1e-3)
    assert len(again["largest"]) == 6


def test_flow_differs_by_the_rounding_of_single_values_at_most(flow_export, run_config, clips):
    """What the limit of 1e-3 is for: values on the edge between two of the 255 steps."""
    model = kept_models.load_model(f"{run_config.train.workdir}/model.keras")
    stored = next(layer for layer in model.layers if isinstance(layer, QuantizedFlow))
    inputs = {name: values[:4] for name, values in clips.arrays(3).items()}
    wanted = np.asarray(keras.Model(model.inputs, stored.output)(inputs))
    whole = onnx.load(flow_export("fp32").path)
    (rounding,) = (node for node in whole.graph.node if node.op_type == "Round" and "quantized_flow" in node.name)
    before, after = rounding.input[0], rounding.output[0]
    values = onnx_graphs.run(whole, inputs, watch=(before, after))
    exact, found = values[before], values[after]
    assert np.abs(exact - wanted).max() < 0.51
    otherwise = np.abs(found - wanted)
    assert otherwise.max() <= 1 and np.count_nonzero(otherwise) < 1e-3 * otherwise.size


def test_the_clips_have_motion_that_the_scores_depend_on(flow_export, clips):
    """Else the comparisons would prove nothing of flow."""
    model, inputs = OnnxModel(str(flow_export("fp32").path)), clips.arrays(2)
    still = {"frames": np.repeat(inputs["frames"][:, :, :1], LENGTH + 1, axis=2)}
    assert np.abs(model(inputs)["temporal_logits"] - model(still)["temporal_logits"]).max() > 0.01


@pytest.mark.parametrize("precision", PRECISIONS)
def test_flow_stays_float32_and_is_the_same_to_the_last_bit(precision, flow_export, clips):
    export, whole = flow_export(precision), onnx.load(flow_export("fp32").path)
    model = onnx.load(export.path)
    found = flow_precisions(model)
    assert set(found.values()) == {"fp32"} and export.report["flow"] == {"fp32": len(found)}
    assert len(found) == len(flow_precisions(whole)) > 100 and not set(found) & set(product_precisions(model))
    counts = {"fp32": {"fp32": 27}, "int8": {"int8": 6, "fp32": 21}}.get(precision, {precision: 22, "fp32": 5})
    assert export.report["products"] == counts
    watched, inputs = flow_tensor(whole), clips.arrays(2)
    flow = onnx_graphs.run(whole, inputs, [watched])[watched]
    assert np.ptp(flow) > 1
    np.testing.assert_array_equal(onnx_graphs.run(model, inputs, [watched])[watched], flow)


def flow_tensor(model):
    """The layer's result: what it makes and others read."""
    graph = Graph(model)
    (found,) = {
        name
        for node in model.graph.node
        if not is_of_flow(node.name) and "quantized_flow" in node.name
        for name in node.input
        if graph.types[name] == onnx.TensorProto.FLOAT
        and name in graph.producers
        and is_of_flow(graph.producers[name].name)
    }
    return found


def test_flow_in_half_precision_is_refused(flow_export, run_config, monkeypatch, tmp_path):
    whole = flow_export("fp32").path
    monkeypatch.setattr(export_module, "to_onnx", lambda model: onnx.load(whole))
    stays, sums = onnx_half.float32_tensors, ("Add", "Sub")

    def all_but_sums_of_flow(model, graph):
        return stays(model, graph) - {n.output[0] for n in model.graph.node if is_of_flow(n.name) and n.op_type in sums}

    monkeypatch.setattr(onnx_half, "float32_tensors", all_but_sums_of_flow)
    with pytest.raises(UserError, match="--precision=fp16 reached the flow that the network computes: use fp32"):
        export_onnx(run_config, OnnxSettings(str(tmp_path / "model.onnx"), "fp16"))


def test_as_a_backend_it_takes_frames(flow_export, clips):
    export, inputs = choose([str(flow_export("fp32").path)]), clips.arrays(3)
    assert (export.backend, read_metadata(export)["flow_source"]) == ("onnx", "graph")
    thread = ModelThread(export)
    scores = thread.submit(inputs).result()
    thread.close()
    np.testing.assert_allclose(scores, OnnxModel(export.path)(inputs)["scores"], atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_takes_frames(precision, flow_export, tmp_path):
    capabilities = (DEFAULT_CAPABILITIES[0], DEFAULT_CAPABILITIES[-1])  # all: test_the_layer_as_it_is_used
    settings = BuildSettings(compute_capabilities=capabilities)
    built = export_engine(tensorrt_rtx, str(flow_export(precision).path), str(tmp_path / "model.plan"), settings)
    assert built["compute_capabilities"] == list(capabilities)
    assert list(built["inputs"]) == ["frames"] and built["model"]["flow_source"] == "graph"
    assert built["products"] == ({"fp32": 27} if precision == "fp32" else {"fp16": 22, "fp32": 5})


def test_where_there_is_a_gpu_it_is_run_on_frames(flow_export, run_config, monkeypatch, tmp_path):
    driver = tensorrt_stand_ins.Driver()
    monkeypatch.setattr(tensorrt_export, "find_gpu", lambda: find_gpu(driver))
    monkeypatch.setattr(tensorrt_run, "Cuda", lambda: Cuda(driver))
    kept_models.keep(monkeypatch, tensorrt_compare)
    path = str(flow_export("fp32").path)
    compare = functools.partial(compare_engine, onnx_path=path, workdir=run_config.train.workdir)
    settings, trt = BuildSettings(batch=(1, 2, 4)), tensorrt_stand_ins.tensorrt()
    run = export_engine(trt, path, str(tmp_path / "model.plan"), settings, compare=compare)["run"]
    assert run["batches"] == [1, 3, 4] and len(run["largest"]) == 6 and max(run["largest"].values()) < 1e-4


def test_tritons_configuration_has_frames(flow_export, tmp_path):
    version = make_repository(str(flow_export("fp32").path), str(tmp_path), TritonSettings())
    text = (version.parent / "config.pbtxt").read_text()
    shape = f"{LENGTH + 1}, {SIZE}, {SIZE}, 3 ]"
    assert f'{{ name: "frames" data_type: TYPE_UINT8 dims: [ -1, {shape} }}' in text
    segments = json.loads(onnx.load(flow_export("fp32").path).metadata_props[0].value)["segments"]
    assert f"data_type: TYPE_UINT8 dims: [ {segments}, {shape} zero_data: true" in text and '"rgb"' not in text


@pytest.mark.slow
@pytest.mark.timeout(3600)  # nine minutes where it has a core to itself
def test_the_layer_as_it_is_used():
    """All levels, warps and iterations."""
    model = CCSN(["a", "b", "c"], image_size=64, flow_length=3, flow_source="graph")
    layers.randomise_in_scale(model)
    whole = to_onnx(model)
    inputs = {"frames": np.random.default_rng(0).integers(0, 256, (1, 2, 4, 64, 64, 3)).astype("uint8")}
    wanted, found = as_exported(model)(inputs), onnx_graphs.run(whole, inputs)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-3, err_msg=name)
    for precision in ("fp32", "fp16"):
        graph = whole if precision == "fp32" else to_half(whole)
        settings = BuildSettings(compute_capabilities=DEFAULT_CAPABILITIES)
        assert build(tensorrt_rtx, graph.SerializeToString(), settings)[0]
        assert set(flow_precisions(graph).values()) == {"fp32"}
