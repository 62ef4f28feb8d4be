"""Files that ONNX Runtime is asked to run: ours, and others."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnx_graphs
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
    model, inputs = OnnxModel(str(ours), threads=1), onnx_graphs.pixels()
    assert model.metadata == {"classes": ["läuft", 'say "no"']}
    outputs = model(inputs)
    assert list(outputs) == ["logits"] and outputs["logits"].shape == (2, 2)
    np.testing.assert_allclose(outputs["logits"], onnx_graphs.run(onnx.load(ours), inputs)["logits"], atol=1e-5)
    np.testing.assert_array_equal(OnnxModel(ours.read_bytes(), threads=1)(inputs)["logits"], outputs["logits"])
    content, proto, metadata = read_onnx(str(ours))
    assert content == ours.read_bytes() and metadata == model.metadata and len(proto.graph.node) == 19


def test_metadata_replaces_what_was_there(ours):
    model = onnx.load(ours)
    model.metadata_props.add(key="other", value="x")
    set_metadata(model, {"a": 1})
    assert [(entry.key, json.loads(entry.value)) for entry in model.metadata_props] == [("ccsn_tf", {"a": 1})]


@pytest.mark.parametrize("read", [OnnxModel, read_onnx], ids=["run", "read"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("missing", "is missing: name a file that export/to_onnx.py wrote"),
        ("folder", "is missing: name a file that export/to_onnx.py wrote"),
        ("foreign", "was not written by export/to_onnx.py"),
        ("text", "is damaged or no ONNX file"),
        ("cut", "is damaged or no ONNX file"),
        ("empty", "is damaged or no ONNX file"),
    ],
)
def test_other_files_are_refused_in_one_sentence(read, fault, sentence, ours, tmp_path):
    path = tmp_path / "other.onnx"
    if fault == "folder":
        path.mkdir()
    elif fault == "foreign":
        onnx.save(onnx_graphs.network(), path)
    elif fault != "missing":
        path.write_bytes({"text": b"hello\n" * 20, "cut": ours.read_bytes()[:700], "empty": b""}[fault])
    with pytest.raises(UserError) as error:
        read(str(path))
    assert sentence in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_onnx_runtime_reports_to_nobody(ours, tmp_path):
    """Its wheels would, from 1.29 on, and keep what they report below the home folder."""
    kept = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    program = "import sys; from ccsn_tf.serving.onnx.session import OnnxModel; OnnxModel(sys.argv[1])"
    command = [sys.executable, "-c", program, str(ours)]
    (tmp_path / "home").mkdir()
    subprocess.run(
        command, check=True, env={**kept, "HOME": str(tmp_path / "home")}, cwd=pathlib.Path(__file__).parents[3]
    )
    assert not list((tmp_path / "home").rglob("*"))
