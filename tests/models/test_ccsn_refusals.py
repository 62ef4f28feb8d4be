"""Arguments and inputs that the network refuses."""

import keras
import numpy as np
import pytest
from small_models import CLASSES, SIZE, kept

from ccsn_tf.errors import UserError
from ccsn_tf.models import backbones as streams
from ccsn_tf.models.backbones.backbone import Backbone, Normalization
from ccsn_tf.models.ccsn import CCSN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "tinny"}, "`backbone` 'tinny'"),
        ({"connection": "add"}, "^`connection` must be one of"),
        ({"span": "video"}, "^`span`"),
        (
            {"connect_at": ("stage2", "stage9", "head")},
            "^`connect_at` names stage9, head",
        ),
        ({"connect_at": ("stage9",), "connection": "none"}, "^`connect_at` names stage9"),
        ({"position": "near"}, "^`position`"),
        ({"position": "near", "connection": "none"}, "^`position`"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_its_argument(arguments, message):
    with pytest.raises(UserError, match=message):
        CCSN(CLASSES, image_size=SIZE, **arguments)


def test_streams_whose_maps_differ_are_not_joined(monkeypatch):
    monkeypatch.setattr(streams, "_BUILDERS", dict(streams._BUILDERS))
    streams.register_backbone("wider", wider_for_flow)
    message = r"^`connect_at` second: .* 8x8x8 \(spatial\) and 8x8x20 \(temporal\)"
    with pytest.raises(UserError, match=message):
        CCSN(CLASSES, backbone="wider", image_size=SIZE)
    for arguments in ({"connect_at": ("first",)}, {"connection": "none"}):
        assert CCSN(CLASSES, backbone="wider", image_size=SIZE, **arguments).output["logits"].shape == (None, 3)


def wider_for_flow(image_size, in_channels):
    image = keras.Input((*image_size, in_channels), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", name="one")(image)
    y = keras.layers.Conv2D(8 if in_channels == 3 else 20, 3, 2, "same", name="two")(x)
    network = keras.Model(image, y, name="wider")
    return Backbone(network, {"first": "one", "second": "two"}, Normalization(127.5, 0.01), ("second",))


def test_a_misspelt_argument_is_refused():
    with pytest.raises(TypeError, match="image_sise"):
        CCSN(CLASSES, image_sise=SIZE)


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_float_images_are_refused_and_not_seen_as_black(scale):
    inputs = {
        "rgb": scale * np.ones((1, 1, SIZE, SIZE, 3), "float32"),
        "flow": np.zeros((1, 1, SIZE, SIZE, 10), "uint8"),
    }
    with pytest.raises(ValueError, match="`inputs` rgb must be uint8"):
        kept()(inputs)


def test_a_missing_stream_is_named():
    with pytest.raises(ValueError, match="flow"):
        kept()({"rgb": np.zeros((1, 1, SIZE, SIZE, 3), "uint8")})


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError):
        kept()({"rgb": np.zeros((1, 1, 32, 32, 3), "uint8"), "flow": np.zeros((1, 1, 32, 32, 10), "uint8")})
