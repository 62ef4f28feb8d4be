"""The export as a whole: versions, what is inside, and nothing left behind where it fails."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import kept_models
import keras
import numpy as np
import pytest
import serving_requests
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process
from ccsn_tf.models.build import load_model
from ccsn_tf.serving.client.config import client_config
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.onnx.folding import Folding
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
        pathlib.Path(path).mkdir(parents=True)
        pathlib.Path(path, "saved_model.pb").write_text(f"graph {np.random.default_rng().random()}")

    monkeypatch.setattr(ServedModel, "save", save)
    monkeypatch.setattr(ServedModel, "__init__", lambda self, network, metadata: setattr(self, "widths", {}))
    monkeypatch.setattr(saved_model, "fold_batch_norms", lambda model: (model, Folding(0, {})))
    kept_models.keep(monkeypatch, saved_model)


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_what_was_verified(exported):
    report = exported.verification
    assert report["batches"] == [1, 3, 7] and report["segments"] == [2, 4]
    assert report["clips"] == "test clips of its records"
    assert set(report["largest"]) == {"serving_default", "jpeg", "embed", "snippet", "answer"}
    assert all(0 <= difference <= 1e-5 for difference in report["largest"].values())


def test_metadata_is_all_that_a_client_needs(exported):
    metadata, config = exported.metadata, exported.config
    assert metadata["classes"] == exported.model.classes
    assert (metadata["image_size"], metadata["flow_length"], metadata["segments"]) == (32, 5, 3)
    assert metadata["training"]["model"] == json.loads(config.to_json())["model"] and metadata["evaluation"] is None
    for path in (config.data.video_dir, config.data.record_dir, config.train.workdir):  # nobody's business
        assert len(path) > 1 and path not in json.dumps(metadata)
    digest = hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in exported.model.weights))
    assert metadata["weights_sha256"] == digest.hexdigest()
    made = client_config(metadata)
    for name in ("short_side", "flow", "dis_preset", "dis_finest_scale", "flow_bound", "jpeg_quality"):
        assert getattr(made.data, name) == getattr(config.data, name)
    assert (made.model.flow_length, made.eval.test_segments) == (5, 3)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"preprocessing": {"flow": "raft"}}, {"preprocessing": {"stride": 2}}]
)
def test_metadata_of_another_version_is_refused(exported, change):
    with pytest.raises(UserError, match="use the version of ccsn_tf that exported it"):
        client_config({**exported.metadata, **change})


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


def test_a_version_that_appears_meanwhile_is_kept(workdir_config, tmp_path, no_graph, monkeypatch):
    save = ServedModel.save

    def overtaken(self, path):
        save(self, path)
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "other").touch()

    monkeypatch.setattr(ServedModel, "save", overtaken)
    with pytest.raises(UserError, match=r"/1 cannot be written \(Directory not empty\)"):
        quick(workdir_config, tmp_path)
    assert names(tmp_path) == ["1"] and names(tmp_path / "1") == ["other"]


def test_two_exports_at_once_do_not_meet(workdir_config, tmp_path, no_graph):
    with only_process(tmp_path), pytest.raises(UserError, match=rf"{tmp_path} is in use by process \d+"):
        quick(workdir_config, tmp_path)


def test_what_a_killed_export_left_is_removed(workdir_config, tmp_path, no_graph):
    (tmp_path / ".123.1" / "variables").mkdir(parents=True)
    (tmp_path / ".keep").mkdir()
    assert quick(workdir_config, tmp_path).path.name == "1"
    assert names(tmp_path) == [".keep", "1"]


def answering(path, requests):
    """What `verify.ask` answers, without the fresh process."""
    signatures = kept_models.load_saved_model(path).signatures
    return [
        Answer({name: value.numpy() for name, value in signatures[request.signature](**request.inputs).items()})
        for request in requests
    ]


@pytest.fixture
def clips(exported):
    with clips_to_try(exported.config, tuple(exported.model.classes), 7, must_be_real=True) as found:
        yield found


def test_one_wrong_number_is_noticed(exported, workdir_config, clips, monkeypatch):
    monkeypatch.setattr(verify, "ask", answering)
    model = load_model(f"{workdir_config.train.workdir}/model.keras")
    bias = next(weight for weight in model.weights if weight.path.endswith("stage3/bias") or weight.name == "beta")
    bias.assign(bias + np.float32(0.1))
    with pytest.raises(UserError, match=r"differs from the trained one by .* --nofold_batch_norms"):
        verify.verify(str(exported.path), model, exported.metadata, clips)


def test_pictures_decoded_otherwise_are_noticed(exported, clips, monkeypatch):
    """By a signature whose network is right; its answers are moved by more than rounding."""

    def moved(path, requests):
        for request, answer in zip(requests, answering(path, requests), strict=True):
            if request.signature == "jpeg":
                answer.outputs["spatial_scores"] += np.float32(1e-4)
            yield answer

    monkeypatch.setattr(verify, "ask", lambda *asked: list(moved(*asked)))
    with pytest.raises(UserError, match=r"by 1.0e-04 in jpeg, .* not those of the input pipeline"):
        verify.verify(str(exported.path), exported.model, exported.metadata, clips)


def test_no_number_is_no_agreement():
    scores = {"spatial_embedding": np.ones((2, 3), np.float32), "temporal_embedding": np.ones((2, 3), np.float32)}
    assert verify.compare(Answer(scores), scores, {}) == 0
    for name in scores:
        broken = {**scores, name: np.where([[1], [0]], np.float32(np.nan), scores[name])}
        assert np.isnan(verify.compare(Answer(broken), scores, {}))
    assert verify.compare(Answer({"spatial_embedding": np.ones((1, 3))}), scores, {}) == np.inf


def test_an_answer_that_contradicts_itself():
    scores = np.array([[0.2, 0.5, 0.3]], np.float32)
    wanted = {"scores": scores}
    metadata = {"classes": ["a", "b", "c"], "top_k": 2}
    good = {
        "scores": scores,
        "top_indices": np.array([[1, 2]]),
        "top_scores": scores[:, [1, 2]],
        "top_labels": np.array([[b"b", b"c"]], object),
    }
    assert verify.compare(Answer(good), wanted, metadata) == 0
    for change in (
        {"top_indices": np.array([[1, 0]])},
        {"top_labels": np.array([[b"b", b"a"]], object)},
        {"top_scores": scores[:, [2, 1]]},
    ):
        assert verify.compare(Answer({**good, **change}), wanted, metadata) == np.inf


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


def test_without_folding_the_network_is_the_trained_one(exported, workdir_config, tmp_path):
    done = quick(workdir_config, tmp_path, fold=False)
    assert done.folding.folded == 0
    inputs = serving_requests.arrays(exported.metadata)
    answer = tf.saved_model.load(str(done.path)).signatures["serving_default"](**inputs)
    expected = keras.ops.softmax(exported.model(inputs, training=False)["logits"])
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)


def test_without_records_clips_are_rendered(exported, workdir_config, tmp_path, no_graph):
    elsewhere = workdir_config.replace(record_dir=str(tmp_path / "gone"))
    with clips_to_try(elsewhere, exported.metadata["classes"], 7, must_be_real=False) as clips:
        assert clips.source.startswith("clips rendered") and len(set(clips.names)) == 7
        assert clips.arrays(3)["flow"].shape == (7, 3, 32, 32, 10) and clips.jpegs(3)["flow"].shape == (7, 3, 5)
    stored = elsewhere.replace(flow="stored")
    with clips_to_try(stored, exported.metadata["classes"], 2, must_be_real=False) as clips:
        assert clips.jpegs(1)["flow"].shape == (2, 1, 5)
    with pytest.raises(UserError, match="gone holds no finished records"):
        quick(elsewhere, tmp_path / "model", warmup=True, must_be_real=True)


@pytest.mark.parametrize("name", ["ccsn_tf", "ccsn_tf.serving", "keras"])
def test_the_fresh_process_has_neither_package_nor_keras(name):
    """Were they there, the check would prove less than it says."""
    head = pathlib.Path(fresh_process.__file__).read_text().split("import numpy")[0]
    result = subprocess.run([sys.executable, "-I", "-c", f"{head}\nimport {name}"], capture_output=True, check=False)
    assert result.returncode == 1 and b"ModuleNotFoundError" in result.stderr


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
