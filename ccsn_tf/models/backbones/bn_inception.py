"""BN-Inception as TSN uses it, laid out as published so that its ImageNet weights fit.

S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015; the network of L. Wang et al., "Temporal Segment Networks", ECCV
2016, which differs from the paper's table in block 4c (608 channels) and in the biases of its convolutions.
"""

import keras
from keras import layers

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones.backbone import Backbone, Normalization, convolution_and_norm

# name: (1x1, (3x3 reduction, 3x3), (double 3x3 reduction, first, second), pooling, its projection). Without 1x1 and
# projection the block halves the resolution, in the last convolution of each branch.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96, 96), "average", 32),
    "3b": (64, (64, 96), (64, 96, 96), "average", 64),
    "3c": (None, (128, 160), (64, 96, 96), "max", None),
    "4a": (224, (64, 96), (96, 128, 128), "average", 128),
    "4b": (192, (96, 128), (96, 128, 128), "average", 128),
    "4c": (160, (128, 160), (128, 160, 160), "average", 128),
    "4d": (96, (128, 192), (160, 192, 192), "average", 128),
    "4e": (None, (128, 192), (192, 256, 256), "max", None),
    "5a": (352, (192, 320), (160, 224, 224), "average", 128),
    "5b": (352, (192, 320), (192, 224, 224), "max", 128),
}


def bn_inception(image_size: tuple[int, int], in_channels: int) -> Backbone:
    """BN-Inception without its classifier: 10,270,240 trainable parameters for RGB, total stride 32.

    A layer's name is its place in the published PyTorch checkpoint (`inception_3a_3x3_reduce`, and with `_bn` its
    normalisation), which is how `weights.py` finds it.

    Args:
        image_size: (height, width) of the input in pixels; published for 224.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone` with stages `conv1`, `conv2`, `inception_3a` .. `inception_5b`, connected after `inception_4d`.
        It expects BGR in 0..255, less (104, 117, 128).

    Raises:
        UserError: a size below 32, or at which the branches of a block end in maps of different sizes.
    """
    if min(image_size) < 32:
        raise UserError(
            f"`image_size`: {image_size[0]}x{image_size[1]} does not suit `backbone` bn_inception, whose pooling needs "
            "at least 32x32: raise it, or choose another backbone."
        )
    image = keras.Input((*image_size, in_channels), name="image")
    x = _halve(_convolution(image, "conv1_7x7_s2", 64, 7, 2), "pool1_3x3_s2")
    stages = {"conv1": "pool1_3x3_s2"}
    x = _convolution(x, "conv2_3x3_reduce", 64, 1)
    x = _halve(_convolution(x, "conv2_3x3", 192, 3), "pool2_3x3_s2")
    stages["conv2"] = "pool2_3x3_s2"
    for name, widths in BLOCKS.items():
        x = _block(x, f"inception_{name}", *widths)
        stages[f"inception_{name}"] = f"inception_{name}_output"
    return Backbone(
        network=keras.Model(image, x, name="bn_inception"),
        stages=stages,
        normalization=Normalization((104.0, 117.0, 128.0), 1.0, reverse_channels=True),
        default_connect_at=("inception_4d",),
    )


def _block(x, name, single, triple, double, pooling, projection):
    stride = 2 if single is None else 1
    branches = [] if single is None else [_convolution(x, f"{name}_1x1", single, 1)]
    y = _convolution(x, f"{name}_3x3_reduce", triple[0], 1)
    branches.append(_convolution(y, f"{name}_3x3", triple[1], 3, stride))
    y = _convolution(x, f"{name}_double_3x3_reduce", double[0], 1)
    y = _convolution(y, f"{name}_double_3x3_1", double[1], 3)
    branches.append(_convolution(y, f"{name}_double_3x3_2", double[2], 3, stride))
    if projection is None:
        branches.append(_halve(x, f"{name}_pool"))
    else:
        branches.append(_convolution(_pool(x, pooling, f"{name}_pool"), f"{name}_pool_proj", projection, 1))
    sizes = {branch.shape[1:3] for branch in branches}
    if len(sizes) > 1:  # convolutions and pooling round differently
        raise UserError(
            "`image_size` does not suit `backbone` bn_inception, whose branches would end in maps of "
            f"{' and '.join('x'.join(map(str, size)) for size in sorted(sizes))}: choose a multiple of 32, such as 224."
        )
    return layers.Concatenate(name=f"{name}_output")(branches)


def _convolution(x, name, filters, kernel, stride=1):
    x = convolution_and_norm(x, name, filters, kernel, stride, use_bias=True, fan="fan_in")
    return layers.ReLU(name=f"{name}_relu")(x)


def _halve(x, name):
    """3x3 maximum at stride 2, its size rounded up as Caffe does: a window may reach over the bottom and right."""
    beyond = [(-(-(size - 3) // 2) * 2 + 3) - size for size in x.shape[1:3]]
    if any(beyond):
        # Maps are not negative here, so that zeros never win; 'same' would shift a map of odd size.
        x = layers.ZeroPadding2D([(0, pixels) for pixels in beyond], name=f"{name}_padding")(x)
    return layers.MaxPooling2D(3, 2, name=name)(x)


def _pool(x, pooling, name):
    if pooling == "max":
        return layers.MaxPooling2D(3, 1, "same", name=name)(x)
    # The zeros around the map count into the published averages; 'same' would leave them out.
    return layers.AveragePooling2D(3, 1, name=name)(layers.ZeroPadding2D(1, name=f"{name}_padding")(x))
