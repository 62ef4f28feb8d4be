"""EfficientNet-Lite0 against a forward pass in NumPy, written from the published layer table."""

import math

import keras
import numpy as np
import pytest

from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages
from ccsn_tf.models.checkpoints import LAYOUTS, load_published

# One row a unit: kernel, stride, expansion, channels in, channels out. Written out on purpose, not derived.
UNITS = [
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112),
    (5, 1, 6, 112, 112),
    (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
]


def checkpoint_of_random_weights(seed=0):
    """A state dict of the published names and PyTorch layouts, scaled so that ReLU6 cuts some values at both ends."""
    rng = np.random.default_rng(seed)
    state = {}

    def convolution(name, *shape):
        state[f"{name}.weight"] = rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype("float32")

    def batch_norm(name, channels):
        for kind, low, high in (("weight", 0.8, 1.4), ("bias", -0.5, 0.8), ("running_mean", -0.3, 0.3)):
            state[f"{name}.{kind}"] = rng.uniform(low, high, channels).astype("float32")
        state[f"{name}.running_var"] = rng.uniform(0.3, 1.2, channels).astype("float32")
        state[f"{name}.num_batches_tracked"] = np.array(7, "int64")

    convolution("_conv_stem", 32, 3, 3, 3)
    batch_norm("_bn0", 32)
    for i, (kernel, _, expansion, channels_in, channels_out) in enumerate(UNITS):
        wide = expansion * channels_in
        if expansion > 1:
            convolution(f"_blocks.{i}._expand_conv", wide, channels_in, 1, 1)
            batch_norm(f"_blocks.{i}._bn0", wide)
        convolution(f"_blocks.{i}._depthwise_conv", wide, 1, kernel, kernel)
        batch_norm(f"_blocks.{i}._bn1", wide)
        convolution(f"_blocks.{i}._project_conv", channels_out, wide, 1, 1)
        batch_norm(f"_blocks.{i}._bn2", channels_out)
    convolution("_conv_head", 1280, 320, 1, 1)
    batch_norm("_bn1", 1280)
    state["_fc.weight"] = rng.normal(0, 0.03, (1000, 1280)).astype("float32")
    state["_fc.bias"] = rng.normal(0, 0.1, 1000).astype("float32")
    return state


class Oracle:
    """The network on one (C, H, W) image in float64, with kernels in PyTorch's layout."""

    def __init__(self, state):
        self.state = state

    def windows(self, x, kernel, stride):
        """(C, kernel * kernel, h, w) under TensorFlow's 'same' rule: of an odd total, the end gets one more."""
        _, height, width = x.shape
        out = [-(-size // stride) for size in (height, width)]
        total = [max((o - 1) * stride + kernel - size, 0) for o, size in zip(out, (height, width), strict=True)]
        x = np.pad(x, [(0, 0)] + [(t // 2, t - t // 2) for t in total])
        rows, columns = stride * (out[0] - 1) + 1, stride * (out[1] - 1) + 1
        shifts = [(i, j) for i in range(kernel) for j in range(kernel)]
        return np.stack([x[:, i : i + rows : stride, j : j + columns : stride] for i, j in shifts], axis=1)

    def full(self, x, name, stride=1):
        weight = self.state[f"{name}.weight"].astype("float64")
        windows = self.windows(x, weight.shape[-1], stride)
        return np.einsum("ock,ckhw->ohw", weight.reshape(*weight.shape[:2], -1), windows, optimize=True)

    def depthwise(self, x, name, stride):
        weight = self.state[f"{name}.weight"].astype("float64")
        return np.einsum("ck,ckhw->chw", weight.reshape(weight.shape[0], -1), self.windows(x, weight.shape[-1], stride))

    def norm(self, x, name):
        gamma, beta, mean, variance = (
            self.state[f"{name}.{kind}"].astype("float64")[:, None, None]
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def __call__(self, image):
        """(H, W, 3) -> (h, w, 1280)."""
        x = self.full(image.transpose(2, 0, 1).astype("float64"), "_conv_stem", stride=2)
        x = relu6(self.norm(x, "_bn0"))
        for i, (_, stride, expansion, channels_in, channels_out) in enumerate(UNITS):
            name, y = f"_blocks.{i}", x
            if expansion > 1:
                y = relu6(self.norm(self.full(y, f"{name}._expand_conv"), f"{name}._bn0"))
            y = relu6(self.norm(self.depthwise(y, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
            y = self.norm(self.full(y, f"{name}._project_conv"), f"{name}._bn2")
            x = x + y if stride == 1 and channels_in == channels_out else y
        return relu6(self.norm(self.full(x, "_conv_head"), "_bn1")).transpose(1, 2, 0)


def relu6(x):
    return np.clip(x, 0, 6)


def predict(network, image):
    return np.asarray(network(image[None], training=False))[0]


@pytest.mark.parametrize("size", [(33, 33), (32, 48)])
def test_agrees_with_the_layer_table(size):
    """In float64, where only a difference of layout can show: random weights amplify float32 rounding to 1e-3."""
    state = checkpoint_of_random_weights()
    keras.config.set_dtype_policy("float64")
    try:
        network = build_backbone("efficientnet_lite0", size, 3).network
    finally:
        keras.config.set_dtype_policy("float32")
    load_published(network, state, LAYOUTS["efficientnet_lite0"], "net.pth")
    image = np.random.default_rng(1).uniform(-1, 1, (*size, 3)).astype("float32")
    expected = Oracle(state)(image)
    assert expected.std() > 0.5 and np.mean((expected > 0) & (expected < 6)) > 0.05  # it can tell networks apart
    np.testing.assert_allclose(predict(network, image), expected, atol=1e-6)


def test_published_weights_agree_with_the_layer_table(published):
    backbone = build_backbone("efficientnet_lite0", 64, 3)
    kernel, bias = load_published(backbone.network, published, LAYOUTS["efficientnet_lite0"], "net.pth")
    image = np.asarray(backbone.normalization.apply(np.random.default_rng(2).integers(0, 256, (64, 64, 3), "uint8")))
    features, expected = predict(backbone.network, image), Oracle(published)(image)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    logits = features.mean((0, 1)) @ kernel + bias
    reference = published["_fc.weight"].astype("float64") @ expected.mean((0, 1)) + published["_fc.bias"]
    np.testing.assert_allclose(logits, reference, atol=1e-3)


def test_parameter_count_is_the_published_one():
    network = build_backbone("efficientnet_lite0", 224, 3).network
    dense = 1280 * 1000 + 1000
    assert sum(math.prod(weight.shape) for weight in network.trainable_weights) + dense == 4_652_008


def test_stages_at_224_pixels():
    backbone = build_backbone("efficientnet_lite0", 224, 10)
    shapes = {stage: model.output_shape[1:] for stage, model in split_into_stages(backbone, "temporal").items()}
    assert shapes == {
        "stem": (112, 112, 32),
        "block1": (112, 112, 16),
        "block2": (56, 56, 24),
        "block3": (28, 28, 40),
        "block4": (14, 14, 80),
        "block5": (14, 14, 112),
        "block6": (7, 7, 192),
        "block7": (7, 7, 320),
        "head": (7, 7, 1280),
    }
    assert backbone.default_connect_at == ("block5",)


def test_every_layer_has_a_name_of_its_own_and_normalisation_is_the_published_one():
    first, second = (build_backbone("efficientnet_lite0", 32, 3) for _ in range(2))
    assert [layer.name for layer in first.network.layers] == [layer.name for layer in second.network.layers]
    values = np.asarray(first.normalization.apply(np.array([127, 255, 0], "uint8")))
    np.testing.assert_allclose(values, [0.0, 1.0, -127 / 128])
