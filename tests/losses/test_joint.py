import math

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from reference import unit_rows

from ccsn_tf.losses import JointLoss, ModalityRankingLoss
from ccsn_tf.models.ccsn import CCSN

LABELS = np.array([0, 2, 2, 1, 0, 2])
CE_OF = {"ce_spatial": "spatial_logits", "ce_temporal": "temporal_logits", "ce_fused": "logits"}


def model_outputs(seed=0, dtype="float32", clips=6, classes=4):
    rng = np.random.default_rng(seed)
    outputs = {name: 3 * rng.normal(size=(clips, classes)) for name in CE_OF.values()}
    outputs |= {name: unit_rows(rng, clips, 5) for name in ("spatial_embedding", "temporal_embedding")}
    return {name: tf.cast(value, dtype) for name, value in outputs.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropies_equal_plain_loops(smoothing):
    outputs = model_outputs()
    terms = JointLoss(fused="sum", label_smoothing=smoothing).cross_entropies(LABELS, outputs)
    assert list(terms) == list(CE_OF)
    for name, value in terms.items():
        logits = outputs[CE_OF[name]].numpy().tolist()
        expected = [reference.cross_entropy(y, row, smoothing) for y, row in zip(LABELS, logits, strict=True)]
        assert value.shape == (6,)
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"weight_spatial": 0.0, "weight_temporal": 1.5, "weight_fused": 0.25, "lambda_intra": 0.1, "lambda_inter": 2.0},
    ],
)
def test_the_sum_of_weighted_terms(weights):
    outputs = model_outputs(1)
    options = {"distance": "squared", "mining": "semi_hard", "margin": 0.2, "intra": "both"}
    loss = JointLoss(**weights, **options)
    w = {
        "weight_spatial": 1,
        "weight_temporal": 1,
        "weight_fused": 1,
        "lambda_intra": 0.5,
        "lambda_inter": 0.5,
    } | weights
    ce, rank = loss.cross_entropies(LABELS, outputs), loss.ranking(LABELS, outputs)
    expected = ModalityRankingLoss(**options)(outputs["spatial_embedding"], outputs["temporal_embedding"], LABELS)
    assert {name: float(value) for name, value in rank.items()} == {name: float(v) for name, v in expected.items()}
    per_clip = sum(w[f"weight_{name}"] * ce[f"ce_{name}"].numpy() for name in ("spatial", "temporal", "fused"))
    ranking = w["lambda_intra"] * float(rank["intra"]) + w["lambda_inter"] * float(rank["inter"])
    np.testing.assert_allclose(loss.weighted_cross_entropy(ce), per_clip, rtol=1e-6)
    assert float(loss.weighted_ranking(rank)) == pytest.approx(ranking, rel=1e-6)
    value = loss(LABELS, outputs)
    assert (value.shape, value.dtype) == ((), tf.float32)
    assert float(value) == pytest.approx(per_clip.mean() + ranking, rel=1e-6)


def test_ranking_rests_where_distances_are_equal():
    """All embeddings one point: every triplet violates by its margin."""
    same = np.tile(np.float32([[1, 0]]), (4, 1))
    outputs = {"spatial_embedding": same, "temporal_embedding": same}
    for loss in (JointLoss(), JointLoss(margin=0.5), JointLoss(soft_margin=True)):
        terms = loss.ranking(np.int32([0, 0, 1, 1]), outputs)
        assert [float(terms[name]) for name in ("intra", "inter")] == pytest.approx(
            [loss.ranking_at_rest()] * 2, rel=1e-5
        )
    assert math.isnan(JointLoss(temperature=0.1).ranking_at_rest())


def test_config_round_trip():
    config = {f"weight_{part}": weight for part, weight in (("spatial", 0.5), ("temporal", 1.5), ("fused", 2.0))}
    config |= {"lambda_intra": 0.1, "lambda_inter": 0.2, "label_smoothing": 0.1, "fused": "own", "distance": "squared"}
    config |= {"mining": "all", "margin": 0.7, "soft_margin": True, "intra": "both", "temperature": 0.2, "name": "own"}
    stored = keras.saving.serialize_keras_object(JointLoss(**config))
    assert stored["registered_name"] == "ccsn_tf>JointLoss"
    restored = keras.saving.deserialize_keras_object(stored)
    assert restored.get_config() == config
    assert float(restored(LABELS, model_outputs())) == float(JointLoss(**config)(LABELS, model_outputs()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight_spatial": -1.0},
        {"weight_fused": math.nan},
        {"lambda_inter": -0.5},
        {"label_smoothing": 1.0},
        {"mining": "hardest"},
        {"intra": "none"},
        {"fused": "both"},
    ],
)
def test_wrong_values_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=rf"`{name}` must be .* Received: {name}={value}"):
        JointLoss(**wrong)


def test_what_would_broadcast_wrongly_is_refused():
    with pytest.raises(ValueError, match=r"`labels` must be a vector.*Received: shape \(6, 1\)"):
        JointLoss().cross_entropies(LABELS[:, None], model_outputs())
    with pytest.raises(ValueError, match="no sample weights"):
        JointLoss()(LABELS, model_outputs(), sample_weight=np.ones(6))


@pytest.mark.parametrize(("weights", "features"), [((1.0, 1.5), True), ((1.0, 1.0), False)])
def test_the_classifier_on_both_features_has_a_cross_entropy_of_its_own(weights, features):
    """With fused="own"; a model without that classifier has the sum's."""
    model = CCSN(3, image_size=16, flow_length=2, fusion_weights=weights, fusion_features=features)
    model.compile(loss=JointLoss(fused="own"))
    rng = np.random.default_rng(0)
    outputs = {name: rng.normal(size=(4, 3)).astype("float32") for name in ("spatial_logits", "temporal_logits")}
    own, labels = rng.normal(size=(4, 3)).astype("float32"), np.array([0, 2, 1, 1])
    whole = weights[0] * outputs["spatial_logits"] + weights[1] * outputs["temporal_logits"] + features * own
    seen = own if features else whole
    expected = np.log(np.exp(seen).sum(axis=1)) - seen[np.arange(4), labels]
    found = model.loss.cross_entropies(labels, {**outputs, "logits": whole})["ce_fused"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
