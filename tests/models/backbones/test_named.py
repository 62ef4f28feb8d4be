"""The named backbones as a table: parameters, stages, where the streams are connected, pixels."""

import numpy as np
import pytest
from layers import num_parameters

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages

# name: parameters for RGB, values of the stem's kernel a channel, size, {stage: maps for 10 channels}, connected after.
BACKBONES = {
    "tiny": (118_712, 9 * 24, 64, {"stage1": (32, 32, 32), "stage2": (16, 16, 64), "stage3": (8, 8, 96)}, "stage2"),
    "efficientnet_lite0": (
        4_652_008 - 1_281_000,  # as published, less the classifier
        9 * 32,
        224,
        {
            "stem": (112, 112, 32),
            "block1": (112, 112, 16),
            "block2": (56, 56, 24),
            "block3": (28, 28, 40),
            "block4": (14, 14, 80),
            "block5": (14, 14, 112),
            "block6": (7, 7, 192),
            "block7": (7, 7, 320),
            "head": (7, 7, 1280),
        },
        "block5",
    ),
    "bn_inception": (
        10_270_240,  # of the table: convolutions with their biases, gamma and beta of 10,016 channels
        49 * 64,
        224,
        {
            "conv1": (56, 56, 64),
            "conv2": (28, 28, 192),
            "inception_3a": (28, 28, 256),
            "inception_3b": (28, 28, 320),
            "inception_3c": (14, 14, 576),
            "inception_4a": (14, 14, 576),
            "inception_4b": (14, 14, 576),
            "inception_4c": (14, 14, 608),
            "inception_4d": (14, 14, 608),
            "inception_4e": (7, 7, 1056),
            "inception_5a": (7, 7, 1024),
            "inception_5b": (7, 7, 1024),
        },
        "inception_4d",
    ),
    "resnet50": (
        25_557_032 - 2_049_000,
        49 * 64,
        224,
        {
            "stem": (56, 56, 64),
            "layer1": (56, 56, 256),
            "layer2": (28, 28, 512),
            "layer3": (14, 14, 1024),
            "layer4": (7, 7, 2048),
        },
        "layer3",
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_and_stages(name):
    parameters, stem, size, shapes, connected = BACKBONES[name]
    backbone = build_backbone(name, size, 10)
    assert num_parameters(backbone.network.trainable_weights) == parameters + 7 * stem
    models = split_into_stages(backbone, "temporal")
    assert {stage: model.output_shape[1:] for stage, model in models.items()} == shapes
    assert backbone.default_connect_at == (connected,)


@pytest.mark.parametrize(
    ("name", "pixel", "expected"),
    [
        ("tiny", (0, 255, 127.5), (-1, 1, 0)),
        ("efficientnet_lite0", (127, 255, 0), (0, 1, -127 / 128)),
        ("bn_inception", (130, 120, 110), (6, 3, 2)),  # blue first
        ("resnet50", (182.07, 173.4, 160.905), (1, 1, 1)),
    ],
)
def test_pixels_are_scaled_as_published(name, pixel, expected):
    scaling = build_backbone(name, 32, 3).normalization
    np.testing.assert_allclose(np.asarray(scaling.apply(np.array(pixel))), expected, atol=1e-6)


@pytest.mark.parametrize("size", [40, 31, (64, 24)])
def test_a_size_at_which_bn_inception_s_branches_differ_or_pooling_uses_all_up(size):
    with pytest.raises(UserError, match=r"^`image_size`"):
        build_backbone("bn_inception", size, 3)
