"""Files that ONNX Runtime is asked to run: ours, and others."""

import hashlib
import pathlib
import types

import numpy as np
import onnx
import onnx_graphs
import onnxruntime
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.onnx.session import OnnxModel, read_onnx, set_metadata


@pytest.fixture
def ours(tmp_path):
    model = onnx_graphs.network()
    set_metadata(model, {"classes": ["läuft", 'say "no"']})
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_file_of_ours_runs_and_says_what_it_is(ours):
    model, inputs = OnnxModel(str(ours)), onnx_graphs.pixels()
    assert model.metadata == {"classes": ["läuft", 'say "no"']}
    outputs = model(inputs)
    assert list(outputs) == ["logits"] and outputs["logits"].shape == (2, 2)
    np.testing.assert_allclose(outputs["logits"], onnx_graphs.run(onnx.load(ours), inputs)["logits"], atol=1e-5)
    np.testing.assert_array_equal(OnnxModel(ours.read_bytes())(inputs)["logits"], outputs["logits"])
    content, proto, metadata = read_onnx(str(ours))
    assert content == ours.read_bytes() and metadata == model.metadata and len(proto.graph.node) == 19


@pytest.mark.parametrize("read", [OnnxModel, read_onnx], ids=["run", "read"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("missing", "is missing: name a file that export/to_onnx.py wrote"),
        ("foreign", "was not written by export/to_onnx.py"),
        ("cut", "is damaged or no ONNX file"),
    ],
)
def test_other_files_are_refused_in_one_sentence(read, fault, sentence, ours, tmp_path):
    path = tmp_path / "other.onnx"
    if fault == "foreign":
        onnx.save(onnx_graphs.network(), path)
    elif fault == "cut":
        path.write_bytes(ours.read_bytes()[:700])
    with pytest.raises(UserError) as error:
        read(str(path))
    assert sentence in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


@pytest.fixture
def runtime(monkeypatch):
    """ONNX Runtime with providers for a GPU, for which the CPU computes; those in `lost` do not start."""
    asked, lost, real = [], [], onnxruntime.InferenceSession

    class Session(real):
        def __init__(self, source, options, providers):
            asked.append(dict(providers))
            super().__init__(source, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return [name for name in asked[-1] if name not in lost]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(GPU))
    return types.SimpleNamespace(asked=asked, lost=lost)


@pytest.mark.parametrize(
    "source, inputs", [("stored", "rgb:{}x25x32x32x3,flow:{}x25x32x32x10"), ("graph", "frames:{}x25x6x32x32x3")]
)
def test_tensorrt_is_asked_for_an_engine_of_the_batches_and_keeps_it(source, inputs, ours, runtime):
    metadata = {"image_size": 32, "flow_length": 5, "flow_source": source, "precision": "int8"}
    model = onnx.load(ours)
    set_metadata(model, metadata)
    onnx.save(model, ours)
    found = OnnxModel(str(ours), providers=GPU, clips=(8, 25))
    assert found.metadata == metadata and found(onnx_graphs.pixels())["logits"].shape == (2, 2)
    options = runtime.asked[-1]
    assert list(options) == list(GPU) and options["CUDAExecutionProvider"] == options["CPUExecutionProvider"] == {}
    told = options["TensorrtExecutionProvider"]
    digest = hashlib.sha256(ours.read_bytes()).hexdigest()[:16]
    cache = told.pop("trt_engine_cache_path")
    assert cache == f"{ours}.tensorrt/{digest}-{onnxruntime.__version__}" and pathlib.Path(cache).is_dir()
    assert told == {
        "trt_engine_cache_enable": True,
        "trt_profile_min_shapes": inputs.format(1, 1),
        "trt_profile_opt_shapes": inputs.format(8, 8),
        "trt_profile_max_shapes": inputs.format(8, 8),
        "trt_int8_enable": True,
    }


def test_a_provider_that_is_not_there_or_does_not_start(ours, runtime, monkeypatch):
    with pytest.raises(UserError, match=r"^--providers=CUDAExecutionProvider cannot run .*other.onnx \([^\n]*$"):
        (ours.parent / "other.onnx").write_bytes(b"hello")
        OnnxModel(str(ours.parent / "other.onnx"), providers=GPU[1:2])
    runtime.lost.append("CUDAExecutionProvider")
    with pytest.raises(UserError, match=r"^--providers=CUDAExecutionProvider cannot be started here: [^\n]*$"):
        OnnxModel(str(ours), providers=GPU[1:])
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"^--providers=TensorrtExecutionProvider,CUDAExecutionProvider is not among"):
        OnnxModel(str(ours), providers=GPU)
