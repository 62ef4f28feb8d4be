"""Pixels to normalised images, clips to images and back, flow in the graph, inputs that are refused."""

import keras
import numpy as np
import pytest
from layers import arrays, dtype_policy, features, randomise_in_scale, run_layer_test
from moving_frames import moving
from small_models import CLASSES, SIZE, clips, kept

from ccsn_tf.config import Config
from ccsn_tf.data.flow import quantise
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.models.inputs import FoldSegments, InputNormalization, UnfoldSegments


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


@pytest.mark.parametrize(
    ("layer", "arguments", "inputs", "output_dtype"),
    [
        (InputNormalization, {"mean": 127.5, "scale": 1 / 127.5}, pixels(2, 3, 4, 5, 10), None),
        (
            InputNormalization,
            {"mean": (1.5, 20.0, 3.0), "scale": (0.1, 0.2, 0.3), "reverse_channels": True},
            pixels(2, 3, 4, 5, 3),
            None,
        ),
        (UnfoldSegments, {"dtype": "float32"}, [features(6, 8), pixels(2, 3, 4, 4, 3)], "float32"),
        (FoldSegments, {}, features(2, 3, 4, 5, 8), None),
        (QuantizedFlow, {"bound": 1.0, "scale": 2.0}, features(2, 4, 5, 6), "float32"),
    ],
)
def test_layer(layer, arguments, inputs, output_dtype):
    run_layer_test(layer, arguments, inputs, output_dtype=output_dtype)


def test_normalization_clip_by_clip():
    clips = pixels(2, 3, 4, 5, 3)
    mean, scale = [103.0, 116.0, 123.0], [0.5, 0.25, 2.0]
    images = np.asarray(InputNormalization(mean, scale, reverse_channels=True)(clips))
    expected = (clips.reshape(6, 4, 5, 3)[..., ::-1].astype("float32") - mean) * np.float32(scale)
    np.testing.assert_array_equal(images, expected)


def test_normalization_rounds_once():
    clips = np.arange(256, dtype="uint8").reshape(1, 1, 16, 16, 1)
    with dtype_policy("mixed_float16"):
        images = np.asarray(InputNormalization(127.0, 1 / 128)(clips))
    exact = (clips[0].astype("float32") - 127) / 128
    np.testing.assert_array_equal(images, exact.astype(images.dtype))  # not of a difference of rounded bytes


def test_the_input_is_normalised_once_and_mirrored_flow_is_its_negative():
    network, rgb, flow = kept("none"), pixels(2, 3, SIZE, SIZE, 3), pixels(2, 3, SIZE, SIZE, 10)
    maps = network.network("spatial")((rgb.reshape(6, SIZE, SIZE, 3).astype("float32") - 127.5) / 127.5)
    inside = keras.Model(network.input, network.get_layer("spatial_consensus").output)
    consensus = np.asarray(maps).reshape(2, 3, 2, 2, 96).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.asarray(inside({"rgb": rgb, "flow": flow})), consensus, rtol=1e-4, atol=1e-5)
    layer = network.get_layer("temporal_normalization")
    np.testing.assert_array_equal(np.asarray(layer(255 - flow)), -np.asarray(layer(flow)))
    np.testing.assert_allclose(np.asarray(layer(flow)).max(), 1.0)


GRAPH = {"classes": ["a", "b"], "flow_length": 2, "image_size": 32}


def snippets():
    """uint8 (2, 2, 3, 32, 32, 3): two clips of two snippets of three frames, each in another direction."""
    shifts = [[(1.0, 0.0), (0.0, 2.0)], [(-1.5, 0.5), (0.0, 0.0)]]
    grey = [[moving(shift, 32, 32, 3, seed=i) for i, shift in enumerate(row)] for row in shifts]
    return np.repeat(np.rint(grey).astype("uint8")[..., None], 3, axis=-1)


def test_frames_give_what_rgb_and_stored_flow_give_and_are_saved(tmp_path):
    estimate = TVL1Flow(levels=2, warps=1, iterations=(3, 4))
    graph = CCSN(**GRAPH, flow_source="graph", flow=estimate, flow_bound=4.0, flow_scale=2.0, span="clip")
    stored, frames = CCSN(**GRAPH, span="clip"), snippets()
    randomise_in_scale(graph)
    stored.set_weights(graph.get_weights())
    graph.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("temporal_flow").get_config() == graph.get_layer("temporal_flow").get_config()
    with iterations(LOOPED):
        fields = np.asarray(estimate(frames.reshape(4, 3, 32, 32, 3))).reshape(2, 2, 32, 32, 4)
        flow = quantise(2.0 * fields, 4.0)
        assert np.ptp(flow) > 50
        wanted, found, loaded = (
            stored({"rgb": frames[:, :, 1], "flow": flow}),
            *(m({"frames": frames}) for m in (graph, again)),
        )
    for expected, ours, theirs in zip(arrays(wanted), arrays(found), arrays(loaded), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        np.testing.assert_array_equal(theirs, ours)


def test_a_pixel_counts_as_in_the_stored_frame():
    config = Config().replace(flow_source="graph", image_size=64, flow_bound=10.0, short_side=256)
    arguments = build_model(config.model, ["a", "b"], data=config.data).get_config()
    assert (arguments["flow_scale"], arguments["flow_bound"]) == (4.0, 10.0)
    for contradicting in ({"flow": "none"}, {"flow_source": "graph", "flow_stride": 2}):
        with pytest.raises(UserError, match="--flow_source=graph"):
            Config().replace(**contradicting)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rgb": np.ones((1, 1, SIZE, SIZE, 3), "float32")}, UserError, "^`inputs` rgb must be uint8"),  # not black
        ({"flow": ()}, UserError, "^`inputs` lack flow"),
        ({"flow": None}, UserError, "^`inputs` flow must be arrays"),
        ({"flow": np.zeros((2, 1, SIZE, SIZE, 10), "uint8")}, UserError, "^`inputs` must be of the same clips"),
        ({"flow": np.zeros((1, 2, SIZE, SIZE, 10), "uint8")}, UserError, "^`inputs` .*other numbers of .*segments"),
        ({"rgb": np.zeros((1, 1, 32, 32, 3), "uint8")}, UserError, "^`inputs` rgb must have the shape .*`image_size`"),
        ({"flow": np.zeros((1, 1, SIZE, SIZE, 4), "uint8")}, UserError, "^`inputs` flow .*`flow_length`"),
    ],
)
def test_inputs_that_are_refused(changes, error, message):
    inputs = {name: np.zeros((1, 1, SIZE, SIZE, c), "uint8") for name, c in (("rgb", 3), ("flow", 10))}
    given = {name: value for name, value in {**inputs, **changes}.items() if not isinstance(value, tuple)}
    with pytest.raises(error, match=message) as caught:
        kept()(given)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^`inputs` must be a dict"):
        kept()(list(inputs.values()))


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (None, {}, "^`y` is missing"),
        (np.array([0, 3]), {}, "^`y` has labels that are none of"),
        (np.array([0, 0.5]), {}, "^`y` has labels that are none of"),
        (["jump", "walk"], {}, "^`y` must be class indices"),
        (np.eye(2), {}, r"^`y` must have one class index per clip"),
        (np.array([0, 1]), {"sample_weight": np.ones(2)}, "^`sample_weight`"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_labels_that_are_refused(method, y, options, message):
    network = kept("none")
    network.compile(optimizer="sgd", run_eagerly=True)
    with pytest.raises(UserError, match=message):
        getattr(network, method)(clips(segments=1), y, verbose=0, **options)


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"clip_norm": -1}, {"loss_weights": [1]}])
def test_what_compile_refuses(argument):
    with pytest.raises(ValueError, match=f"^`{next(iter(argument))}`"):
        kept("none").compile(optimizer="sgd", **argument)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "tinny"}, "`backbone` 'tinny'"),
        ({"backbone": keras.Sequential()}, "^`backbone`"),
        ({"connection": "add"}, "^`connection` must be one of"),
        ({"connection": keras.layers.Add()}, "^`connection` must be"),
        ({"classes": ["a", "a"]}, "^`classes` has a twice"),
        ({"classes": 2.5}, "^`classes`"),
        ({"consensus": "median"}, "^`consensus`"),
        ({"consensus": "trn", "num_segments": 40}, "^`num_segments`"),  # of which there are more subsets than memory
        ({"attention_heads": 0}, "^`attention_heads`"),
        ({"flow_source": "frames"}, "^`flow_source`"),
        ({"flow_source": "graph", "flow_bound": 0}, "^`flow_bound`"),
        ({"flow": "tvl1"}, "^`flow`"),
        ({"fusion_weights": (1.0,)}, "^`fusion_weights`"),
        ({"fusion_weights": (0, 0), "fusion_features": False}, "^`fusion_weights`"),
        ({"weights": "nowhere.weights.h5"}, "^`weights` nowhere"),
        ({"connect_at": ("stage2", "stage9", "head"), "connection": "none"}, "^`connect_at` names stage9, head"),
        ({"position": "near", "connection": "none"}, "^`position`"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_with_its_argument(arguments, message):
    with pytest.raises(UserError, match=message):
        CCSN(**{"classes": CLASSES, "image_size": SIZE, **arguments})


def test_the_number_of_classes_may_be_numpy_s():
    assert CCSN(np.int64(2), image_size=SIZE, connect_at="stage1", connection="sum").classes == ["0", "1"]
