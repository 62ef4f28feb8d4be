"""ResNet-50 as PyTorch's libraries have it, laid out so that their weights fit.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Here, as in torchvision and mmaction2, the 3x3
convolution of a block has its stride, and convolutions have no bias; `keras.applications.ResNet50` has the stride in
the first 1x1 convolution and biases, so that neither's weights fit the other.
"""

import keras
from keras import layers

from ccsn_tf.models.backbones.backbone import Backbone, Normalization, convolution_and_norm

# (blocks, width, stride) of `layer1` to `layer4`; a block ends in four times the width.
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))


def resnet50(image_size: tuple[int, int], in_channels: int) -> Backbone:
    """ResNet-50 without its classifier: 23,508,032 trainable parameters for RGB, total stride 32.

    A layer's name is its place in the published checkpoints (`layer1_0_conv2`, and with `_bn` its normalisation).

    Args:
        image_size: (height, width) of the input in pixels; published for 224.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone` with stages `stem`, `layer1` .. `layer4`, connected after `layer3`.
    """
    image = keras.Input((*image_size, in_channels), name="image")
    x = layers.ReLU(name="conv1_relu")(convolution_and_norm(image, "conv1", 64, 7, 2))
    # Maps are not negative here, so that zeros around them never win.
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1, name="maxpool_padding")(x))
    stages = {"stem": "maxpool"}
    for number, (blocks, width, stride) in enumerate(STAGES, start=1):
        for block in range(blocks):
            x = _bottleneck(x, f"layer{number}_{block}", width, stride if block == 0 else 1)
        stages[f"layer{number}"] = f"layer{number}_{blocks - 1}_relu"
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Backbone(
        network=keras.Model(image, x, name="resnet50"),
        stages=stages,
        normalization=Normalization(tuple(255 * m for m in mean), tuple(1 / (255 * d) for d in deviation)),
        default_connect_at=("layer3",),
    )


def _bottleneck(x, name, width, stride):
    shortcut = x
    if stride > 1 or x.shape[-1] != 4 * width:
        shortcut = convolution_and_norm(x, f"{name}_downsample", 4 * width, 1, stride)
    x = layers.ReLU(name=f"{name}_conv1_relu")(convolution_and_norm(x, f"{name}_conv1", width, 1))
    x = layers.ReLU(name=f"{name}_conv2_relu")(convolution_and_norm(x, f"{name}_conv2", width, 3, stride))
    x = layers.Add(name=f"{name}_add")([convolution_and_norm(x, f"{name}_conv3", 4 * width, 1), shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)
