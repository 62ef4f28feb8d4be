"""Exports of a small model with real records, in every precision, with their proofs."""

import dataclasses
import json
import os
import subprocess
import sys

import kept_models
import numpy as np
import onnx
import pytest

from ccsn_tf.config import RUN_INDEPENDENT
from ccsn_tf.errors import UserError
from ccsn_tf.serving import agreement
from ccsn_tf.serving.agreement import compare_on_clips
from ccsn_tf.serving.client.config import client_config
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import weights_hash
from ccsn_tf.serving.onnx import export as export_module
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.graph import precision_of, product_precisions
from ccsn_tf.serving.onnx.session import OnnxModel

PRECISIONS = ("fp32", "fp16", "int8")
CLASSES = ("MoveDown", "MoveLeft", "MoveRight")


@pytest.fixture(scope="module")
def trained(workdir_config):
    return kept_models.load_model(f"{workdir_config.train.workdir}/model.keras")


@pytest.fixture
def converted(onnx_export, monkeypatch):
    """Spares the tests that use it the conversion and the rest that `onnx_export` has gone through."""
    path = onnx_export("fp32").path
    kept_models.keep(monkeypatch, export_module, agreement)
    monkeypatch.setattr(export_module, "to_onnx", lambda model: onnx.load(path))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_file_computes_what_its_report_says(precision, onnx_export, trained, workdir_config):
    export = onnx_export(precision)
    model = onnx.load(export.path)
    onnx.checker.check_model(model, full_check=True)
    assert precision_of(model) == precision
    counts = export.report["products"]
    assert sum(counts.values()) == len(product_precisions(model)) == 27
    # Tiny has five convolutions a stream, of which two stay float32 in int8; attention has 12 products, the heads 5.
    assert counts == {"fp32": {"fp32": 27}, "int8": {"int8": 6, "fp32": 21}}.get(precision, {precision: 22, "fp32": 5})
    assert export.report["opset"] == 17
    with clips_to_try(workdir_config, CLASSES, 7, must_be_real=True) as clips:
        again = compare_on_clips(
            OnnxModel(str(export.path)), kept_models.as_exported(trained), clips, (1, 3, 7), (2, 4), None
        )
    for name, difference in export.report["comparison"]["largest"].items():
        assert again["largest"][name] == pytest.approx(difference, rel=0.05, abs=2e-6)
    assert len(again["largest"]) == 6


def test_float32_is_within_the_limit_and_lower_precisions_differ_by_more(onnx_export):
    largest = {name: max(onnx_export(name).report["comparison"]["largest"].values()) for name in PRECISIONS}
    assert largest["fp32"] < 1e-4 == onnx_export("fp32").report["comparison"]["limit"]
    assert largest["fp32"] < largest["fp16"] < largest["int8"] < 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_file_says_all_that_a_client_needs(precision, onnx_export, trained, workdir_config):
    (entry,) = onnx.load(onnx_export(precision).path).metadata_props
    metadata = json.loads(entry.value)
    assert metadata["classes"] == list(CLASSES) and metadata["precision"] == precision
    assert metadata["weights_sha256"] == weights_hash(trained)
    assert metadata["onnx"] == onnx_export(precision).report
    groups = json.loads(workdir_config.to_json()).items()
    trained_with = {
        group: {n: v for n, v in settings.items() if n not in RUN_INDEPENDENT} for group, settings in groups
    }
    assert metadata["training"] == trained_with
    config = client_config(metadata)
    assert (config.data.flow, config.model.image_size, config.eval.test_segments) == ("dis", 32, 3)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_agreement_is_over_all_test_clips(precision, onnx_export):
    agreement = onnx_export(precision).report["agreement"]
    assert agreement["num_clips"] == 6 and agreement["segments"] == 2
    assert agreement["fused"]["top1_reference"] == onnx_export("fp16").report["agreement"]["fused"]["top1_reference"]
    assert 0 < agreement["fused"]["mean_change"] <= agreement["fused"]["largest_change"] < 0.5
    assert "agreement" not in onnx_export("fp32").report


def test_reference_scores_lie_beside_the_files_and_serve_all_of_them(onnx_export, converted, workdir_config):
    folder = onnx_export("fp16").path.parent
    assert (folder / "reference_scores.npz").is_file()
    steps = []
    settings = OnnxSettings(str(folder / "again.onnx"), "fp16", min_agreement=0.01, must_be_real=True)
    export_onnx(workdir_config, settings, lambda name: lambda done, total: steps.append(name))
    assert set(steps) == {"score in fp16"}


def test_too_little_agreement_is_an_error_and_leaves_nothing(workdir_config, converted, tmp_path):
    settings = OnnxSettings(str(tmp_path / "model.onnx"), "int8", calibration_clips=2, min_agreement=1.01)
    with pytest.raises(UserError, match=r"In int8 \d+\.\d\d % of the test clips keep their best class, fewer than 101"):
        export_onnx(workdir_config, settings)
    assert os.listdir(tmp_path) == ["reference_scores.npz"]


def test_a_difference_beyond_the_limit_is_an_error(workdir_config, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "LIMIT", 1e-9)
    with pytest.raises(UserError, match=r"differs from the trained one by .* more than 1e-09"):
        export_onnx(workdir_config, OnnxSettings(str(tmp_path / "model.onnx")))
    assert not os.listdir(tmp_path)


def test_default_names(workdir_config, converted, tmp_path):
    moved = workdir_config.replace(workdir=str(tmp_path))
    for name in ("model.keras", "config.json"):
        os.link(f"{workdir_config.train.workdir}/{name}", tmp_path / name)
    export = export_onnx(moved, OnnxSettings(precision="fp16", evaluate=False))
    assert export.path == tmp_path / "model.fp16.onnx" and "agreement" not in export.report
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.fp16.onnx", "model.fp16.onnx.sha256", "model.keras"]


@pytest.mark.parametrize(
    ("changes", "config_changes", "sentence"),
    [
        ({"precision": "fp16"}, {"record_dir": "/does/not/exist"}, "holds no finished records"),
        ({"precision": "int8", "evaluate": False}, {"record_dir": "/does/not/exist"}, "holds no finished records"),
        ({"must_be_real": True}, {"record_dir": "/does/not/exist"}, "holds no finished records"),
        ({"precision": "int8", "float_convolutions": 9}, {}, "--float_convolutions=9 leaves no convolution"),
        ({}, {"workdir": "/does/not/exist"}, "model.keras is missing"),
        ({"output": "/"}, {}, "--output=/ is a folder: name a file"),
    ],
)
def test_mistakes(changes, config_changes, sentence, workdir_config, converted, tmp_path):
    settings = dataclasses.replace(OnnxSettings(str(tmp_path / "model.onnx")), **changes)
    with pytest.raises(UserError, match=sentence):
        export_onnx(workdir_config.replace(**config_changes), settings)
    assert not os.listdir(tmp_path)


def test_without_records_float32_is_tried_on_rendered_clips(workdir_config, converted, tmp_path):
    export = export_onnx(workdir_config.replace(record_dir=str(tmp_path)), OnnxSettings(str(tmp_path / "model.onnx")))
    assert "rendered" in export.report["comparison"]["clips"] and export.path.is_file()


def test_comparison_keeps_what_is_no_number(workdir_config):
    values = iter([0.5, np.nan, 0.25])

    def exported(inputs):
        return {"logits": np.full((len(inputs["rgb"]), 3), next(values), "float32")}

    def trained(inputs):
        return {"logits": np.zeros((len(inputs["rgb"]), 3), "float32")}

    with (
        clips_to_try(workdir_config, CLASSES, 3, must_be_real=True) as clips,
        pytest.raises(UserError, match="differs from the trained one by nan in logits: it overflows"),
    ):
        compare_on_clips(exported, trained, clips, (1, 2, 3), (1,), None)


def test_exported_file_runs_in_a_process_without_tensorflow(onnx_export, tmp_path):
    """What a client needs is in the file: ONNX Runtime and NumPy are enough."""
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = sys.modules['onnx'] = None\n"
        "import numpy as np\nfrom ccsn_tf.serving.onnx.session import OnnxModel\n"
        "model = OnnxModel(sys.argv[1]); m = model.metadata; s = m['image_size']\n"
        "out = model({'rgb': np.zeros((2, 3, s, s, 3), 'uint8'), 'flow': np.zeros((2, 3, s, s, 10), 'uint8')})\n"
        "np.save(sys.argv[2], out['scores'])"
    )
    path = str(onnx_export("fp32").path)
    subprocess.run([sys.executable, "-c", code, path, str(tmp_path / "scores.npy")], check=True)
    inputs = {name: np.zeros((2, 3, 32, 32, count), "uint8") for name, count in (("rgb", 3), ("flow", 10))}
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), OnnxModel(path)(inputs)["scores"], atol=1e-6)
