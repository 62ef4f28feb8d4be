"""Small two-stream networks with random weights, and clips for them."""

import functools
import pathlib

import keras
import numpy as np
from layers import randomise_in_scale

from ccsn_tf.models.backbones.backbone import Backbone, Normalization
from ccsn_tf.models.ccsn import CCSN

CLASSES = ["archery", "basketball", "diving"]
SIZE = 16

# Settings for the smallest backbone, also in a process of its own.
SMALL = {"backbone": "small", "plugins": (str(pathlib.Path(__file__).with_name("small_plugin.py")),)}


def backbone(image_size, in_channels):
    """Two convolutions: the cheapest to build and to trace."""
    image = keras.Input((*image_size, in_channels), name="image")
    x = keras.layers.Conv2D(16, 3, 2, "same", name="one")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.Conv2D(16, 3, 2, "same", activation="relu", name="two")(x)
    network = keras.Model(image, x, name="small")
    return Backbone(network, {"first": "norm", "second": "two"}, Normalization(127.5, 0.01), ("first",))


def model(connection="cross_attention", **arguments):
    """A small tiny model with random weights everywhere, in batch normalisation too."""
    made = CCSN(CLASSES, connection=connection, image_size=SIZE, embedding_dim=8, attention_heads=2, **arguments)
    randomise_in_scale(made)
    return made


@functools.cache
def kept(connection="cross_attention", span="segment", position="distance"):
    """The same, for tests that leave the weights alone."""
    return model(connection, span=span, position=position)


def clips(number=2, segments=3, flow_length=5, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256, (number, segments, size, size, channels)).astype("uint8")
        for name, channels in (("rgb", 3), ("flow", 2 * flow_length))
    }


def predict(network, inputs):
    return {name: np.asarray(value) for name, value in network(inputs).items()}


def assert_same(ours, theirs, exactly=True):
    assert ours.keys() == theirs.keys()
    for name in ours:
        if exactly:
            np.testing.assert_array_equal(ours[name], theirs[name])
        else:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
