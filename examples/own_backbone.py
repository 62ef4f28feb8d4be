"""A backbone of your own: a function of the image's size and channels that returns a `Backbone`.

In Python:          model = ct.CCSN(classes=10, backbone=plain_cnn, image_size=64)
On the command line: python scripts/train.py --plugins=examples/own_backbone.py --backbone=plain_cnn ...
"""

import keras
from keras import layers

import ccsn_tf as ct


def plain_cnn(image_size, in_channels):
    """Four convolutions with normalisation; 1/8 of the image's resolution at `middle`, 1/16 at the end.

    Args:
        image_size: (height, width) in pixels.
        in_channels: 3 for RGB, 2L for flow; the spatial and the temporal stream each call the function.
    """
    image = keras.Input((*image_size, in_channels), name="image")
    x = image
    for number, filters in enumerate((32, 64, 96, 128), start=1):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    return ct.Backbone(
        network=keras.Model(image, x, name="plain_cnn"),
        stages={"early": "relu2", "middle": "relu3", "late": "relu4"},  # each ends at a layer all that follows needs
        normalization=ct.Normalization(mean=127.5, scale=1 / 127.5),
        default_connect_at=("middle",),
    )


ct.register_backbone("plain_cnn", plain_cnn)
