"""The code of docs/API.md and examples/ does what it says."""

import importlib.util
import json
import pathlib
import re
import sys
import tempfile

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import small_models
import tensorflow as tf

import ccsn_tf as ct
from ccsn_tf.models import backbones, connections

ROOT = pathlib.Path(__file__).parents[1]
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "API.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    monkeypatch.setattr(connections, "_MAKERS", dict(connections._MAKERS))
    choices = sys.modules["ccsn_tf.config.settings"]
    before = {name: list(getattr(choices, name)) for name in ("BACKBONES", "CONNECTIONS")}
    yield
    for name, values in before.items():
        getattr(choices, name)[:] = values


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_block_and_the_backbone_of_the_document():
    known = {"ct": ct, "keras": keras}
    block, backbone = (next(code for code in CODE if word in code) for word in ("class Gated", "def two_convolutions"))
    exec(compile(block, "API.md", "exec"), known)
    assert [type(block).__name__ for block in known["model"].connection_blocks] == ["Gated"]
    exec(compile(backbone, "API.md", "exec"), known)
    assert known["model"].get_config()["connect_at"] == ["near"]
    assert "two_convolutions" in backbones.backbone_names()


def test_the_examples_train_and_are_saved(tmp_path):
    example("own_connection"), example("own_backbone")
    model = ct.CCSN(classes=["a", "b"], backbone="plain_cnn", connection="gated", image_size=32)
    inputs = small_models.clips(4, segments=1, size=32)
    before = small_models.predict(model, inputs)
    model.compile(keras.optimizers.AdamW(1e-2), ct.JointLoss(), run_eagerly=True)
    history = model.fit(inputs, np.array([0, 0, 1, 1]), batch_size=4, verbose=0).history
    after = small_models.predict(model, inputs)
    assert np.isfinite(history["loss"]).all() and np.abs(after["logits"] - before["logits"]).max() > 1e-4
    model.save(tmp_path / "model.keras")
    saved = ct.load_model(tmp_path / "model.keras")
    small_models.assert_same(small_models.predict(saved, inputs), after)
    assert saved.connection_blocks[0].sharpness == 1.0


@pytest.mark.filterwarnings("ignore:Even though:UserWarning", "ignore:FigureCanvasAgg:UserWarning")
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    """A short run of its cells, without the graphs that `fit` would trace."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    monkeypatch.setenv("CCSN_TF_FEW", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    matplotlib.use("agg")
    tf.config.run_functions_eagerly(True)
    try:
        known = {"__name__": "notebook"}
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"cell {number}", "exec"), known)
    finally:
        tf.config.run_functions_eagerly(False)
        plt.close("all")
    assert "MyBlock {'spatial':" in capsys.readouterr().out
