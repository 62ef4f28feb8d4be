"""A small convolutional network for demo videos of 48 to 112 px on a CPU."""

import keras
from keras import layers

from ccsn_tf.models.backbones.backbone import Backbone, Normalization

STAGES = {  # stage -> (layer, filters, stride) of its 3x3 convolutions
    "stage1": (("stem", 24, 2), ("stage1_1", 32, 1)),
    "stage2": (("stage2_1", 64, 2), ("stage2_2", 64, 1)),
    "stage3": (("stage3_1", 96, 2),),
}


def tiny(image_size: tuple[int, int], in_channels: int) -> Backbone:
    """Five 3x3 convolutions with batch normalisation and ReLU, 118,000 to 122,000 trainable parameters.

    Plain convolutions: depthwise ones have fewer products but are slower on a CPU. Total stride 8: a 64 px input ends
    as an 8x8 map. Weights start at random; there are none to download.

    Args:
        image_size: (height, width) of the input in pixels.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone` with stages `stage1` (stride 2, 32 channels), `stage2` (stride 4, 64), `stage3` (stride 8, 96). The
        streams are connected after `stage2`, so that a convolution can still work on what the other stream brought.
    """
    x = image = keras.Input((*image_size, in_channels), name="image")
    for convolutions in STAGES.values():
        for name, filters, stride in convolutions:
            x = layers.Conv2D(
                filters, 3, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
            )(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return Backbone(
        network=keras.Model(image, x, name="tiny"),
        stages={stage: f"{convolutions[-1][0]}_relu" for stage, convolutions in STAGES.items()},
        normalization=Normalization(127.5, 1 / 127.5),
        default_connect_at=("stage2",),
    )
