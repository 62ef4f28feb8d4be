"""Folding batch normalisation changes nothing but the rounding, and only where it is exact."""

import keras
import numpy as np
import pytest
from keras import layers
from layers import features, randomise

from ccsn_tf.config import ModelConfig
from ccsn_tf.models.build import build_model
from ccsn_tf.models.folding import fold_batch_norms


def model_of(*chain, shape=(9, 10, 6)):
    x = image = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    made = keras.Model(image, x)
    randomise(made)
    return made


def batch_norms(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]


def check(model, left=0):
    """The same outputs; so many normalisations are left."""
    inputs = features(4, *model.input_shape[1:])
    before = model(inputs, training=False).numpy()
    result = fold_batch_norms(model)
    after = result(inputs, training=False).numpy()
    assert np.ptp(before) > 0.1
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    assert len(batch_norms(result)) == left
    np.testing.assert_array_equal(model(inputs, training=False), before)


@pytest.mark.parametrize(
    ("convolution", "options"),
    [
        (layers.Conv2D(5, 3, 2, "same", use_bias=False), {}),
        (layers.Conv2D(5, 3), {"scale": False}),
        (layers.Conv2D(6, 3, groups=3), {"center": False}),
        (layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=3), {}),
        (layers.Dense(7), {}),
        (layers.Conv3D(5, 3, use_bias=False), {}),
    ],
    ids=["strided", "bias", "groups", "depthwise", "dense", "3d"],
)
def test_every_convolution_takes_its_normalisation(convolution, options):
    shape = (4, 6, 6, 3) if isinstance(convolution, layers.Conv3D) else (9, 10, 6)
    norm = layers.BatchNormalization(epsilon=1e-2, **options)
    check(model_of(convolution, norm, layers.ReLU(), shape=shape))


def test_networks_within_networks():
    inner = model_of(layers.Conv2D(6, 3, padding="same"), layers.BatchNormalization(), layers.ReLU())
    check(model_of(inner, layers.Conv2D(4, 1), layers.BatchNormalization()))


def test_what_others_read_too_is_left():
    image = keras.Input((8, 8, 3))
    convolved = layers.Conv2D(4, 3, padding="same")(image)
    model = keras.Model(image, layers.Add()([convolved, layers.BatchNormalization()(convolved)]))
    randomise(model)
    check(model, left=1)
    output_itself = keras.Model(image, [convolved, layers.BatchNormalization()(convolved)])
    assert len(batch_norms(fold_batch_norms(output_itself))) == 1
    shared = layers.Conv2D(3, 3, padding="same")
    used_twice = keras.Model(image, shared(layers.BatchNormalization()(shared(image))))
    randomise(used_twice)
    check(used_twice, left=1)


@pytest.mark.parametrize(
    "chain",
    [
        [layers.BatchNormalization(), layers.Conv2D(4, 3)],
        [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()],
        [layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()],
        [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)],
    ],
    ids=["first", "activation", "relu", "axis"],
)
def test_what_is_not_exact_is_left(chain):
    check(model_of(*chain), left=1)


def test_a_connection_block_keeps_its_own():
    model = build_model(ModelConfig(image_size=16, attention_heads=2, embedding_dim=8), ["a", "b"])
    folded = fold_batch_norms(model)
    assert len(batch_norms(model)) > len(batch_norms(folded)) == 2
    assert all("connection" in norm.path for norm in batch_norms(folded))
    assert folded.input_shape == model.input_shape and folded.output_shape == model.output_shape
