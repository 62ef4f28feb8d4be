"""What model.keras brings back."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest
from layers import dtype_policy
from small_models import CLASSES, SIZE, assert_same, clips, kept, model, predict

from ccsn_tf.models.ccsn import CCSN

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("connection", "span"),
    [("concat", "segment"), ("cross_attention", "clip")],
)
def test_a_file_holds_the_whole_model(connection, span, tmp_path):
    network = kept(connection, span=span)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is CCSN and loaded.classes == CLASSES
    assert loaded.get_config() == network.get_config()
    assert_same(predict(loaded, clips()), predict(network, clips()))


def test_a_file_of_other_arguments(tmp_path):
    arguments = {
        "connect_at": ("stage3",),
        "position": "mlp",
        "consensus": "trn",
        "num_segments": 2,
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
    config, plain = (json.loads(json.dumps(each)) for each in (loaded.get_config(), arguments))
    assert {name: config[name] for name in arguments} == plain
    assert (config["classes"], config["image_size"], config["embedding_dim"]) == (CLASSES, SIZE, 8)
    assert config["trainable"] is False and not loaded.trainable_weights
    inputs = clips(segments=2, flow_length=2)
    assert_same(predict(loaded, inputs), predict(network, inputs))


def test_a_file_computes_in_the_precision_of_the_process(tmp_path):
    """Trained in bfloat16, it holds float32 weights."""
    with dtype_policy("mixed_bfloat16"):
        model(position="mlp").save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("connection_stage2").compute_dtype == "float32"
    assert_same(predict(loaded, clips()), predict(kept(position="mlp"), clips()))


@pytest.mark.slow
def test_a_file_opens_where_only_the_model_is_imported(tmp_path):
    kept().save(tmp_path / "model.keras")
    program = "import sys, keras, ccsn_tf.models.ccsn; keras.models.load_model(sys.argv[1])"
    command = [sys.executable, "-c", program, str(tmp_path / "model.keras")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=300)
