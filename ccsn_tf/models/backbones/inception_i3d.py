"""Inflated Inception-v1 (I3D), laid out as DeepMind published it so that its weights fit.

J. Carreira, A. Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017.
"""

from __future__ import annotations

import keras
from keras import layers

from ccsn_tf.models.backbones.backbone import Backbone, Normalization

# name: (1x1x1, (3x3x3 reduction, 3x3x3), (the same of the second branch), projection of the pooled map)
BLOCKS = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}
_POOLS_BEFORE = {"3b": ("3a_3x3", (1, 3, 3), (1, 2, 2)), "4b": ("4a_3x3", 3, 2), "5b": ("5a_2x2", 2, 2)}


def inception_i3d(clip_size: tuple[int, int, int], in_channels: int) -> Backbone:
    """I3D without its classifier: 12,279,984 trainable parameters for RGB, total stride 8 in time and 32 in space.

    A layer's name is its place in the published TensorFlow checkpoint (`Mixed_3b_Branch_1_Conv3d_0b_3x3`, and with
    `_bn` its normalisation, which has no scale).

    Args:
        clip_size: (frames, height, width) of the input; published for 64 frames of 224 pixels.
        in_channels: channels of a frame, 3 for RGB or 2 for flow.

    Returns:
        `Backbone` with stages `conv1`, `conv2`, `mixed_3b` .. `mixed_5c`, connected after `mixed_5b`: earlier maps have
        thousands of positions in space and time. Where more than one step of time is left at the end, the last stage
        averages neighbours, as published: the first and the last step count half in the mean over time.
    """
    clip = keras.Input((*clip_size, in_channels), name="clip")
    x = _pool(_unit(clip, "Conv3d_1a_7x7", 64, 7, 2), "2a_3x3", (1, 3, 3), (1, 2, 2))
    stages = {"conv1": "MaxPool3d_2a_3x3"}
    x = _unit(_unit(x, "Conv3d_2b_1x1", 64, 1), "Conv3d_2c_3x3", 192, 3)
    stages["conv2"] = "Conv3d_2c_3x3_relu"
    for name, widths in BLOCKS.items():
        if name in _POOLS_BEFORE:
            x = _pool(x, *_POOLS_BEFORE[name])
        x = _block(x, f"Mixed_{name}", *widths)
        stages[f"mixed_{name}"] = f"Mixed_{name}_output"
    if x.shape[1] > 1:
        x = layers.AveragePooling3D((2, 1, 1), 1, name="AvgPool3d_0a_2x1")(x)
        stages["mixed_5c"] = "AvgPool3d_0a_2x1"
    return Backbone(
        network=keras.Model(clip, x, name="inception_i3d"),
        stages=stages,
        normalization=Normalization(127.5, 1 / 127.5),
        default_connect_at=("mixed_5b",),
    )


def _block(x, name, single, first, second, projection):
    branches = [_unit(x, f"{name}_Branch_0_Conv3d_0a_1x1", single, 1)]
    for number, (reduction, width) in enumerate((first, second), start=1):
        # The checkpoints spell one name otherwise than its likes.
        last = "Conv3d_0a_3x3" if (name, number) == ("Mixed_5b", 2) else "Conv3d_0b_3x3"
        y = _unit(x, f"{name}_Branch_{number}_Conv3d_0a_1x1", reduction, 1)
        branches.append(_unit(y, f"{name}_Branch_{number}_{last}", width, 3))
    y = layers.MaxPooling3D(3, 1, "same", name=f"{name}_Branch_3_MaxPool3d_0a_3x3")(x)
    branches.append(_unit(y, f"{name}_Branch_3_Conv3d_0b_1x1", projection, 1))
    return layers.Concatenate(name=f"{name}_output")(branches)


def _pool(x, name, size, stride):
    return layers.MaxPooling3D(size, stride, "same", name=f"MaxPool3d_{name}")(x)


def _unit(x, name, filters, kernel, stride=1):
    """Convolution, normalisation without scale, ReLU, padded as TensorFlow does."""
    start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    x = layers.Conv3D(filters, kernel, stride, "same", use_bias=False, kernel_initializer=start, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, scale=False, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
