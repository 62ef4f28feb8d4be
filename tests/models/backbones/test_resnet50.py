"""ResNet-50 in PyTorch's layout against a forward pass in NumPy."""

import math

import numpy as np
import published_resnet50
import pytest
from layers import dtype_policy

from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages
from ccsn_tf.models.checkpoints import LAYOUTS, load_published


@pytest.mark.parametrize(
    ("layout", "classifier", "size", "channels", "policy", "tolerance"),
    [
        ("mmaction2", "cls_head.fc_cls", (64, 96), 10, "float64", 1e-8),
        ("torchvision", "fc", (33, 47), 3, "float32", 1e-4),
    ],
)
def test_agrees_with_the_layer_table(layout, classifier, size, channels, policy, tolerance):
    names = getattr(published_resnet50, layout)
    state = published_resnet50.random_state(names, channels, 7, classifier)
    with dtype_policy(policy):
        network = build_backbone("resnet50", size, channels).network
    kernel, bias = load_published(network, state, LAYOUTS[layout], "net.pth")
    image = np.random.default_rng(1).uniform(-2, 2, (*size, channels)).astype("float32")
    expected = published_resnet50.forward(state, image, names)
    assert expected.std() > 0.3 and 0.1 < np.mean(expected > 0) < 0.95  # it can tell networks apart
    found = np.asarray(network(image[None], training=False))[0]
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=tolerance)
    np.testing.assert_array_equal(kernel, state[f"{classifier}.weight"].T)
    np.testing.assert_array_equal(bias, state[f"{classifier}.bias"])


def test_parameter_count_is_the_published_one():
    network = build_backbone("resnet50", 32, 3).network
    trained = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    assert trained == 23_508_032 and trained + 2048 * 1000 + 1000 == 25_557_032


def test_stages_at_224_pixels():
    backbone = build_backbone("resnet50", 224, 10)
    shapes = {stage: model.output_shape[1:] for stage, model in split_into_stages(backbone, "temporal").items()}
    assert shapes == {
        "stem": (56, 56, 64),
        "layer1": (56, 56, 256),
        "layer2": (28, 28, 512),
        "layer3": (14, 14, 1024),
        "layer4": (7, 7, 2048),
    }
    assert backbone.default_connect_at == ("layer3",)


def test_pixels_are_scaled_as_published():
    scaling = build_backbone("resnet50", 32, 3).normalization
    values = np.asarray(scaling.apply(np.array([[123.675, 116.28, 103.53], [182.07, 173.4, 160.905]])))
    np.testing.assert_allclose(values, [[0, 0, 0], [1, 1, 1]], atol=1e-6)
