"""What model.keras brings back."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from layers import dtype_policy
from small_models import CLASSES, SIZE, assert_same, clips, kept, model, predict

from ccsn_tf.config.settings import CONNECTIONS
from ccsn_tf.models.ccsn import CCSN

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("span", ["segment", "clip"])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_file_holds_the_whole_model(connection, span, tmp_path):
    network = kept(connection, span=span)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is CCSN and loaded.classes == CLASSES
    assert loaded.get_config() == network.get_config()
    assert_same(predict(loaded, clips()), predict(network, clips()))


def test_a_file_of_other_arguments(tmp_path):
    arguments = {
        "connect_at": ("stage1", "stage3"),
        "position": "mlp",
        "flow_length": 2,
        "dropout": 0.25,
        "fusion_weights": (1.0, 1.5),
        "fusion_features": False,
        "name": "mine",
    }
    network = model(**arguments)
    network.trainable = False
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    config = json.loads(json.dumps(loaded.get_config()))
    plain = json.loads(json.dumps(arguments))
    assert {name: config[name] for name in arguments} == plain
    assert (config["classes"], config["image_size"], config["embedding_dim"]) == (CLASSES, SIZE, 8)
    assert config["trainable"] is False and not loaded.trainable_weights
    assert_same(predict(loaded, clips(flow_length=2)), predict(network, clips(flow_length=2)))


def test_a_file_opens_where_only_the_model_is_imported(tmp_path):
    network = kept(position="mlp")
    network.save(tmp_path / "model.keras")
    inputs = clips()
    np.savez(tmp_path / "in.npz", **inputs)
    program = (
        "import sys, numpy as np, keras\n"
        "import ccsn_tf.models.ccsn\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "outputs = model(dict(np.load(sys.argv[1] + '/in.npz')))\n"
        "np.savez(sys.argv[1] + '/out.npz', **{name: np.asarray(value) for name, value in outputs.items()})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        assert_same(dict(outputs), predict(network, inputs))


def test_a_model_computes_in_the_precision_of_the_process(tmp_path):
    """A file holds float32 weights: trained in bfloat16, it is evaluated in whatever the evaluation runs in."""
    with dtype_policy("mixed_bfloat16"):
        network = model()
        network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("connection_stage2").compute_dtype == "float32"
    assert_same(predict(loaded, clips()), predict(kept(), clips()))
