"""The published networks against forward passes in NumPy, written from their layer tables, through the importer."""

import numpy as np
import published_bn_inception
import published_lite0
import published_resnet50
import pytest
from layers import dtype_policy

from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.published_weights import LAYOUTS, load_published

MMACTION2 = {"names": published_resnet50.mmaction2, "classes": 7, "classifier": "cls_head.fc_cls"}
TORCHVISION = {"names": published_resnet50.torchvision, "classes": 7, "classifier": "fc"}


@pytest.mark.parametrize(
    ("layout", "published", "of_state", "size", "channels", "image_scale", "policy", "tolerance"),
    [
        # In float64 only a difference of layout can show: random weights amplify float32 rounding to 1e-3.
        ("bninception", published_bn_inception, {"classes": 7}, (32, 64), 10, 128, "float64", 1e-8),
        ("mmaction2", published_resnet50, MMACTION2, (33, 47), 10, 2, "float64", 1e-8),
        ("torchvision", published_resnet50, TORCHVISION, (32, 32), 3, 2, "float32", 1e-4),
    ],
)
def test_agrees_with_the_layer_table(layout, published, of_state, size, channels, image_scale, policy, tolerance):
    state = published.random_state(**of_state, **({} if channels == 3 else {"channels": channels}))
    with dtype_policy(policy):
        network = build_backbone(LAYOUTS[layout].backbone, size, channels).network
    kernel, bias = load_published(network, state, LAYOUTS[layout], "net.pth")
    image = np.random.default_rng(1).uniform(-image_scale, image_scale, (*size, channels)).astype("float32")
    names = {"names": of_state["names"]} if "names" in of_state else {}
    expected = published.forward(state, image, **names)
    assert expected.std() > 0.3 and 0.05 < np.mean(expected > 0) < 0.97  # it can tell networks apart
    found = np.asarray(network(image[None], training=False))[0]
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)
    *_, weights, biases = (array for name, array in state.items() if "tracked" not in name)
    np.testing.assert_array_equal(kernel, weights.T)
    np.testing.assert_array_equal(bias, biases)


def test_published_weights_agree_with_the_layer_table(published):
    backbone = build_backbone("efficientnet_lite0", (49, 64), 3)
    kernel, bias = load_published(backbone.network, published, LAYOUTS["efficientnet_lite0"], "net.pth")
    image = np.asarray(backbone.normalization.apply(np.random.default_rng(2).integers(0, 256, (49, 64, 3), "uint8")))
    expected = published_lite0.forward(published, image)
    features = np.asarray(backbone.network(image[None], training=False))[0]
    np.testing.assert_allclose(features, expected, atol=1e-4)
    logits = features.mean((0, 1)) @ kernel + bias
    reference = published["_fc.weight"].astype("float64") @ expected.mean((0, 1)) + published["_fc.bias"]
    np.testing.assert_allclose(logits, reference, atol=1e-3)
