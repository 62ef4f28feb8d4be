"""The network that takes frames: its flow is that of its own layer, in the form of records."""

import keras
import numpy as np
import pytest
from layers import arrays, randomise_in_scale
from moving_frames import moving

from ccsn_tf.config import Config
from ccsn_tf.data.flow import quantise
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow

SIZES = {"flow_length": 2, "image_size": 32}
SMALL = {"classes": ["a", "b"], **SIZES}


def clips():
    """uint8 (2, 2, 3, 32, 32, 3): two clips of two snippets of three frames, each in another direction."""
    shifts = [[(1.0, 0.0), (0.0, 2.0)], [(-1.5, 0.5), (0.0, 0.0)]]
    grey = [[moving(shift, 32, 32, 3, seed=i) for i, shift in enumerate(row)] for row in shifts]
    return np.repeat(np.rint(grey).astype("uint8")[..., None], 3, axis=-1)


def test_quantized_flow_is_that_of_records():
    flow = np.random.default_rng(0).normal(0, 12, (2, 5, 5, 4)).astype("float32")
    np.testing.assert_array_equal(QuantizedFlow(20.0)(flow), quantise(flow, 20.0))
    np.testing.assert_array_equal(QuantizedFlow(10.0, 2.0)(flow), quantise(2 * flow, 10.0))


@pytest.mark.parametrize("span", ["segment", "clip"])
def test_frames_give_what_rgb_and_stored_flow_give(span):
    graph = CCSN(**SMALL, flow_source="graph", flow_bound=8.0, flow_scale=2.0, span=span)
    stored = CCSN(**SMALL, span=span)
    randomise_in_scale(graph)
    stored.set_weights(graph.get_weights())
    frames = clips()
    fields = np.asarray(TVL1Flow()(frames.reshape(4, 3, 32, 32, 3))).reshape(2, 2, 32, 32, 4)
    flow = quantise(2.0 * fields, 8.0)
    assert np.ptp(flow) > 50
    expected = stored({"rgb": frames[:, :, 1], "flow": flow})
    for ours, theirs in zip(arrays(graph({"frames": frames})), arrays(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_saved_and_read_again(tmp_path):
    model = CCSN(**SMALL, flow_source="graph", flow=TVL1Flow(levels=2, warps=1, iterations=(3, 4)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("temporal_flow").get_config() == model.get_layer("temporal_flow").get_config()
    for ours, theirs in zip(arrays(again({"frames": clips()})), arrays(model({"frames": clips()})), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_pixel_counts_as_in_the_stored_frame():
    config = Config().replace(flow_source="graph", image_size=64, flow_bound=10.0, short_side=256)
    model = build_model(config.model, ["a", "b"], data=config.data)
    arguments = model.get_config()
    assert (arguments["flow_scale"], arguments["flow_bound"]) == (4.0, 10.0)


def test_settings_that_contradict():
    with pytest.raises(UserError, match=r"--flow=none leaves .* pass --flow_source=graph"):
        Config().replace(flow="none")
    with pytest.raises(UserError, match=r"--flow_source=graph needs frames .* prepare with --flow_stride=1"):
        Config().replace(flow_source="graph", flow_stride=2)
    with pytest.raises(UserError, match="`flow_source`"):
        CCSN(["a", "b"], flow_source="frames")
