"""The demo backbone: size, shapes, and that it learns."""

import math

import numpy as np
import pytest

from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages


@pytest.mark.parametrize(("channels", "parameters"), [(3, 118_712), (10, 120_224)])
def test_parameter_count(channels, parameters):
    network = build_backbone("tiny", 64, channels).network
    assert sum(math.prod(weight.shape) for weight in network.trainable_weights) == parameters


def test_shapes_at_64_pixels():
    models = split_into_stages(build_backbone("tiny", 64, 10), "temporal")
    assert {stage: model.output_shape for stage, model in models.items()} == {
        "stage1": (None, 32, 32, 32),
        "stage2": (None, 16, 16, 64),
        "stage3": (None, 8, 8, 96),
    }


@pytest.mark.parametrize(("size", "last"), [(48, (6, 6)), (112, (14, 14)), ((50, 70), (7, 9))])
def test_other_sizes(size, last):
    assert build_backbone("tiny", size, 3).network.output_shape == (None, *last, 96)


def test_normalized_bytes_lie_within_one():
    backbone = build_backbone("tiny", 48, 3)
    values = np.asarray(backbone.normalization.apply(np.array([0, 255], "uint8")))
    np.testing.assert_allclose(values, [-1.0, 1.0])
    assert backbone.default_connect_at == ("stage2",)


def test_two_builds_share_nothing():
    first, second = (build_backbone("tiny", 48, 3).network for _ in range(2))
    assert not {id(weight) for weight in first.weights} & {id(weight) for weight in second.weights}
