"""The code of README.md, docs/API.md and examples/ does what it says."""

import dataclasses
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
from ccsn_tf.config import Config
from ccsn_tf.data import datasets
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.models import backbones, connections

ROOT = pathlib.Path(__file__).parents[1]
SHEET = (("run", "a", "train"), ("run", "b", "test"), ("jump", "a", "train"), ("jump", "c", "train"))
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "API.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    monkeypatch.setattr(connections, "_MAKERS", dict(connections._MAKERS))
    monkeypatch.setattr(datasets, "_READERS", dict(datasets._READERS))
    choices = sys.modules["ccsn_tf.config.settings"]
    before = {name: list(getattr(choices, name)) for name in ("BACKBONES", "CONNECTIONS", "DATASETS")}
    yield
    for name, values in before.items():
        getattr(choices, name)[:] = values


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_the_readme(tmp_path, tiny_data, monkeypatch):
    """On records of frames alone, as the demo's are."""
    monkeypatch.chdir(tmp_path)
    prepare(dataclasses.replace(tiny_data, flow="none", record_dir="demo/records"), min_fields=5)
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    known = {}
    exec(compile(code.replace("epochs=2", "epochs=1"), "README.md", "exec"), known)
    assert len(known["classes"]) == known["model"].outputs[0].shape[-1]
    assert isinstance(ct.load_model("model.keras"), ct.CCSN)


def test_the_block_and_the_backbone_of_the_document():
    known = {"ct": ct, "keras": keras}
    block, backbone = (next(code for code in CODE if word in code) for word in ("class Gated", "def two_convolutions"))
    exec(compile(block, "API.md", "exec"), known)
    assert [type(block).__name__ for block in known["model"].connection_blocks] == ["Gated"]
    exec(compile(backbone, "API.md", "exec"), known)
    assert known["model"].get_config()["connect_at"] == ["near"]
    assert "two_convolutions" in backbones.BACKBONES


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


def test_the_example_of_a_data_set_is_prepared(tmp_path, tiny_set):
    """Through the settings, as a script takes it: registered by the plugin, then a choice of `dataset`."""
    videos = sorted(tiny_set.rglob("*.avi"))[:4]
    rows = [f"{path},{label},{group},{side}" for path, (label, group, side) in zip(videos, SHEET, strict=True)]
    (tmp_path / "clips.csv").write_text("\n".join(["video,label,group,side", *rows]) + "\n")
    own = {"plugins": (str(ROOT / "examples" / "own_dataset.py"),), "dataset": "sheet", "video_dir": str(tmp_path)}
    config = Config.from_flat({**own, "record_dir": str(tmp_path / "records"), "workers": 1})
    manifest = prepare(config.data, config.model.flow_length)
    assert manifest.classes == ("jump", "run")
    trained = [(clip.label, clip.group) for clip in manifest.select(config.data, "train")[1]]
    assert trained == [(label, group) for label, group, side in SHEET if side == "train"]
    with pytest.warns(UserWarning, match="'sheet' is replaced"):
        ct.register_dataset("sheet", lambda settings: None)


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
