"""The network as a whole: outputs, invariances, fusion."""

import keras
import numpy as np
import pytest
from layers import dtype_policy
from small_models import CLASSES, SIZE, assert_same, clips, kept, model, predict

from ccsn_tf.config.settings import CONNECTIONS, STREAMS
from ccsn_tf.models.ccsn import CCSN

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
