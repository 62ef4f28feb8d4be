"""A small backbone that sees a snippet in space and time."""

import keras
import pytest
from keras import layers

from ccsn_tf.models import backbones as streams
from ccsn_tf.models.backbones import Backbone, Normalization


def small3d(clip_size, in_channels):
    clip = keras.Input((*clip_size, in_channels), name="clip")
    x = layers.Conv3D(8, 3, (1, 2, 2), "same", activation="relu", name="one")(clip)
    y = layers.Conv3D(8, 3, 2, "same", activation="relu", name="two")(x)
    stages = {"first": "one", "second": "two"}
    return Backbone(keras.Model(clip, y, name="small3d"), stages, Normalization((1.0,) * in_channels, 0.1), ("first",))


@pytest.fixture
def small3d_registered(monkeypatch):
    monkeypatch.setattr(streams, "_BUILDERS", dict(streams._BUILDERS))
    monkeypatch.setattr(streams, "_VOLUMETRIC", set(streams._VOLUMETRIC))
    streams.register_backbone("small3d", small3d, volumetric=True)
