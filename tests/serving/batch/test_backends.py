"""Which export is taken, what it says about itself, and what is none of ours."""

import importlib.util
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import serving_requests

from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch import backends
from ccsn_tf.serving.batch.backends import Exported, ModelThread, choose, read_metadata

ENGINES = ("onnx", "openvino")  # for the same files


@pytest.fixture
def saved_model(tmp_path):
    """A function of a source of flow that writes what is looked at to choose between exports; returns its folder."""

    def write(flow_source):
        for version in (2, 10):
            beside = tmp_path / flow_source / str(version) / "assets.extra" / "ccsn.json"
            beside.parent.mkdir(parents=True)
            beside.write_text(json.dumps({"flow_source": flow_source}))
            (beside.parents[1] / "saved_model.pb").touch()
        return str(tmp_path / flow_source)

    return write


def test_the_fastest_that_can_run_here_is_taken(saved_model, tmp_path, monkeypatch):
    stored, graph = saved_model("stored"), saved_model("graph")
    onnx_file, plan = (str(tmp_path / f"model.{suffix}") for suffix in ("onnx", "plan"))
    for path in (onnx_file, plan):
        pathlib.Path(path).touch()
    monkeypatch.setattr(backends, "find_gpu", lambda: None)
    told = {"precision": "fp32", "flow_source": "stored"}
    monkeypatch.setattr(backends, "read_metadata", lambda export: told)
    assert choose([stored, onnx_file, plan]) == Exported("onnx", onnx_file)
    assert choose([graph, onnx_file, plan]).backend == "saved_model"  # which is faster where it computes flow
    assert choose([stored, onnx_file], "saved_model") == Exported("saved_model", f"{stored}/10")  # the newest
    assert choose([f"{stored}/2"]).path == f"{stored}/2"
    assert choose([stored, plan], "tensorrt") == choose([plan]) == Exported("tensorrt", plan)
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
        assert choose([stored, onnx_file]).backend == "saved_model" and choose([onnx_file]).backend == "onnx"
    told["precision"] = "int8"
    assert choose([stored, onnx_file]) == Exported("openvino", onnx_file)
    assert choose([onnx_file], "onnx").backend == "onnx" and choose([graph, onnx_file]).backend == "saved_model"
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
        assert choose([onnx_file]).backend == "onnx"
    told["flow_source"] = "graph"
    assert choose([onnx_file]).backend == "onnx"  # which is faster for flow
    monkeypatch.setattr(backends, "find_gpu", lambda: "a GPU")
    assert choose([graph, onnx_file, plan]).backend == "tensorrt"


@pytest.fixture(scope="module")
def models(exported, onnx_export):
    return {"saved_model": str(exported.folder), "onnx": str(onnx_export("fp32").path)}


def test_metadata(exported, models):
    assert read_metadata(choose([models["saved_model"]])) == exported.metadata
    assert read_metadata(choose([models["onnx"]]))["weights_sha256"] == exported.metadata["weights_sha256"]


def test_openvino_computes_what_onnx_runtime_does(onnx_export, exported):
    inputs = serving_requests.arrays(exported.metadata, clips=3)
    for precision, apart in (("fp32", 1e-5), ("int8", 0.1)):
        path = str(onnx_export(precision).path)
        wanted, found = (
            thread.submit(inputs).result() for thread in (ModelThread(choose([path], name)) for name in ENGINES)
        )
        assert found.shape == (3, 3) and np.ptp(found) > 0.05
        np.testing.assert_allclose(found, wanted, atol=apart)


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
    for read in (read_metadata, ModelThread):
        with pytest.raises(UserError, match=r"1 is a SavedModel, but was not written by export/saved_model\.py"):
            read(choose([str(tmp_path)]))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text\.onnx is damaged or no ONNX file"):
        ModelThread(Exported("openvino", str(tmp_path / "text.onnx")))
    (tmp_path / "model.plan").touch()
    for read in (read_metadata, ModelThread):
        with pytest.raises(UserError, match=r"model\.plan\.json is missing"):
            read(choose([str(tmp_path / "model.plan")]))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime is needed and cannot be imported .* -e '\.\[onnx\]'"):
        read_metadata(choose([models["onnx"]]))


def test_a_damaged_model(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    (tmp_path / "1" / "SHA256SUMS").unlink()  # as of older exports
    with pytest.raises(UserError, match=r"1 is damaged \(.*\): export it again"):
        ModelThread(choose([str(tmp_path)]))


def test_a_batch_that_the_model_refuses(exported, models):
    size = exported.metadata["image_size"]
    thread = ModelThread(choose([models["saved_model"]]))
    inputs = {name: np.zeros((300, 1, size, size, count), np.uint8) for name, count in (("rgb", 3), ("flow", 10))}
    with pytest.raises(UserError, match=r"refuses the request \(.*a request may have 256 segments"):
        thread.submit(inputs).result()
    assert thread.submit({name: values[:2] for name, values in inputs.items()}).result().shape == (2, 3)
    thread.close()
