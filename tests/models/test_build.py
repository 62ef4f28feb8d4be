"""From a configuration to a model with its starting weights, and back from a file."""

import dataclasses
import functools
import json
import shutil
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
from ccsn_tf.models.weights import inflate_stem

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
    not_the_network_s = {"pretrained", "num_segments", "plugins"}
    assert {name: arguments[name] for name in wanted if name not in not_the_network_s} == {
        name: value for name, value in wanted.items() if name not in not_the_network_s
    }
    assert arguments["classes"] == list(CLASSES)


def test_imagenet_weights_for_a_backbone_without_any():
    with pytest.raises(UserError, match=r"`weights` imagenet.*`backbone` tiny"):
        build_model(small(pretrained="imagenet"), CLASSES)


@functools.cache
def pretrained(connection):
    config = small(backbone="efficientnet_lite0", pretrained="imagenet", image_size=32, connection=connection)
    return build_model(config, CLASSES)


def test_the_streams_start_from_imagenet(published):
    model = pretrained("cross_attention")
    spatial, temporal = (model.network(stream) for stream in STREAMS)
    stem = published["_conv_stem.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(spatial.get_layer("conv_stem").kernel.numpy(), stem)
    kernel = temporal.get_layer("conv_stem").kernel.numpy()
    np.testing.assert_array_equal(kernel, inflate_stem(stem, 10))
    for channel in range(10):
        np.testing.assert_allclose(kernel[:, :, channel], stem.mean(axis=2), rtol=1e-6, atol=1e-7)
    ours, theirs = ({w.path: w.numpy() for w in network.weights} for network in (spatial, temporal))
    assert ours.keys() == theirs.keys()
    for path in ours:
        if path != "conv_stem/kernel":
            np.testing.assert_array_equal(ours[path], theirs[path])
    np.testing.assert_array_equal(ours["bn1/moving_mean"], published["_bn1.running_mean"])


def test_a_new_connection_leaves_pretrained_features_alone(published):
    rng = np.random.default_rng(0)
    inputs = {
        "rgb": rng.integers(0, 256, (1, 2, 32, 32, 3)).astype("uint8"),
        "flow": rng.integers(0, 256, (1, 2, 32, 32, 10)).astype("uint8"),
    }
    features = []
    for connection in ("none", "cross_attention"):
        model = pretrained(connection)
        names = [f"{stream}_consensus" for stream in STREAMS]
        inside = keras.Model(model.input, [model.get_layer(name).output for name in names])
        features.append([np.asarray(feature) for feature in inside(inputs)])
    for plain, joined in zip(*features, strict=True):
        assert plain.shape == (1, 1280) and np.ptp(plain) > 0.1
        np.testing.assert_array_equal(plain, joined)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model and its file."""
    model = build_model(small(), CLASSES)
    randomise(model)
    path = tmp_path_factory.mktemp("run") / "model.keras"
    model.save(path)
    return model, path


class UnknownSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Not registered with Keras."""

    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


def test_load_model(finished):
    model, path = finished
    for given in (path, str(path)):
        loaded = load_model(given)
        assert isinstance(loaded, CCSN) and loaded.classes == list(CLASSES)
        for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_trained_model_s_file_needs_neither_its_loss_nor_its_optimizer(tmp_path):
    model = build_model(small(connection="none"), CLASSES)
    model.compile(optimizer=keras.optimizers.SGD(UnknownSchedule()), loss=JointLoss())
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["model.keras", "nowhere/model.keras", ""])
def test_a_missing_file(name, tmp_path):
    with pytest.raises(UserError, match=r" is missing: name the --workdir of a finished run\.$"):
        load_model(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_file_that_is_no_archive(content, finished, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(finished[1].read_bytes()[:-3000] if content is None else content)
    with pytest.raises(UserError, match=r"model\.keras is damaged or no model\.keras: name the --workdir"):
        load_model(path)


def edited(finished, path, change):
    """The finished model's file with another configuration."""
    with zipfile.ZipFile(finished[1]) as archive, zipfile.ZipFile(path, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            copy.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.clear(), r"model\.keras cannot be read as a model"),
        (lambda config: config.update(registered_name="other>Other", class_name="Other", module="other"), "Other"),
        (lambda config: config["config"].update(backbone="mine"), "mine"),
        (lambda config: config["config"].update(novelty=1), "novelty|could not be deserialized"),
        (lambda config: config["config"].pop("classes"), "classes|could not be deserialized"),
        (lambda config: config["config"].update(connection="sum"), "could not be loaded"),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras, before it refuses
def test_a_file_of_another_version(finished, tmp_path, change, message):
    path = tmp_path / "model.keras"
    edited(finished, path, change)
    with pytest.raises(UserError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a model (")
    assert "\n" not in str(caught.value)


def test_an_archive_of_something_else_and_one_that_is_damaged_inside(finished, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(UserError, match="cannot be read as a model"):
        load_model(path)
    content = bytearray(finished[1].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(
        byte ^ 255 for byte in content[middle : middle + 64]
    )  # zeros may be zeros already
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a model"):
        load_model(path)


def test_another_model_s_file(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).save(path)
    with pytest.raises(UserError, match=r"model\.keras holds a Sequential, not a CCSN: name the --workdir"):
        load_model(path)


def test_no_foreign_code_is_run(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)]).save(path)
    with pytest.raises(UserError, match="cannot be read as a model"):
        load_model(path)


def test_a_folder_in_the_file_s_place(finished, tmp_path):
    folder = tmp_path / "model.keras"
    folder.mkdir()
    shutil.copy(finished[1], folder)
    with pytest.raises(UserError, match="is missing"):
        load_model(folder)
