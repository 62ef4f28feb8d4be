"""Exports of a small model with real records, in every precision, with their proofs."""

import dataclasses
import json
import os

import kept_models
import numpy as np
import onnx
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving import agreement
from ccsn_tf.serving.agreement import compare_on_clips
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import client_config, weights_hash
from ccsn_tf.serving.onnx import export as export_module
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.graph import precision_of, product_precisions
from ccsn_tf.serving.onnx.session import OnnxModel

PRECISIONS = ("fp32", "fp16", "int8")
CLASSES = ("MoveDown", "MoveLeft", "MoveRight")


@pytest.fixture
def converted(onnx_export, monkeypatch):
    """Spares the tests that use it the conversion and the rest that `onnx_export` has gone through."""
    path = onnx_export("fp32").path
    kept_models.keep(monkeypatch, export_module, agreement)
    monkeypatch.setattr(export_module, "to_onnx", lambda model: onnx.load(path))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_file_is_what_its_report_says(precision, onnx_export):
    export = onnx_export(precision)
    model = onnx.load(export.path)
    onnx.checker.check_model(model, full_check=True)
    assert precision_of(model) == precision
    counts = export.report["products"]
    assert sum(counts.values()) == len(product_precisions(model)) == 27
    # Tiny has five convolutions a stream, of which two stay float32 in int8; attention has 12 products, the heads 5.
    assert counts == {"fp32": {"fp32": 27}, "int8": {"int8": 6, "fp32": 21}}.get(precision, {precision: 22, "fp32": 5})
    assert export.report["opset"] == 17
    assert len(export.report["comparison"]["largest"]) == 6


def test_file_says_all_that_a_client_needs(onnx_export, workdir_config):
    (entry,) = onnx.load(onnx_export("int8").path).metadata_props
    metadata = json.loads(entry.value)
    assert metadata["classes"] == list(CLASSES) and metadata["precision"] == "int8"
    assert metadata["weights_sha256"] == weights_hash(
        kept_models.load_model(f"{workdir_config.train.workdir}/model.keras")
    )
    assert metadata["onnx"] == onnx_export("int8").report
    config = client_config(metadata)
    assert (config.data.flow, config.model.image_size, config.eval.test_segments) == ("dis", 32, 3)


def test_lower_precisions_differ_by_more_and_agree_on_the_test_clips(onnx_export):
    reports = {name: onnx_export(name).report for name in PRECISIONS}
    largest = {name: max(report["comparison"]["largest"].values()) for name, report in reports.items()}
    assert largest["fp32"] < 1e-4 == reports["fp32"]["comparison"]["limit"]
    assert largest["fp32"] < largest["fp16"] < largest["int8"] < 1
    assert "agreement" not in reports["fp32"]
    for precision in PRECISIONS[1:]:
        agreement = reports[precision]["agreement"]
        assert agreement["num_clips"] == 6 and agreement["segments"] == 2
        assert agreement["fused"]["top1_reference"] == reports["fp16"]["agreement"]["fused"]["top1_reference"]


def test_too_little_agreement_is_an_error_and_leaves_nothing(workdir_config, converted, tmp_path):
    settings = OnnxSettings(str(tmp_path / "model.onnx"), "int8", calibration_clips=2, min_agreement=1.01)
    with pytest.raises(UserError, match=r"In int8 \d+\.\d\d % of the test clips keep their best class, fewer than 101"):
        export_onnx(workdir_config, settings)
    assert not os.listdir(tmp_path)


def test_a_difference_beyond_the_limit_is_an_error(workdir_config, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "LIMITS", {"stored": 1e-9})
    with pytest.raises(UserError, match=r"differs from the trained one by .* more than 1e-09"):
        export_onnx(workdir_config, OnnxSettings(str(tmp_path / "model.onnx")))
    assert not os.listdir(tmp_path)


def test_two_parts_beside_it_watch_a_stream(onnx_export):
    export = onnx_export("fp32")
    largest = export.report["stream"]["largest"]
    assert len(largest) == 6 and max(largest.values()) < 1e-4
    for part in ("snippet", "answer"):
        path = export.path.with_suffix(f".{part}.onnx")
        assert OnnxModel(str(path)).metadata["part"] == part and path.with_name(f"{path.name}.sha256").exists()
        assert not onnx_export("fp16").path.with_suffix(f".{part}.onnx").exists()


def test_default_names(workdir_config, converted, tmp_path):
    moved = workdir_config.replace(workdir=str(tmp_path))
    for name in ("model.keras", "config.json"):
        os.link(f"{workdir_config.train.workdir}/{name}", tmp_path / name)
    export = export_onnx(moved, OnnxSettings(precision="fp16", evaluate=False))
    assert export.path == tmp_path / "model.fp16.onnx" and "agreement" not in export.report
    written = [f"model.fp16.onnx{suffix}" for suffix in ("", ".MODEL_CARD.md", ".sha256")]
    assert sorted(os.listdir(tmp_path)) == ["config.json", *written, "model.keras"]


@pytest.mark.parametrize(
    ("changes", "config_changes", "sentence"),
    [
        ({"precision": "fp16"}, {"record_dir": "/does/not/exist"}, "holds no finished records"),
        ({"precision": "int8", "evaluate": False}, {"record_dir": "/does/not/exist"}, "holds no finished records"),
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
