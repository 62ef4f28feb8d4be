"""BN-Inception against a forward pass in NumPy, written from the published layer table."""

import math

import keras
import numpy as np
import published_bn_inception
import pytest
from layers import dtype_policy

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages

KINDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def load(network, state):
    """Each weight by name; written here a second time so that the importer has no part in the comparison."""
    left = {(layer.name, weight.name): weight for layer in network.layers for weight in layer.weights}
    for name, array in state.items():
        layer, kind = name.split(".")
        if kind == "num_batches_tracked" or layer == "last_linear":
            continue
        if layer.endswith("_bn"):
            kind = KINDS[kind]
        elif kind == "weight":
            kind, array = "kernel", array.transpose(2, 3, 1, 0)
        left.pop((layer, kind)).assign(array)
    assert not left


@pytest.mark.parametrize(
    ("size", "channels", "policy", "tolerance"), [((64, 96), 3, "float64", 1e-8), ((64, 64), 10, "float32", 1e-4)]
)
def test_agrees_with_the_layer_table(size, channels, policy, tolerance):
    """In float64 only a difference of layout can show."""
    state = published_bn_inception.random_state(channels)
    with dtype_policy(policy):
        network = build_backbone("bn_inception", size, channels).network
    load(network, state)
    image = np.random.default_rng(1).uniform(-128, 128, (*size, channels)).astype("float32")
    expected = published_bn_inception.forward(state, image)
    assert expected.shape == (size[0] // 32, size[1] // 32, 1024)
    assert expected.std() > 0.5 and 0.1 < np.mean(expected > 0) < 0.9  # it can tell networks apart
    found = np.asarray(network(image[None], training=False))[0]
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)


def test_parameter_counts():
    """Of the table: convolutions with their biases, gamma and beta of 10,016 channels."""
    for channels, expected in ((3, 10_270_240), (10, 10_270_240 + 7 * 7 * 7 * 64)):
        network = build_backbone("bn_inception", 32, channels).network
        assert sum(math.prod(weight.shape) for weight in network.trainable_weights) == expected
    scales = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert sum(layer.gamma.shape[0] for layer in scales) == 10_016


def test_stages_at_224_pixels():
    backbone = build_backbone("bn_inception", 224, 10)
    shapes = {stage: model.output_shape[1:] for stage, model in split_into_stages(backbone, "temporal").items()}
    assert shapes == {
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
    }
    assert backbone.default_connect_at == ("inception_4d",)


def test_pixels_are_blue_first():
    scaling = build_backbone("bn_inception", 32, 3).normalization
    np.testing.assert_allclose(np.asarray(scaling.apply(np.array([130, 120, 110], "uint8"))), [6, 3, 2])


def test_a_size_at_which_branches_differ_is_refused():
    with pytest.raises(UserError, match=r"^`image_size`"):
        build_backbone("bn_inception", 40, 3)


@pytest.mark.parametrize("size", [16, 31, (64, 24)])
def test_a_size_that_pooling_would_use_up_is_refused(size):
    with pytest.raises(UserError, match=r"^`image_size`"):
        build_backbone("bn_inception", size, 3)
