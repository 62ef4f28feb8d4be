"""From a configuration to a model with its starting weights, and back from a file."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from layers import randomise

from ccsn_tf.config import ModelConfig
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.models.ccsn import CCSN

CLASSES = ("archery", "basketball")
SMALL = ModelConfig(image_size=16, embedding_dim=8, attention_heads=2)


def small(**changes):
    return dataclasses.replace(SMALL, **changes)


def test_every_setting_reaches_the_model():
    config = small(
        connection="cross_attention",
        connect_at=("stage1",),
        position="mlp",
        attention_heads=3,
        span="clip",
        flow_length=2,
        dropout=0.25,
        temporal_dropout=0.75,
        fusion_weights=(1.0, 1.5),
        fusion_features=False,
    )
    arguments = json.loads(json.dumps(build_model(config, CLASSES).get_config()))
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    own = wanted.keys() - {"pretrained", "num_segments", "plugins"}
    assert {name: arguments[name] for name in own} == {name: wanted[name] for name in own}
    assert arguments["classes"] == list(CLASSES)


def test_the_streams_start_from_imagenet(published):
    config = small(backbone="efficientnet_lite0", pretrained="imagenet", image_size=32, connection="none")
    model = build_model(config, CLASSES)
    spatial, temporal = (model.network(stream) for stream in STREAMS)
    stem = published["_conv_stem.weight"].transpose(2, 3, 1, 0)
    ours, theirs = ({w.path: w.numpy() for w in network.weights} for network in (spatial, temporal))
    np.testing.assert_array_equal(ours["conv_stem/kernel"], stem)
    np.testing.assert_array_equal(theirs["conv_stem/kernel"], np.repeat(stem.mean(axis=2, keepdims=True), 10, axis=2))
    assert ours.keys() == theirs.keys()
    for path in ours.keys() - {"conv_stem/kernel"}:
        np.testing.assert_array_equal(ours[path], theirs[path])
    np.testing.assert_array_equal(ours["bn1/moving_mean"], published["_bn1.running_mean"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model's file."""
    path = tmp_path_factory.mktemp("run") / "model.keras"
    build_model(small(connection="none"), CLASSES).save(path)
    return path


class UnknownSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Not registered with Keras."""

    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


def test_a_trained_model_s_file_needs_neither_its_loss_nor_its_optimizer(tmp_path):
    model, path = build_model(small(connection="none"), CLASSES), tmp_path / "model.keras"
    randomise(model)
    model.compile(optimizer=keras.optimizers.SGD(UnknownSchedule()), loss=JointLoss())
    model.save(path)
    for given in (path, str(path)):
        loaded = load_model(given)
        assert isinstance(loaded, CCSN) and loaded.classes == list(CLASSES) and not loaded.compiled
        for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def refused(path, reason):
    with pytest.raises(UserError, match=rf"{reason}.*: name the --workdir of a finished run\.$") as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path} ") and "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_what_is_no_archive(finished, tmp_path):
    refused(tmp_path / "nowhere" / "model.keras", "is missing")
    refused(tmp_path, "is missing")
    path = tmp_path / "model.keras"
    for content in (b"", b"hello", finished.read_bytes()[:-3000]):
        path.write_bytes(content)
        refused(path, "is damaged or no model")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda config: config.update(registered_name="other>Other", class_name="Other", module="other"), "Other"),
        (lambda config: config["config"].update(backbone="mine"), "mine"),
        (lambda config: config["config"].update(connection="sum"), "could not be loaded"),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras, before it refuses
def test_a_file_of_another_version(finished, tmp_path, change, reason):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(finished) as archive, zipfile.ZipFile(path, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            copy.writestr(name, content)
    refused(path, rf"cannot be read as a model \(.*({reason}).*\)")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layers.Dense(2), "holds a Sequential, not a CCSN"),
        (layers.Lambda(lambda x: x), "cannot be read as a model"),  # no foreign code is run
    ],
)
def test_another_model_s_file(layer, reason, tmp_path):
    keras.Sequential([keras.Input((4,)), layer]).save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", reason)
