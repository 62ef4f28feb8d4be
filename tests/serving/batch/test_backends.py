import importlib.util
import shutil
import sys

import numpy as np
import onnx
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch import backends
from ccsn_tf.serving.batch.backends import Exported, ModelThread, choose, read_metadata


@pytest.fixture(scope="module")
def models(exported, onnx_export, tmp_path_factory):
    """One of each kind; the engine is only a name."""
    plan = tmp_path_factory.mktemp("plan") / "model.plan"
    plan.write_bytes(b"no engine")
    return {"saved_model": str(exported.folder), "onnx": str(onnx_export("fp32").path), "tensorrt": str(plan)}


def test_the_fastest_that_can_run_here_is_taken(models, monkeypatch):
    every = list(models.values())
    monkeypatch.setattr(backends, "find_gpu", lambda: None)
    assert choose(every) == Exported("onnx", models["onnx"])
    assert choose(every, "saved_model") == Exported("saved_model", f"{models['saved_model']}/1")
    assert choose(every, "tensorrt") == choose([models["tensorrt"]]) == Exported("tensorrt", models["tensorrt"])
    monkeypatch.setattr(backends, "find_gpu", lambda: "a GPU")
    assert choose(every).backend == "tensorrt"
    monkeypatch.setattr(backends, "find_gpu", lambda: None)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert choose(every).backend == "saved_model"
    assert choose([models["onnx"]]).backend == "onnx"


def test_what_computes_flow_is_fastest_as_a_saved_model(exported_frames, models, monkeypatch):
    monkeypatch.setattr(backends, "find_gpu", lambda: None)
    assert choose([models["onnx"], str(exported_frames.folder)]).backend == "saved_model"
    assert choose([models["onnx"]]).backend == "onnx"


def test_the_newest_version_or_a_chosen_one(exported, tmp_path):
    for version in (2, 10):
        shutil.copytree(exported.path, tmp_path / str(version))
    assert choose([str(tmp_path)]).path == str(tmp_path / "10")
    assert choose([str(tmp_path / "2")]).path == str(tmp_path / "2")


def test_metadata_and_identity(exported, models, tmp_path):
    saved, onnx_file = choose([models["saved_model"]]), choose([models["onnx"]])
    assert read_metadata(saved) == exported.metadata
    assert read_metadata(onnx_file)["weights_sha256"] == exported.metadata["weights_sha256"]
    assert saved.sha256() == choose([models["saved_model"]]).sha256() != onnx_file.sha256()
    copy = tmp_path / "1"
    shutil.copytree(exported.path, copy)
    assert Exported("saved_model", str(copy)).sha256() == saved.sha256()
    (weights,) = copy.glob("variables/variables.data*")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert Exported("saved_model", str(copy)).sha256() != saved.sha256()


@pytest.mark.parametrize(
    "paths, backend, words",
    [
        ([], "auto", "--model is not given: name a folder of export/saved_model.py"),
        (["absent.onnx"], "auto", "--model=absent.onnx is missing: name what an export command wrote"),
        (["{folder}"], "auto", "holds no version of a model: name a folder that export/saved_model.py wrote"),
        (["{folder}/a.txt"], "auto", "is neither a folder of a SavedModel nor an .onnx or .plan file"),
        (["{folder}/a.onnx", "{folder}/b.onnx"], "auto", "names two models for onnx: leave .*b.onnx out"),
        (["{folder}/a.onnx"], "tensorrt", "--backend=tensorrt has no model in --model=.*a.onnx: name one of its kind"),
    ],
)
def test_mistakes(paths, backend, words, tmp_path):
    for name in ("a.txt", "a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=words):
        choose([path.format(folder=tmp_path) for path in paths], backend)


def test_models_that_are_none_of_ours(exported, models, tmp_path, monkeypatch):
    shutil.copytree(exported.path, tmp_path / "1")
    (tmp_path / "1" / "assets.extra" / "ccsn.json").unlink()
    with pytest.raises(UserError, match=r"1 is a SavedModel, but was not written by export/saved_model\.py"):
        read_metadata(choose([str(tmp_path)]))
    model = onnx.load(models["onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"other\.onnx is an ONNX file, but was not written by export/to_onnx\.py"):
        read_metadata(choose([str(tmp_path / "other.onnx")]))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text\.onnx is damaged or no ONNX file"):
        read_metadata(choose([str(tmp_path / "text.onnx")]))
    with pytest.raises(UserError, match=r"model\.plan\.json is missing: .*export/to_tensorrt\.py"):
        read_metadata(choose([models["tensorrt"]]))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is needed and cannot be imported .* -e '\.\[onnx\]'"):
        read_metadata(choose([models["onnx"]]))


def test_models_that_cannot_be_loaded(exported, models, tmp_path):
    shutil.copytree(exported.path, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    (tmp_path / "1" / "SHA256SUMS").unlink()  # as of older exports
    with pytest.raises(UserError, match=r"1 is damaged \(.*\): export it again with export/saved_model\.py"):
        ModelThread(choose([str(tmp_path)]))
    with pytest.raises(UserError, match="is missing: name an engine"):
        ModelThread(choose([models["tensorrt"]]))


def test_a_batch_that_the_model_refuses(exported, models):
    size = exported.metadata["image_size"]
    thread = ModelThread(choose([models["saved_model"]]))
    inputs = {name: np.zeros((300, 1, size, size, count), np.uint8) for name, count in (("rgb", 3), ("flow", 10))}
    with pytest.raises(UserError, match=r"refuses a batch \(.*a request may have 256 segments.*\): lower --batch_size"):
        thread.submit(inputs).result()
    assert thread.submit({name: values[:2] for name, values in inputs.items()}).result().shape == (2, 3)
    thread.close()
