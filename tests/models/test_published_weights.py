"""What publishers call their weights, and what does not fit."""

import keras
import numpy as np
import published_bn_inception
import pytest
from layers import randomise_in_scale

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import Normalization, convolution_and_norm
from ccsn_tf.models.published_weights import LAYOUTS, adopt_scaling, load_published


@pytest.fixture(scope="module")
def bn_inception():
    return build_backbone("bn_inception", 32, 3).network


@pytest.fixture(scope="module")
def state():
    return published_bn_inception.random_state(classes=5)


def weights_after(network, state, layout):
    kernel, bias = load_published(network, state, LAYOUTS[layout], "net.pth")
    return [*network.get_weights(), kernel, bias]


def test_names_of_bn_inception(bn_inception, state):
    """`pretrainedmodels`, its predecessor (whose normalisations have a first axis of one), tsn-pytorch."""
    expected = weights_after(bn_inception, state, "bninception")
    older = {name.replace("last_linear", "fc"): array for name, array in state.items() if "tracked" not in name}
    older = {name: array[None] if "_bn." in name else array for name, array in older.items()}
    trained = {f"module.base_model.{name}": array for name, array in state.items() if "last_linear" not in name}
    trained |= {f"module.new_fc.{kind}": state[f"last_linear.{kind}"] for kind in ("weight", "bias")}
    for names, layout in ((older, "bninception"), (trained, "tsn")):
        randomise_in_scale(bn_inception)
        for ours, theirs in zip(weights_after(bn_inception, names, layout), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(expected[-2], state["last_linear.weight"].T)


def test_a_partial_file_is_told_what_is_missing(bn_inception, state):
    before = bn_inception.get_weights()
    part = dict(state)
    del part["inception_4c_3x3.bias"], part["last_linear.weight"]
    part["inception_5b_pool_proj.weight"] = np.zeros((128, 1024, 3, 3), "float32")
    part["inception_6a.weight"] = np.zeros(3, "float32")
    with pytest.raises(UserError) as caught:
        load_published(bn_inception, part, LAYOUTS["bninception"], "part.pth")
    assert str(caught.value) == (
        "part.pth does not fit bn_inception: inception_5b_pool_proj.weight is (3, 3, 1024, 128) in Keras's layout, "
        "inception_5b_pool_proj needs (1, 1, 1024, 128); inception_6a.weight has no place in bn_inception; "
        "inception_4c_3x3/bias is not in the checkpoint; classifier/kernel is not in the checkpoint."
    )
    for now, then in zip(bn_inception.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_for_flow_take_our_scaling():
    """The stem, on bytes scaled by us, is the published one on bytes scaled by them, but at the border."""
    image = keras.Input((32, 32, 4))
    stem = keras.Model(image, convolution_and_norm(image, "conv1", 8, 7, 2))
    randomise_in_scale(stem)
    flow = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 4)).astype("uint8")
    theirs, ours = Normalization(128.0, 1 / 128), Normalization(127.5, 1 / 57.0)
    expected = np.asarray(stem(theirs.apply(flow), training=False))[0]
    adopt_scaling(stem, theirs, ours)
    found = np.asarray(stem(ours.apply(flow), training=False))[0]
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-4)
    np.testing.assert_allclose(found, expected, atol=0.05)
    untouched = stem.get_weights()
    adopt_scaling(stem, ours, ours)
    np.testing.assert_array_equal(stem.get_weights()[0], untouched[0])
