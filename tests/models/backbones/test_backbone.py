"""Cuts of a graph, stages, pixel scaling, and the registry of backbones."""

import keras
import numpy as np
import pytest
import small_models
from keras import layers
from layers import arrays, dtype_policy, randomise, randomise_in_scale

from ccsn_tf.errors import UserError
from ccsn_tf.models import backbones
from ccsn_tf.models.backbones import build_backbone, register_backbone
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


def images(size, channels=3):
    return np.random.default_rng(1).uniform(-1, 1, (2, size, size, channels)).astype("float32")


def compose(models, x):
    for model in models.values():
        x = model(x, training=False)
    return np.asarray(x)


def test_cuts_are_where_one_tensor_carries_everything():
    network = residual_network()
    plus = next(operation.name for operation in network.operations if "add" in operation.name)
    assert list(cut_layers(network)) == ["image", "a", plus, "d", "out"]
    randomise(network)
    models = split_into_stages(Backbone(network, {"one": "a", "two": plus, "three": "out"}, PLAIN, ("two",)), "rgb")
    np.testing.assert_array_equal(compose(models, images(8)), np.asarray(network(images(8), training=False)))


def test_cut_layers_refuses_a_layer_that_is_called_twice():
    image = keras.Input((8, 8, 4), name="image")
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    network = keras.Model(image, layers.ReLU(name="out")(twice(twice(image))), name="net")
    with pytest.raises(ValueError, match="called twice"):
        cut_layers(network)


@pytest.mark.parametrize(
    ("name", "channels", "policy"),
    [
        ("tiny", 3, "mixed_bfloat16"),
        ("applications:MobileNetV3Small", 4, "float32"),
    ],
)
def test_stages_one_after_the_other_are_the_network(name, channels, policy):
    with dtype_policy(policy):
        backbone = build_backbone(name, 32, channels)
        models = split_into_stages(backbone, "spatial")
    randomise_in_scale(backbone.network)
    assert [model.name for model in models.values()] == [f"spatial_{stage}" for stage in backbone.stages]
    held = [id(weight) for model in models.values() for weight in model.weights]
    assert held == [id(weight) for weight in backbone.network.weights]
    (expected,) = arrays(backbone.network(images(32, channels), training=False))
    np.testing.assert_array_equal(compose(models, images(32, channels)), expected)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"one": "c", "two": "out"}, "Layer 'c', the end of stage 'one', is not a cut of residual"),
        ({"one": "d", "two": "a", "three": "out"}, "does not come after"),
        ({"one": "image", "two": "out"}, "does not come after"),
    ],
)
def test_stages_end_in_cuts_and_advance(stages, message):
    with pytest.raises(ValueError, match=message):
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


def test_registry(monkeypatch):
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    monkeypatch.setattr(backbones, "BACKBONES", list(backbones.BACKBONES))
    register_backbone("mine", lambda size, channels: (size, channels))
    assert build_backbone("mine", 96, 10) == ((96, 96), 10)
    assert build_backbone("mine", (96, 128), 3) == ((96, 128), 3)
    assert "mine" in backbones.BACKBONES
    with pytest.warns(UserWarning, match="mine"):  # a notebook's cell that is run twice
        register_backbone("mine", lambda size, channels: "again")
    assert build_backbone("mine", 96, 10) == "again"
    for name, builder in (("applications:Mine", lambda size, channels: None), ("other", "no function")):
        with pytest.raises(ValueError, match=r"`(builder|name)`"):
            register_backbone(name, builder)
    with pytest.raises(UserError, match=r"`backbone` 'resnet_50' .*efficientnet_lite0.*resnet50.*tiny.*ResNet50"):
        build_backbone("resnet_50", 64, 3)


@pytest.mark.parametrize("form", ["object", "function"])
def test_a_backbone_of_ones_own_serves_both_streams_and_is_saved(form, tmp_path):
    given = small_models.backbone((16, 16), 3) if form == "object" else small_models.backbone
    model = CCSN(["a", "b"], backbone=given, flow_length=2, image_size=16)
    inputs = small_models.clips(segments=2, flow_length=2)
    if form == "object":  # its weights are kept, and the temporal stream starts from them
        assert model.network("spatial") is given.network
        kernel, flow = (model.network(s).get_layer("one").kernel.numpy() for s in ("spatial", "temporal"))
        np.testing.assert_allclose(flow[:, :, 1], kernel.mean(axis=2), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    small_models.assert_same(small_models.predict(loaded, inputs), small_models.predict(model, inputs))
    with pytest.raises(UserError, match="`image_size`"):
        CCSN(2, backbone=small_models.backbone((16, 16), 3), image_size=32)
    with pytest.raises(UserError, match="`backbone`"):
        CCSN(2, backbone=lambda size, channels: 3)
