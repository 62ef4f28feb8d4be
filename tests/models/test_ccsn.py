"""The network as a whole: outputs, invariances, fusion, parameters, files."""

import itertools

import keras
import numpy as np
import pytest
from layers import dtype_policy, num_parameters
from small_models import CLASSES, SIZE, assert_same, clips, kept, model, predict

from ccsn_tf.errors import UserError
from ccsn_tf.losses import JointLoss
from ccsn_tf.models import streams
from ccsn_tf.models.ccsn import CCSN, STREAMS
from ccsn_tf.models.connection import CONNECTIONS
from ccsn_tf.models.streams import Backbone, Normalization

OUTPUTS = {
    "logits": len(CLASSES),
    "spatial_logits": len(CLASSES),
    "temporal_logits": len(CLASSES),
    "spatial_embedding": 8,
    "temporal_embedding": 8,
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs(policy):
    with dtype_policy(policy):
        network = model()
    outputs = predict(network, clips(number=2))
    assert {name: value.shape for name, value in outputs.items()} == {
        name: (2, width) for name, width in OUTPUTS.items()
    }
    assert {value.dtype.name for value in outputs.values()} == {"float32"}
    assert {name: spec.shape for name, spec in network.output.items()} == {n: (None, w) for n, w in OUTPUTS.items()}
    assert {spec.dtype for spec in network.output.values()} == {"float32"}
    assert network.get_layer("connection_stage2").compute_dtype == policy.removeprefix("mixed_")
    exact = predict(kept(), clips(number=2))
    for name, value in outputs.items():
        assert np.abs(value - exact[name]).max() < 0.1 * np.abs(exact[name]).max()
        if name.endswith("embedding"):
            np.testing.assert_allclose(np.linalg.norm(value, axis=-1), 1.0, rtol=1e-5)


def test_inputs_are_bytes():
    network = kept()
    assert {name: (spec.dtype, spec.shape) for name, spec in network.input.items()} == {
        "rgb": ("uint8", (None, None, SIZE, SIZE, 3)),
        "flow": ("uint8", (None, None, SIZE, SIZE, 10)),
    }


@pytest.mark.parametrize("flow_length", [1, 3])
def test_flow_length(flow_length):
    network = model("none", flow_length=flow_length)
    assert predict(network, clips(flow_length=flow_length))["logits"].shape == (2, 3)
    assert network.network("temporal").input_shape == (None, SIZE, SIZE, 2 * flow_length)


@pytest.mark.parametrize("span", ["segment", "clip"])
def test_any_number_of_segments(span):
    network = kept(span=span)
    for segments in (1, 2, 7):
        assert {x.shape[0] for x in predict(network, clips(segments=segments)).values()} == {2}
    one = clips(segments=1)
    thrice = {name: np.repeat(value, 3, axis=1) for name, value in one.items()}
    assert_same(predict(network, thrice), predict(network, one), exactly=False)


def test_the_spans_differ_only_beyond_one_segment():
    segment, clip = kept(), kept(span="clip")
    assert [w.path for w in segment.weights] == [w.path for w in clip.weights]
    assert_same(predict(segment, clips(segments=1)), predict(clip, clips(segments=1)), exactly=False)
    several = clips()
    assert np.abs(predict(segment, several)["logits"] - predict(clip, several)["logits"]).max() > 1e-4


@pytest.mark.parametrize("span", ["segment", "clip"])
def test_segments_have_no_order(span):
    inputs = clips(segments=4)
    shuffled = {name: value[:, [2, 0, 3, 1]] for name, value in inputs.items()}
    assert_same(predict(kept(span=span), shuffled), predict(kept(span=span), inputs), exactly=False)


def test_a_clip_is_judged_by_itself():
    """No clip's segments end up in another's consensus."""
    together = predict(kept(span="clip"), clips(number=3))
    for i in range(3):
        alone = predict(kept(span="clip"), {name: value[i : i + 1] for name, value in clips(number=3).items()})
        assert_same({name: value[i : i + 1] for name, value in together.items()}, alone, exactly=False)


def test_the_consensus_of_a_stream_is_over_its_own_segments():
    """Late fusion may look at more segments of one stream than of the other."""
    inputs = {"rgb": clips(number=1, segments=2)["rgb"], "flow": clips(number=1, segments=4)["flow"]}
    outputs = predict(kept("none"), inputs)
    assert {value.shape[0] for value in outputs.values()} == {1}
    whole = predict(kept("none"), clips(number=1, segments=4))
    for name in ("temporal_logits", "temporal_embedding"):
        np.testing.assert_allclose(outputs[name], whole[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_what_depends_on_the_other_stream(connection):
    network, inputs = kept(connection), clips()
    before = predict(network, inputs)
    for other, stream in (("flow", "spatial"), ("rgb", "temporal")):
        after = predict(network, {**inputs, other: clips(seed=1)[other]})
        for part in ("logits", "embedding"):
            difference = np.abs(after[f"{stream}_{part}"] - before[f"{stream}_{part}"]).max()
            assert difference == 0 if connection == "none" else difference > 1e-4
        assert np.abs(after["logits"] - before["logits"]).max() > 1e-4


def test_a_new_connection_leaves_the_streams_alone():
    plain, joined = (
        CCSN(CLASSES, connection=connection, image_size=SIZE, connect_at=("stage1", "stage2", "stage3"))
        for connection in ("none", "cross_attention")
    )
    own = [weight for weight in joined.weights if not weight.path.startswith("connection_")]
    assert [weight.path for weight in own] == [weight.path for weight in plain.weights]
    for weight, value in zip(own, plain.get_weights(), strict=True):
        weight.assign(value)
    assert_same(predict(joined, clips()), predict(plain, clips()))


@pytest.mark.parametrize("span", ["segment", "clip"])
def test_connections_at_several_stages(span):
    network = model(connect_at=("stage3", "stage1"), span=span)
    joined = [layer.name for layer in network.layers if layer.name.startswith("connection_")]
    assert sorted(joined) == ["connection_stage1", "connection_stage3"]
    inputs, before = clips(), None
    for stage in (None, "stage1", "stage3"):  # each of them carries information
        for block in (network.get_layer(name) for name in joined):
            for norm in block.norms:
                norm.gamma.assign(np.full(norm.gamma.shape, float(block.name == f"connection_{stage}")))
                norm.beta.assign(np.zeros(norm.beta.shape))
        outputs = predict(network, inputs)
        changed = predict(network, {**inputs, "flow": clips(seed=1)["flow"]})
        difference = np.abs(outputs["spatial_logits"] - changed["spatial_logits"]).max()
        assert difference == 0 if stage is None else difference > 1e-4
        assert before is None or np.abs(outputs["logits"] - before).max() > 1e-5
        before = outputs["logits"]
    assert network.get_config()["connect_at"] == ["stage3", "stage1"]


@pytest.mark.parametrize(
    ("fusion_weights", "fusion_features"),
    [((1.0, 1.0), True), ((1.0, 1.5), False), ((0.0, 0.0), True), ((2.0, 0.0), False), ((0.0, 1.0), False)],
)
def test_fusion(fusion_weights, fusion_features):
    network = model("none", fusion_weights=fusion_weights, fusion_features=fusion_features)
    inside = keras.Model(network.input, {stream: network.get_layer(f"{stream}_consensus").output for stream in STREAMS})
    features, outputs = predict(inside, clips()), predict(network, clips())
    classified = {
        layer.name: (layer.kernel.numpy(), layer.bias.numpy())
        for layer in network.layers
        if layer.name.endswith("logits") and hasattr(layer, "kernel")
    }
    assert ("feature_logits" in classified) == fusion_features
    expected = {}
    for name, (kernel, bias) in classified.items():
        stream = name.removesuffix("_logits")
        feature = features.get(stream, np.concatenate([features["spatial"], features["temporal"]], axis=-1))
        expected[name] = feature @ kernel + bias
    for name in ("spatial_logits", "temporal_logits"):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-4, atol=1e-5)
    fused = fusion_weights[0] * expected["spatial_logits"] + fusion_weights[1] * expected["temporal_logits"]
    fused = fused + expected.get("feature_logits", 0.0)
    np.testing.assert_allclose(outputs["logits"], fused, rtol=1e-4, atol=1e-5)


def test_consensus_and_embedding_recomputed():
    network = kept()
    outputs = {f"{stream}_consensus": network.get_layer(f"{stream}_consensus").output for stream in STREAMS}
    outputs |= {f"{stream}_pool": network.get_layer(f"{stream}_pool").input for stream in STREAMS}
    inside, whole = predict(keras.Model(network.input, outputs), clips()), predict(network, clips())
    for stream in STREAMS:
        maps = inside[f"{stream}_pool"]
        assert maps.shape == (2 * 3, 2, 2, 96)
        consensus = maps.reshape(2, 3, 2, 2, 96).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(inside[f"{stream}_consensus"], consensus, rtol=1e-5, atol=1e-6)
        embedding = consensus @ network.get_layer(f"{stream}_projection").kernel.numpy()
        embedding /= np.linalg.norm(embedding, axis=-1, keepdims=True)
        np.testing.assert_allclose(whole[f"{stream}_embedding"], embedding, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_the_classifiers():
    network = model()
    outputs = [network(clips(), training=True) for _ in range(2)]
    first, second = ({name: np.asarray(value) for name, value in x.items()} for x in outputs)
    for name in first:
        assert np.array_equal(first[name], second[name]) == name.endswith("embedding")


def test_flow_is_scaled_as_the_images_are_and_mirrored_flow_is_its_negative():
    network = kept()
    rgb, flow = network.get_layer("spatial_normalization"), network.get_layer("temporal_normalization")
    assert (rgb.mean, rgb.scale) == (127.5, 1 / 127.5) and (flow.mean, flow.scale) == (127.5, 1 / 127.5)
    fields = clips()["flow"]
    np.testing.assert_array_equal(np.asarray(flow(255 - fields)), -np.asarray(flow(fields)))
    np.testing.assert_array_equal(np.asarray(flow(np.full((1, 1, 2, 2, 10), 127.5, "float32"))), 0.0)


def test_the_input_is_normalised_once():
    """The spatial stream alone, fed by hand, gives the model's features."""
    network, inputs = kept("none"), clips()
    maps = network.network("spatial")((inputs["rgb"].reshape(6, SIZE, SIZE, 3).astype("float32") - 127.5) / 127.5)
    consensus = np.asarray(maps).reshape(2, 3, 2, 2, 96).mean(axis=(1, 2, 3))
    inside = keras.Model(network.input, network.get_layer("spatial_consensus").output)
    np.testing.assert_allclose(np.asarray(inside(inputs)), consensus, rtol=1e-4, atol=1e-5)


def stream_parameters(in_channels):
    """Trainable parameters of `tiny`: five 3x3 convolutions without bias, a scale and a shift for each channel."""
    widths = [in_channels, 24, 32, 64, 64, 96]
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return convolutions + 2 * sum(widths[1:])


def block_parameters(kind, channels, heads, position):
    """Trainable parameters of a connection block."""
    width = channels // 2
    onto, inward, outward = channels * (channels + 1), (channels + 1) * width, (width + 1) * channels
    bias = {"distance": heads, "mlp": (2 + 1) * 32 + (32 + 1) * heads, "none": 0}[position]
    messages = {
        "sum": 2 * onto,
        "product": 2 * onto,
        "concat": 2 * (2 * channels + 1) * channels,
        "shared_affinity": 4 * inward + 2 * outward,
        "nonlocal": 6 * inward + 2 * outward,
        "cross_attention": 6 * inward + 2 * outward + 2 * bias,
    }
    return messages[kind] + 2 * 2 * channels


@pytest.mark.parametrize(
    ("connection", "position"),
    [(kind, "distance") for kind in CONNECTIONS] + [("cross_attention", "mlp"), ("cross_attention", "none")],
)
def test_parameter_counts(connection, position):
    network, embedding, classes = kept(connection, position=position), 8, len(CLASSES)
    heads = 2 * ((96 + 1) * classes + 96 * embedding) + (2 * 96 + 1) * classes
    block = 0 if connection == "none" else block_parameters(connection, 64, 2, position)
    trainable = stream_parameters(3) + stream_parameters(10) + heads + block
    assert num_parameters(network.trainable_weights) == trainable
    statistics = 2 * 2 * (24 + 32 + 64 + 64 + 96) + (0 if connection == "none" else 2 * 2 * 64)
    assert network.count_params() == trainable + statistics
    assert len({id(weight) for weight in network.weights}) == len(network.weights)


def test_streams_share_no_weights():
    spatial, temporal = (kept("none").network(stream) for stream in STREAMS)
    assert not {id(weight) for weight in spatial.weights} & {id(weight) for weight in temporal.weights}
    assert (spatial.input_shape[-1], temporal.input_shape[-1]) == (3, 10)
    assert {id(w) for w in (*spatial.weights, *temporal.weights)} <= {id(w) for w in kept("none").weights}


def test_a_step_moves_every_weight_but_those_that_cannot_matter():
    network = model("cross_attention", position="mlp")
    network.compile(optimizer=keras.optimizers.SGD(1e-2), loss=JointLoss())
    before = [weight.numpy() for weight in network.trainable_weights]
    terms = network.train_step((clips(number=4), np.array([0, 1, 0, 1])))
    assert all(np.isfinite(value) for value in terms.values())
    moved = [np.abs(w.numpy() - b).max() > 1e-7 for w, b in zip(network.trainable_weights, before, strict=True)]
    still = {w.path for w, moves in zip(network.trainable_weights, moved, strict=True) if not moves}
    # Taken out by the softmax, or by batch normalisation; see test_connection.
    neutral = ("_key/bias", "_value/bias", "_output/bias", "_bias/outer/bias")
    assert all(path.startswith("connection_stage2/") and path.endswith(neutral) for path in still), still


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "tinny"}, r"^--backbone=tinny is not known; choose .*tiny"),
        ({"connection": "add"}, r"^--connection must be one of none, sum, .*cross_attention\. Received: 'add'\.$"),
        ({"span": "video"}, r"^--span must be segment or clip\. Received: 'video'\.$"),
        (
            {"connect_at": ("stage2", "stage9", "head")},
            r"^--connect_at names stage9, head, which .* tiny does not have: choose among stage1, stage2, stage3\.$",
        ),
        ({"connect_at": ("stage9",), "connection": "none"}, "^--connect_at names stage9"),
        ({"position": "near"}, r"^--position must be one of distance, mlp, none\. Received: 'near'\.$"),
        ({"position": "near", "connection": "none"}, "^--position must be one of"),
    ],
)
def test_an_unknown_name_is_one_sentence_with_its_flag(arguments, message):
    with pytest.raises(UserError, match=message):
        CCSN(CLASSES, image_size=SIZE, **arguments)


def test_streams_whose_maps_differ_are_not_joined(monkeypatch):
    monkeypatch.setattr(streams, "_BUILDERS", dict(streams._BUILDERS))
    streams.register_backbone("wider", wider_for_flow)
    message = r"^--connect_at=second: .* differ in --backbone=wider, 8x8x8 \(spatial\) and 8x8x20 \(temporal\): choose"
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


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError):
        kept()({"rgb": np.zeros((1, 1, 32, 32, 3), "uint8"), "flow": np.zeros((1, 1, 32, 32, 10), "uint8")})
