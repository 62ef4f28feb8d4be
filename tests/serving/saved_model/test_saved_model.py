"""The export as a whole: versions, what is inside, and nothing left behind where it fails."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import kept_models
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import client_config
from ccsn_tf.serving.saved_model import export as saved_model
from ccsn_tf.serving.saved_model import fresh_process, verify
from ccsn_tf.serving.saved_model.export import export_saved_model
from ccsn_tf.serving.saved_model.fresh_process import Answer, Request
from ccsn_tf.serving.saved_model.signatures import ServedModel


def quick(config, folder, **options):
    return export_saved_model(config, str(folder), **{"check": False, "warmup": False, **options})


@pytest.fixture
def no_graph(monkeypatch):
    """For tests of the folders: makes no graph, which takes seconds, and reads the model once."""

    def save(self, path):
        pathlib.Path(path, "saved_model.pb").write_text(f"graph {np.random.default_rng().random()}")

    monkeypatch.setattr(ServedModel, "save", save)
    monkeypatch.setattr(ServedModel, "__init__", lambda self, network, metadata: setattr(self, "widths", {}))
    monkeypatch.setattr(saved_model, "fold_batch_norms", lambda model: model)
    kept_models.keep(monkeypatch, saved_model)


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_metadata_is_all_that_a_client_needs(exported):
    metadata, config = exported.metadata, exported.config
    assert metadata["classes"] == exported.model.classes
    assert (metadata["image_size"], metadata["flow_length"], metadata["segments"]) == (32, 5, 3)
    assert metadata["training"]["model"] == json.loads(json.dumps(dataclasses.asdict(config.model)))
    assert metadata["evaluation"] is None
    for path in (config.data.video_dir, config.data.record_dir, config.train.workdir):  # nobody's business
        assert len(path) > 1 and path not in json.dumps(metadata)
    digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in exported.model.weights))
    assert metadata["weights_sha256"] == digest.hexdigest()
    assert json.loads((exported.path / "assets.extra" / "ccsn.json").read_text()) == metadata
    made = client_config(metadata)
    for name in ("short_side", "flow", "dis_preset", "dis_finest_scale", "flow_bound", "jpeg_quality"):
        assert getattr(made.data, name) == getattr(config.data, name)
    assert (made.model.flow_length, made.eval.test_segments) == (5, 3)


def test_metadata_says_that_frames_are_taken(exported_frames):
    metadata = dict(exported_frames.metadata)
    assert (metadata["flow_source"], metadata["format"]) == ("graph", 1)
    assert metadata["preprocessing"] == {"short_side": 32, "flow_stride": 1, "jpeg_quality": 95}
    assert metadata["layout"].keys() == {"frames", "jpeg", "crop", "sampling"}
    limits = {"segments_a_request": 64, "pixels_a_jpeg": 2**22, "pixels_a_request": 2**28, "scans_a_jpeg": 16}
    assert metadata["limits"] == limits
    assert client_config(metadata).model.flow_source == "graph"
    del metadata["flow_source"]  # as exports have it that were written before there was a choice
    assert client_config(metadata).model.flow_source == "stored"


def test_evaluation_travels_along(workdir_config, tmp_path, no_graph):
    workdir = tmp_path / "run"
    shutil.copytree(workdir_config.train.workdir, workdir)
    config = workdir_config.replace(workdir=str(workdir))
    (workdir / "evaluation.json").write_text('{"fused": {"top1": 0.5}}')
    assert quick(config, tmp_path / "model").metadata["evaluation"] == {"fused": {"top1": 0.5}}
    (workdir / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation\.json cannot be read .*: run evaluate\.py"):
        quick(config, tmp_path / "model")


def test_versions_count_up_and_are_never_overwritten(workdir_config, tmp_path, no_graph):
    assert quick(workdir_config, tmp_path).path.name == "1"
    (tmp_path / "notes").mkdir()
    (tmp_path / "0012").mkdir()
    assert quick(workdir_config, tmp_path).path.name == "13"
    assert quick(workdir_config, tmp_path, version=7).path.name == "7"
    before = (tmp_path / "7" / "saved_model.pb").read_bytes()
    with pytest.raises(UserError, match=r"/7 exists: leave --version out, which takes 14"):
        quick(workdir_config, tmp_path, version=7)
    assert (tmp_path / "7" / "saved_model.pb").read_bytes() == before
    assert names(tmp_path) == ["0012", "1", "13", "7", "notes"]


def test_flow_is_compiled_by_default_where_that_works(frames_config, workdir_config, tmp_path, no_graph, monkeypatch):
    """What it computes: test_loader.py; its flag for TensorFlow Serving: tests/export/test_tf_serving_files.py."""
    for works in (True, False):
        monkeypatch.setattr(saved_model, "xla_works", lambda works=works: works)
        assert quick(frames_config, tmp_path / "model").metadata["xla"] == works
    for config, sentence in (
        (frames_config, r"^--xla: XLA does not work on this machine .* leave it out\.$"),
        (workdir_config, r"--xla is for models that compute flow .* leave it out"),
    ):
        with pytest.raises(UserError, match=sentence):
            quick(config, tmp_path / "model2", xla=True)
    assert not (tmp_path / "model2").exists()


def test_two_exports_at_once_do_not_meet_and_what_a_killed_one_left_is_removed(workdir_config, tmp_path, no_graph):
    (tmp_path / ".123.1" / "variables").mkdir(parents=True)
    (tmp_path / ".keep").mkdir()
    with only_process(tmp_path), pytest.raises(UserError, match=rf"{tmp_path} is in use by process \d+"):
        quick(workdir_config, tmp_path)
    assert quick(workdir_config, tmp_path).path.name == "1"
    assert names(tmp_path) == [".keep", "1"]


def answering(path, requests):
    """What `verify.ask` answers, without the fresh process."""
    signatures = kept_models.load_saved_model(path).signatures
    return [
        Answer({name: value.numpy() for name, value in signatures[request.signature](**request.inputs).items()})
        for request in requests
    ]


def test_one_answer_moved_by_more_than_rounding_is_noticed(exported, monkeypatch):
    def moved(path, requests):
        for request, answer in zip(requests, answering(path, requests), strict=True):
            if request.signature == "jpeg":
                answer.outputs["spatial_scores"] += np.float32(1e-4)
            yield answer

    monkeypatch.setattr(verify, "ask", lambda *asked: list(moved(*asked)))
    with (
        clips_to_try(exported.config, tuple(exported.model.classes), 7, must_be_real=True) as clips,
        pytest.raises(UserError, match=r"by 1.0e-04 in jpeg, .*not those of the input pipeline"),
    ):
        verify.verify(str(exported.path), exported.model, exported.metadata, clips)


def test_no_number_and_an_answer_that_contradicts_itself_are_no_agreement():
    scores = np.array([[0.2, 0.5, 0.3]], np.float32)
    wanted, metadata = {"scores": scores}, {"classes": ["a", "b", "c"], "top_k": 2}
    top = {"indices": np.array([[1, 2]]), "scores": scores[:, [1, 2]], "labels": np.array([[b"b", b"c"]], object)}
    good = {"scores": scores, **{f"top_{name}": value for name, value in top.items()}}
    assert verify.compare(Answer(good), wanted, metadata) == 0
    for change in (
        {"top_indices": np.array([[1, 0]])},
        {"top_labels": np.array([[b"b", b"a"]], object)},
        {"top_scores": scores[:, [2, 1]]},
    ):
        assert verify.compare(Answer({**good, **change}), wanted, metadata) == np.inf
    wanted = {"spatial_embedding": np.ones((2, 3), np.float32)}
    assert np.isnan(verify.compare(Answer({"spatial_embedding": np.full((2, 3), np.nan)}), wanted, {}))
    assert verify.compare(Answer({"spatial_embedding": np.ones((1, 3))}), wanted, {}) == np.inf


def test_an_export_that_refuses_is_removed(workdir_config, tmp_path, no_graph, monkeypatch):
    def refusing(path, requests):
        return [Answer({}, "INVALID_ARGUMENT:\n no") for _ in requests]

    monkeypatch.setattr(verify, "ask", refusing)
    with pytest.raises(UserError, match="refuses a request of metadata: INVALID_ARGUMENT: no"):
        export_saved_model(workdir_config, str(tmp_path / "model"))
    assert names(tmp_path / "model") == []


def test_a_model_that_cannot_be_loaded(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "cut")
    graph = tmp_path / "cut" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut cannot be loaded in a fresh process: \S+"):
        verify.ask(str(tmp_path / "cut"), [Request("metadata", {"request": np.zeros(1, np.int32)})])


def test_without_records_clips_are_rendered(exported, workdir_config, tmp_path, no_graph):
    elsewhere = workdir_config.replace(record_dir=str(tmp_path / "gone"))
    with clips_to_try(elsewhere, exported.metadata["classes"], 7, must_be_real=False) as clips:
        assert clips.source.startswith("clips rendered") and len({clip.name for clip in clips.stored}) == 7
        assert clips.arrays(3)["flow"].shape == (7, 3, 32, 32, 10) and clips.jpegs(3)["flow"].shape == (7, 3, 5)
    with pytest.raises(UserError, match="gone holds no finished records"):
        quick(elsewhere, tmp_path / "model", warmup=True, must_be_real=True)


def test_the_fresh_process_has_neither_package_nor_keras():
    """Were they there, the check would prove less than it says."""
    head = pathlib.Path(fresh_process.__file__).read_text().split("import numpy")[0]
    tries = "".join(
        f"\ntry:\n  import {name}\n  raise SystemExit(1)\nexcept ImportError: pass" for name in ("ccsn_tf", "keras")
    )
    subprocess.run([sys.executable, "-I", "-c", head + tries], check=True)


def test_bad_input(workdir_config, tmp_path):
    with pytest.raises(UserError, match="--export_dir is not given"):
        quick(workdir_config, "")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file: name a folder"):
        quick(workdir_config, tmp_path / "file")
    with pytest.raises(UserError, match=r"model.keras is missing"):
        quick(workdir_config.replace(workdir=str(tmp_path)), tmp_path / "model")
    with pytest.raises(UserError, match="--max_segments=20 is less than the 28"):
        quick(workdir_config, tmp_path / "model", max_segments=20)
    with pytest.raises(UserError, match="--max_segments=100 is less than the 101"):
        quick(workdir_config.replace(test_segments=101), tmp_path / "model", max_segments=100)
    assert not (tmp_path / "model").exists()
