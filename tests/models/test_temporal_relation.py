"""TRN consensus: the layer against plain loops, and the network that has it."""

import itertools
import math

import numpy as np
import pytest
from layers import features, num_parameters, randomise, run_layer_test, weights_by_name
from small_models import CLASSES, SIZE, assert_same, clips, model, predict

from ccsn_tf.config import ModelConfig
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.heads import MOST_SUBSETS, TemporalRelation, ordered_subsets


@pytest.mark.parametrize("segments", [2, 5])
def test_layer(segments):
    run_layer_test(TemporalRelation, {"units": 6}, features(3, segments, 4))


@pytest.mark.parametrize("segments", [2, 4, 11])
def test_against_plain_loops(segments):
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
    for count in range(2, 10):
        for size in range(2, count + 1):
            assert ordered_subsets(count, size) == list(itertools.combinations(range(count), size))
    every = list(itertools.combinations(range(12), 6))
    chosen = ordered_subsets(12, 6)
    assert len(every) == 924 and len(chosen) == MOST_SUBSETS
    at = [every.index(subset) for subset in chosen]
    assert set(np.diff(at)) <= {math.floor(924 / 128), math.ceil(924 / 128)}
    assert at[0] <= 4 and at[-1] >= 924 - 5
    assert ordered_subsets(4, 2, most=3) == [(0, 2), (1, 2), (2, 3)]


def test_parameters_are_trn_s():
    """8 segments, 174 classes: 2.61 M in the relations and their classifier, as the paper's code has."""
    network = build_model(
        ModelConfig(image_size=16, consensus="trn", num_segments=8, fusion_features=False), [str(n) for n in range(174)]
    )
    for stream in STREAMS:
        layer = network.get_layer(f"{stream}_consensus")
        relations = num_parameters([w for part in layer.relations for w in part.weights])
        assert relations == sum(256 * size * 256 + 256 for size in range(2, 9)) == 2_295_552
        assert num_parameters(layer.feature.weights) == 96 * 256 + 256
        classifier = num_parameters(network.get_layer(f"{stream}_logits").weights)
        assert classifier == 7 * 256 * 174 + 174
        assert round((relations + classifier) / 1e6, 2) == 2.61


@pytest.mark.parametrize("shape", [(None, None, 4), (None, 1, 4)])
def test_the_number_of_segments_is_known(shape):
    with pytest.raises(ValueError, match="Relations need a fixed number of segments, at least 2"):
        TemporalRelation(units=3).build(shape)


@pytest.mark.parametrize("span", ["segment", "clip"])
def test_the_order_of_the_segments_counts(span):
    network, inputs = model(consensus="trn", num_segments=3, span=span), clips()
    before = predict(network, inputs)
    after = predict(network, {name: value[:, ::-1] for name, value in inputs.items()})
    for name in before:
        assert before[name].shape == after[name].shape
        assert np.abs(before[name] - after[name]).max() > 1e-3


def test_a_clip_is_judged_by_itself():
    network, inputs = model(consensus="trn", num_segments=3), clips(number=3)
    together = predict(network, inputs)
    for i in range(3):
        alone = predict(network, {name: value[i : i + 1] for name, value in inputs.items()})
        assert_same({name: value[i : i + 1] for name, value in together.items()}, alone, exactly=False)


@pytest.mark.parametrize("segments", [2, 4])
def test_another_number_of_segments_is_refused(segments):
    with pytest.raises(ValueError, match="shape"):
        model(consensus="trn", num_segments=3)(clips(segments=segments))


def test_unknown_consensus():
    with pytest.raises(UserError, match=r"^`consensus`"):
        CCSN(CLASSES, consensus="median", image_size=SIZE)


def test_saved_and_read(tmp_path):
    from ccsn_tf.models.build import load_model

    network = model(consensus="trn", num_segments=3)
    network.save(tmp_path / "model.keras")
    assert_same(predict(load_model(str(tmp_path / "model.keras")), clips()), predict(network, clips()))
