"""Backbones that see a snippet in space and time, with a small one of our own."""

import keras
import numpy as np
import pytest
from layers import randomise_in_scale

from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN

FRAMES, SIZE = 3, 16


def make(**settings):
    flat = {"flow_length": FRAMES, "frames_per_segment": FRAMES, "image_size": SIZE, "attention_heads": 2, **settings}
    model = CCSN(["a", "b"], "small3d", embedding_dim=4, **flat)
    randomise_in_scale(model)
    return model


def clips(seed=0):
    rng = np.random.default_rng(seed)
    shape = (2, 2, SIZE, SIZE)
    return {
        name: rng.integers(0, 256, (*shape, channels * FRAMES)).astype("uint8")
        for name, channels in (("rgb", 3), ("flow", 2))
    }


def test_channels_become_frames(small3d_registered):
    inputs = clips()
    layer = make().get_layer("spatial_normalization")
    found = np.asarray(layer(inputs["rgb"]))
    assert found.shape == (4, FRAMES, SIZE, SIZE, 3) == (4, *layer.output.shape[1:])
    for frame in range(FRAMES):
        expected = (inputs["rgb"][1, 0, ..., 3 * frame : 3 * frame + 3] - 1.0) * 0.1
        np.testing.assert_allclose(found[2, frame], expected, rtol=1e-5)


@pytest.mark.parametrize("connection", ["cross_attention", "shared_affinity", "concat"])
def test_streams_are_joined_over_space_and_time(small3d_registered, connection):
    model, inputs = make(connection=connection), clips()
    before = np.asarray(model(inputs)["spatial_logits"])
    inputs["flow"][0, 0, :4, :4, :2] = 255 - inputs["flow"][0, 0, :4, :4, :2]  # a corner of the first field
    after = np.asarray(model(inputs)["spatial_logits"])
    assert np.abs(after[0] - before[0]).max() > 1e-6
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5)


def test_saved_and_read(small3d_registered, tmp_path):
    model, inputs = make(), clips()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(again(inputs)["logits"]), np.asarray(model(inputs)["logits"]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"frames_per_segment": 1}, "--backbone=small3d sees as many frames as .* pass --frames_per_segment=3"),
        ({"span": "clip"}, "--span=clip is not for --backbone=small3d"),
    ],
)
def test_what_does_not_go_together_is_said(small3d_registered, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        make(**settings)
    with pytest.raises(UserError, match="--backbone=tiny sees one frame a segment: pass --frames_per_segment=1"):
        CCSN(["a"], "tiny", flow_length=3, frames_per_segment=3)
