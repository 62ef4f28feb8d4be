"""I3D against a forward pass in NumPy, written from the published layer table."""

import math

import numpy as np
import published_i3d
import pytest

from ccsn_tf.models.backbones import build_backbone, split_into_stages
from ccsn_tf.models.checkpoints import LAYOUTS, load_published


@pytest.mark.parametrize(
    ("frames", "size", "scope", "channels"),
    [
        (9, (32, 48), "RGB/inception_i3d", 3),  # two steps of time are left at the end
        (5, (33, 32), "Flow/inception_i3d", 2),  # one
    ],
)
def test_agrees_with_the_layer_table(frames, size, scope, channels):
    variables = published_i3d.random_variables(scope, channels, 7)
    network = build_backbone("inception_i3d", size, channels, frames).network
    kernel, bias = load_published(network, variables, LAYOUTS["i3d"], "model.ckpt")
    clip = np.random.default_rng(1).uniform(-1, 1, (frames, *size, channels)).astype("float32")
    expected = published_i3d.forward(variables, clip, scope)
    assert expected.std() > 0.3 and 0.1 < np.mean(expected > 0) < 0.9  # it can tell networks apart
    found = np.asarray(network(clip[None], training=False))[0]
    if len(expected) > 1:
        logits = found.mean(axis=(0, 1, 2)) @ kernel + bias
        reference = published_i3d.logits(variables, expected, scope)
        np.testing.assert_allclose(logits, reference, atol=1e-4, rtol=1e-4)
        expected = (expected[1:] + expected[:-1]) / 2
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_parameter_counts():
    """Of the table: convolutions without biases, and one number for each of 7,280 channels."""
    for channels, expected in ((3, 12_272_704 + 7_280), (2, 12_250_752 + 7_280)):
        network = build_backbone("inception_i3d", 32, channels, 1).network
        assert sum(math.prod(weight.shape) for weight in network.trainable_weights) == expected


def test_stages_of_64_frames_at_224_pixels():
    backbone = build_backbone("inception_i3d", 224, 2, 64)
    shapes = {stage: model.output_shape[1:] for stage, model in split_into_stages(backbone, "temporal").items()}
    assert shapes == {
        "conv1": (32, 56, 56, 64),
        "conv2": (32, 56, 56, 192),
        "mixed_3b": (32, 28, 28, 256),
        "mixed_3c": (32, 28, 28, 480),
        "mixed_4b": (16, 14, 14, 512),
        "mixed_4c": (16, 14, 14, 512),
        "mixed_4d": (16, 14, 14, 512),
        "mixed_4e": (16, 14, 14, 528),
        "mixed_4f": (16, 14, 14, 832),
        "mixed_5b": (8, 7, 7, 832),
        "mixed_5c": (7, 7, 7, 1024),
    }
    assert backbone.default_connect_at == ("mixed_5b",)
