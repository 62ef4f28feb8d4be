"""Consensus over segments (mean and TRN), classifiers, embeddings and fusion, recomputed."""

import itertools
import math

import keras
import numpy as np
import pytest
from layers import features, num_parameters, randomise, run_layer_test, weights_by_name
from small_models import clips, kept, model, predict

from ccsn_tf.config import ModelConfig
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.models.build import build_model
from ccsn_tf.models.heads import MOST_SUBSETS, TemporalRelation, WeightedSum, ordered_subsets


@pytest.mark.parametrize(
    ("layer", "arguments", "inputs"),
    [
        (TemporalRelation, {"units": 6}, features(3, 5, 4)),
        (WeightedSum, {"weights": (1.0, 1.5, 0.0)}, [features(2, 5, seed=i) for i in range(3)]),
    ],
)
def test_layer(layer, arguments, inputs):
    run_layer_test(layer, arguments, inputs)


@pytest.mark.parametrize(("fusion_weights", "fusion_features"), [((1.0, 1.5), False), ((0.0, 2.0), True)])
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
    outputs = [kept()(clips(), training=True) for _ in range(2)]
    first, second = ({name: np.asarray(value) for name, value in x.items()} for x in outputs)
    for name in first:
        assert np.array_equal(first[name], second[name]) == name.endswith("embedding")


@pytest.mark.parametrize("segments", [2, 4, 11])
def test_relations_against_plain_loops(segments):
    layer, inputs = TemporalRelation(units=3, name="tested"), features(2, segments, 4)
    layer(inputs)
    randomise(layer)
    found = np.asarray(layer(inputs))
    values = weights_by_name(layer)

    def dense(name, vector):
        return np.maximum(vector @ values[f"{name}/kernel"] + values[f"{name}/bias"], 0)

    for clip, row in zip(inputs, found, strict=True):
        expected = []
        for size in range(2, segments + 1):
            subsets = ordered_subsets(segments, size)
            total = np.zeros(3)
            for subset in subsets:
                joined = np.concatenate([dense("feature", clip[index]) for index in subset])
                total += dense(f"relation_{size}", joined)
            expected.extend(total / len(subsets))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_all_subsets_up_to_nine_segments_and_an_even_choice_beyond():
    for count, size in ((3, 2), (9, 4)):
        assert ordered_subsets(count, size) == list(itertools.combinations(range(count), size))
    every = list(itertools.combinations(range(12), 6))
    chosen = ordered_subsets(12, 6)
    assert len(every) == 924 and len(chosen) == MOST_SUBSETS
    at = [every.index(subset) for subset in chosen]
    assert set(np.diff(at)) <= {math.floor(924 / 128), math.ceil(924 / 128)}
    assert at[0] <= 4 and at[-1] >= 924 - 5


def test_parameters_are_trn_s():
    """8 segments, 174 classes: 2.61 M in the relations and their classifier, as the paper's code has."""
    config = ModelConfig(image_size=16, consensus="trn", num_segments=8, fusion_features=False)
    network = build_model(config, [str(n) for n in range(174)])
    for stream in STREAMS:
        layer = network.get_layer(f"{stream}_consensus")
        relations = num_parameters([w for part in layer.relations for w in part.weights])
        assert relations == sum(256 * size * 256 + 256 for size in range(2, 9)) == 2_295_552
        assert num_parameters(layer.feature.weights) == 96 * 256 + 256
        classifier = num_parameters(network.get_layer(f"{stream}_logits").weights)
        assert classifier == 7 * 256 * 174 + 174
        assert round((relations + classifier) / 1e6, 2) == 2.61


def test_the_order_and_the_number_of_segments_count():
    network, inputs = model(consensus="trn", num_segments=3), clips()
    before = predict(network, inputs)
    after = predict(network, {name: value[:, ::-1] for name, value in inputs.items()})
    assert all(np.abs(before[name] - after[name]).max() > 1e-3 for name in before)
    with pytest.raises(ValueError, match="shape"):
        network(clips(segments=2))
