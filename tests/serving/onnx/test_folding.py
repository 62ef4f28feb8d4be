"""Folding batch normalisation changes nothing but the rounding, and only where it is exact."""

import keras
import numpy as np
import pytest
from keras import layers
from layers import features, randomise

from ccsn_tf.config import ModelConfig
from ccsn_tf.models.build import build_model
from ccsn_tf.serving.onnx.folding import fold_batch_norms


def model_of(*chain, shape=(9, 10, 6)):
    x = image = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    made = keras.Model(image, x)
    randomise(made)
    return made


def batch_norms(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]


def check(model, folded, reasons=()):
    """The same outputs; so many normalisations folded; one left for each of `reasons`, for that reason."""
    inputs = features(4, *model.input_shape[1:])
    before = model(inputs, training=False).numpy()
    result, report = fold_batch_norms(model)
    after = result(inputs, training=False).numpy()
    assert np.ptp(before) > 0.1
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    assert report.folded == folded
    assert len(batch_norms(result)) == len(report.left) == len(reasons)
    assert all(part in reason for part, reason in zip(reasons, report.left.values(), strict=True))
    np.testing.assert_array_equal(model(inputs, training=False), before)


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(5, 3, 2, "same", use_bias=False),
        layers.Conv2D(5, 3),
        layers.Conv2D(6, 3, groups=3),
        layers.Conv2D(5, 3, dilation_rate=2, use_bias=False),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=3),
        layers.Dense(7),
    ],
    ids=["strided", "bias", "groups", "dilated", "depthwise", "multiplier", "dense"],
)
def test_every_convolution_takes_its_normalisation(convolution):
    check(model_of(convolution, layers.BatchNormalization(epsilon=1e-2), layers.ReLU()), folded=1)


def test_three_dimensions():
    check(model_of(layers.Conv3D(5, 3, use_bias=False), layers.BatchNormalization(), shape=(4, 6, 6, 3)), folded=1)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_normalisation_without_scale_or_shift(options):
    check(model_of(layers.Conv2D(5, 3, use_bias=False), layers.BatchNormalization(**options)), folded=1)


def test_networks_within_networks():
    inner = model_of(layers.Conv2D(6, 3, padding="same"), layers.BatchNormalization(), layers.ReLU())
    check(model_of(inner, layers.Conv2D(4, 1), layers.BatchNormalization()), folded=2)


def test_what_others_read_too_is_left():
    image = keras.Input((8, 8, 3))
    convolved = layers.Conv2D(4, 3, padding="same", name="both")(image)
    model = keras.Model(image, layers.Add()([convolved, layers.BatchNormalization()(convolved)]))
    randomise(model)
    check(model, 0, ["both before it is also read without it"])


def test_a_convolution_that_is_an_output_itself_is_left():
    image = keras.Input((8, 8, 3))
    convolved = layers.Conv2D(4, 3, name="out")(image)
    model = keras.Model(image, [convolved, layers.BatchNormalization()(convolved)])
    assert fold_batch_norms(model)[1].folded == 0


def test_a_convolution_used_twice_is_left():
    image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="twice")
    model = keras.Model(image, shared(layers.BatchNormalization()(shared(image))))
    randomise(model)
    check(model, 0, ["twice before it"])


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ([layers.BatchNormalization(), layers.Conv2D(4, 3)], "the input"),
        ([layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()], "no linear convolution"),
        ([layers.Conv2D(4, 3), layers.ReLU(name="after"), layers.BatchNormalization()], "follows after"),
        ([layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)], "normalises axis 1"),
    ],
    ids=["first", "activation", "relu", "axis"],
)
def test_what_is_not_exact_is_left(chain, reason):
    check(model_of(*chain), 0, [reason])


def test_efficientnet_lite0_keeps_the_connection_block_s_alone():
    model = build_model(ModelConfig(backbone="efficientnet_lite0", image_size=32, attention_heads=2), ["a", "b"])
    folded, report = fold_batch_norms(model)
    # A stream has 49: stem, head, two in the first unit, three in each of the other fifteen.
    assert report.folded == 2 * 49
    assert sorted(report.left.values()) == ["inside a connection block"] * 2
    assert len(batch_norms(folded)) == 2
    assert folded.input_shape == model.input_shape and folded.output_shape == model.output_shape
