"""Cuts of a graph, stages, pixel scaling, and the registry of backbones."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import layers

from ccsn_tf.errors import UserError
from ccsn_tf.models import backbones as streams
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import Backbone, Normalization, cut_layers, split_into_stages
from ccsn_tf.models.ccsn import CCSN

PLAIN = Normalization(0.0, 1.0)


def residual_network():
    """image -> a -> (b -> c) + a -> d -> out; the `+` is an operation, not a layer."""
    image = keras.Input((8, 8, 3), name="image")
    a = layers.Conv2D(4, 3, 2, "same", name="a")(image)
    b = layers.BatchNormalization(name="b")(a)
    c = layers.Conv2D(4, 1, name="c")(b)
    d = layers.Conv2D(5, 3, 2, "same", name="d")(c + a)
    return keras.Model(image, layers.ReLU(name="out")(d), name="residual")


def scramble(network, seed=0):
    """Random weights everywhere, batch normalisation's too: initial ones hide exchanged or forgotten layers."""
    rng = np.random.default_rng(seed)
    network.set_weights([rng.uniform(0.1, 0.9, array.shape).astype("float32") for array in network.get_weights()])


def compose(models, x):
    for model in models.values():
        x = model(x, training=False)
    return np.asarray(x)


def test_cuts_are_where_one_tensor_carries_everything():
    network = residual_network()
    plus = next(operation.name for operation in network.operations if "add" in operation.name)
    assert list(cut_layers(network)) == ["image", "a", plus, "d", "out"]


def test_cut_layers_refuses_a_layer_that_is_called_twice():
    image = keras.Input((8, 8, 4), name="image")
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    network = keras.Model(image, layers.ReLU(name="out")(twice(twice(image))), name="net")
    with pytest.raises(ValueError, match="called twice"):
        cut_layers(network)


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("tiny", 48, 10),
        ("efficientnet_lite0", 32, 3),
        ("applications:MobileNetV3Small", 32, 4),
    ],
)
def test_stages_one_after_the_other_are_the_network(name, size, channels):
    backbone = build_backbone(name, size, channels)
    scramble_batch_norm(backbone.network)
    models = split_into_stages(backbone, "spatial")
    assert list(models) == list(backbone.stages)
    assert [model.name for model in models.values()] == [f"spatial_{stage}" for stage in backbone.stages]
    assert set(backbone.default_connect_at) <= set(backbone.stages)
    images = np.random.default_rng(1).uniform(-1, 1, (2, size, size, channels)).astype("float32")
    np.testing.assert_array_equal(compose(models, images), np.asarray(backbone.network(images, training=False)))
    shapes = [model.output_shape for model in models.values()]
    assert shapes[-1] == backbone.network.output_shape
    assert all(later[1] <= earlier[1] for earlier, later in itertools.pairwise(shapes))


def scramble_batch_norm(network):
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, array.shape).astype("float32") for array in layer.get_weights()])


def test_a_sum_that_is_no_layer_can_end_a_stage():
    network = residual_network()
    scramble(network)
    total = list(cut_layers(network))[2]
    models = split_into_stages(Backbone(network, {"one": "a", "two": total, "three": "out"}, PLAIN, ("two",)), "rgb")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(compose(models, images), np.asarray(network(images, training=False)))


def test_stages_share_the_weights_and_hold_each_once():
    backbone = build_backbone("tiny", 48, 3)
    models = split_into_stages(backbone, "rgb")
    held = [id(weight) for model in models.values() for weight in model.weights]
    assert held == [id(weight) for weight in backbone.network.weights]
    scramble(backbone.network)
    images = np.ones((1, 48, 48, 3), "float32")
    np.testing.assert_array_equal(compose(models, images), np.asarray(backbone.network(images, training=False)))


def test_batch_norm_in_a_stage_follows_training():
    backbone = build_backbone("tiny", 48, 3)
    stage = split_into_stages(backbone, "rgb")["stage1"]
    images = np.random.default_rng(0).normal(5.0, 1.0, (2, 48, 48, 3)).astype("float32")
    before = stage.get_layer("stem_bn").moving_mean.numpy()
    trained, inferred = np.asarray(stage(images, training=True)), np.asarray(stage(images, training=False))
    assert np.abs(trained - inferred).max() > 0.1
    assert np.abs(stage.get_layer("stem_bn").moving_mean.numpy() - before).max() > 0


def test_splitting_twice_and_saving_a_stage(tmp_path):
    backbone = build_backbone("tiny", 48, 3)
    split_into_stages(backbone, "first")
    models = split_into_stages(backbone, "second")
    assert models["stage2"].input.name == "second_stage2_input"
    models["stage2"].save(tmp_path / "stage.keras")
    loaded = keras.models.load_model(tmp_path / "stage.keras")
    features = np.random.default_rng(0).uniform(0, 1, (2, 24, 24, 32)).astype("float32")
    np.testing.assert_array_equal(np.asarray(loaded(features)), np.asarray(models["stage2"](features)))


def test_stages_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = build_backbone("tiny", 48, 3)
        models = split_into_stages(backbone, "rgb")
    finally:
        keras.config.set_dtype_policy("float32")
    assert models["stage2"].input.dtype == "bfloat16"
    images = np.random.default_rng(0).uniform(-1, 1, (1, 48, 48, 3)).astype("float32")
    expected = np.asarray(backbone.network(images, training=False)).astype("float32")
    np.testing.assert_array_equal(compose(models, images).astype("float32"), expected)


def test_a_layer_that_is_no_cut_is_named():
    with pytest.raises(ValueError, match="Layer 'c', the end of stage 'one', is not a cut of residual"):
        split_into_stages(Backbone(residual_network(), {"one": "c", "two": "out"}, PLAIN, ()), "rgb")


@pytest.mark.parametrize("stages", [{"one": "d", "two": "a", "three": "out"}, {"one": "image", "two": "out"}])
def test_stages_must_advance(stages):
    with pytest.raises(ValueError, match="does not come after"):
        split_into_stages(Backbone(residual_network(), stages, PLAIN, ()), "rgb")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": {"one": "nowhere", "two": "out"}}, "nowhere"),
        ({"stages": {}}, "must name layers"),
        ({"stages": {"one": "a", "two": "d"}}, "network's output"),
        ({"default_connect_at": ("three",)}, "three"),
    ],
)
def test_an_inconsistent_backbone_is_refused(changes, message):
    fields = {"stages": {"one": "a", "two": "out"}, "normalization": PLAIN, "default_connect_at": ("one",), **changes}
    with pytest.raises(ValueError, match=message):
        Backbone(network=residual_network(), **fields)


def test_normalization_of_bytes():
    images = np.array([[0, 100, 255], [10, 20, 30]], "uint8")
    plain = np.asarray(Normalization(127.5, 1 / 127.5).apply(images))
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain[0], [-1.0, -27.5 / 127.5, 1.0], rtol=1e-6)
    reversed_ = np.asarray(Normalization((1.0, 2.0, 3.0), (1.0, 10.0, 100.0), reverse_channels=True).apply(images))
    np.testing.assert_allclose(reversed_[1], [30 - 1, (20 - 2) * 10, (10 - 3) * 100])


def test_normalization_with_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        Normalization((1.0, 2.0), (1.0, 2.0, 3.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.mean = 1.0


def test_registry(monkeypatch):
    monkeypatch.setattr(streams, "_BUILDERS", dict(streams._BUILDERS))
    monkeypatch.setattr(streams, "BACKBONES", list(streams.BACKBONES))
    assert {"tiny", "efficientnet_lite0", "applications:ResNet50"} <= set(streams.backbone_names())
    streams.register_backbone("mine", lambda size, channels: (size, channels))
    assert build_backbone("mine", 96, 10) == ((96, 96), 10)
    assert build_backbone("mine", (96, 128), 3) == ((96, 128), 3)
    assert "mine" in streams.backbone_names()
    with pytest.warns(UserWarning, match="mine"):  # a notebook's cell that is run twice
        streams.register_backbone("mine", lambda size, channels: "again")
    assert build_backbone("mine", 96, 10) == "again"
    for name, builder in (("applications:Mine", lambda size, channels: None), ("other", "no function")):
        with pytest.raises(ValueError):
            streams.register_backbone(name, builder)


def test_an_unknown_backbone_names_the_argument_and_the_known_ones():
    with pytest.raises(UserError, match=r"`backbone` 'resnet_50' .*efficientnet_lite0.*resnet50, tiny.*ResNet50"):
        build_backbone("resnet_50", 64, 3)


def plain(image_size, in_channels):
    image = keras.Input((*image_size, in_channels), name="image")
    x = keras.layers.Conv2D(4, 3, 2, "same", name="one")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(6, 3, 2, "same", activation="relu", name="two")(x)
    network = keras.Model(image, x, name="plain")
    return Backbone(network, {"first": "norm", "second": "two"}, Normalization(127.5, 0.01), ("first",))


@pytest.mark.parametrize("form", ["object", "function"])
def test_a_backbone_of_ones_own_serves_both_streams_and_is_saved(form, tmp_path):
    given = plain((16, 16), 3) if form == "object" else plain
    model = CCSN(["a", "b"], backbone=given, flow_length=2, image_size=16)
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, 256, (1, 2, 16, 16, c)).astype("uint8") for name, c in (("rgb", 3), ("flow", 4))}
    if form == "object":  # its weights are kept, and the temporal stream starts from them
        assert model.network("spatial") is given.network
        kernel, flow = (model.network(s).get_layer("one").kernel.numpy() for s in ("spatial", "temporal"))
        np.testing.assert_allclose(flow[:, :, 1], kernel.mean(axis=2), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for name, value in model(inputs).items():
        np.testing.assert_array_equal(loaded(inputs)[name], value)
    with pytest.raises(UserError, match="`image_size`"):
        CCSN(2, backbone=plain((16, 16), 3), image_size=32)
    with pytest.raises(UserError, match="`backbone`"):
        CCSN(2, backbone=lambda size, channels: 3)
