"""What the model is given, and what its streams see of it."""

import numpy as np
import pytest
from layers import POLICIES, dtype_policy

from ccsn_tf.models.backbones.backbone import Normalization
from ccsn_tf.models.inputs import flow_normalization
from ccsn_tf.models.layers import InputNormalization


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "of_images", [Normalization(127.0, 1 / 128), Normalization((103.9, 116.8, 123.7), (0.017, 0.0175, 0.0171), True)]
)
def test_mirrored_flow_is_the_negative_and_no_motion_is_zero(policy, of_images):
    scaling = flow_normalization(of_images)
    fields = np.arange(256, dtype="uint8").reshape(1, 1, 16, 8, 2)
    with dtype_policy(policy):
        layer = InputNormalization(scaling.mean, scaling.scale, scaling.reverse_channels)
        rest = layer(np.full((1, 1, 2, 2, 2), 127.5, "float32"))
        plain, mirrored = (np.asarray(layer(x)).astype("float32") for x in (fields, 255 - fields))
    np.testing.assert_array_equal(np.asarray(rest).astype("float32"), 0.0)
    np.testing.assert_array_equal(mirrored, -plain)
    assert plain.min() < 0 < plain.max()


def test_flow_is_spread_as_the_channels_are_on_average():
    assert flow_normalization(Normalization(1.0, 0.5)) == Normalization(127.5, 0.5)
    assert flow_normalization(Normalization((1.0, 2.0, 3.0), (0.5, 0.25, 0.75), True)) == Normalization(127.5, 0.5)
