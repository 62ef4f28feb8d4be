"""EfficientNet-Lite0, laid out as published so that its ImageNet weights fit.

M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
variants (no squeeze-excite, ReLU6, fixed stem and head) were released by the same authors in 2020.
"""

import keras
from keras import layers

from ccsn_tf.models.backbones.backbone import Backbone, Normalization

STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
# (kernel, repeats, stride, expansion, channels) of `block1` to `block7`
BLOCKS = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)


def efficientnet_lite0(image_size: tuple[int, int], in_channels: int) -> Backbone:
    """EfficientNet-Lite0 without its classifier: 3,371,008 trainable parameters for RGB, total stride 32.

    A layer's name is its place in the published PyTorch checkpoint with the dots and leading underscores gone
    (`blocks_3_expand_conv` takes `_blocks.3._expand_conv.weight`), which is how `weights.py` finds it.

    Args:
        image_size: (height, width) of the input in pixels; published for 224.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone` with stages `stem`, `block1` .. `block7`, `head`, connected after `block5`.
    """
    image = keras.Input((*image_size, in_channels), name="image")
    x = _convolution(image, "conv_stem", "bn0", STEM_CHANNELS, 3, 2)
    x = layers.ReLU(6.0, name="relu_stem")(x)
    stages = {"stem": "relu_stem"}
    index = 0  # the checkpoint numbers the units through, over all blocks
    for number, (kernel, repeats, stride, expansion, channels) in enumerate(BLOCKS, start=1):
        for repeat in range(repeats):
            x, end = _unit(x, f"blocks_{index}", kernel, stride if repeat == 0 else 1, expansion, channels)
            index += 1
        stages[f"block{number}"] = end
    x = _convolution(x, "conv_head", "bn1", HEAD_CHANNELS, 1, 1)
    x = layers.ReLU(6.0, name="relu_head")(x)
    stages["head"] = "relu_head"
    return Backbone(
        network=keras.Model(image, x, name="efficientnet_lite0"),
        stages=stages,
        normalization=Normalization(127.0, 1 / 128),
        default_connect_at=("block5",),
    )


def _unit(x, name, kernel, stride, expansion, channels):
    """A mobile inverted bottleneck; also returns the name of its last layer."""
    shortcut = x
    if expansion != 1:
        x = _convolution(x, f"{name}_expand_conv", f"{name}_bn0", expansion * x.shape[-1], 1, 1)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    x = layers.DepthwiseConv2D(
        kernel,
        stride,
        "same",  # TensorFlow's: at stride 2 an even input is padded at the bottom and right only
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}_depthwise_conv",
    )(x)
    x = _batch_norm(f"{name}_bn1")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = _convolution(x, f"{name}_project_conv", f"{name}_bn2", channels, 1, 1)
    if stride == 1 and shortcut.shape[-1] == channels:
        return layers.Add(name=f"{name}_add")([x, shortcut]), f"{name}_add"
    return x, f"{name}_bn2"


def _convolution(x, name, bn_name, filters, kernel, stride):
    x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False, kernel_initializer=_initializer(), name=name)(x)
    return _batch_norm(bn_name)(x)


def _batch_norm(name):
    # Momentum 0.9: in fine-tuning of a few hundred steps the statistics of flow must replace those of ImageNet.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)


def _initializer():
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
