"""The ranking and the centre loss, and both terms, against plain loops and TensorFlow Addons."""

import functools
import itertools
import json
import math
import pathlib

import numpy as np
import pytest
import reference
import tensorflow as tf
from reference import CASES, unit_rows

from ccsn_tf.losses import ModalityRankingLoss, centre_loss, positive_share, ranking_loss
from ccsn_tf.losses.mining import MINING

MARGINS = [{"margin": 0.0}, {"margin": 0.3}, {"soft_margin": True}]
LABELS = [
    np.array([0, 0, 1, 1, 2, 2]),
    np.array([0, 1, 1, 2, 0, 0, 0, 3, 1]),  # unbalanced, two classes of one clip
    np.array([7, 7, 7, 7, 7, 2]),
]
GOLDEN = pathlib.Path(__file__).parents[3] / "shared/data/golden/triplet_tensorflow_addons.json"


def value_and_gradients(function, *arrays):
    tensors = [tf.constant(x, tf.float32) for x in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return float(value), [g.numpy() for g in tape.gradient(value, tensors)]


@pytest.mark.parametrize("margin", MARGINS, ids=str)
@pytest.mark.parametrize(("distance", "mining"), CASES)
def test_value_equals_plain_loops(distance, mining, margin):
    for seed, (labels, within) in enumerate(itertools.product(LABELS, (True, False))):
        rng = np.random.default_rng(seed)
        a = unit_rows(rng, len(labels), 4)
        b = a if within else unit_rows(rng, len(labels), 4)
        options = {"same_modality": within, "distance": distance, "mining": mining, **margin}
        value = ranking_loss(a, b, labels, labels, **options)
        assert (value.dtype, value.shape) == (tf.float32, ())
        assert float(value) == pytest.approx(reference.ranking_loss(a, b, labels, labels, **options), abs=2e-6)


@pytest.mark.parametrize("margin", [{"margin": 0.3}, {"soft_margin": True}], ids=str)
@pytest.mark.parametrize(("distance", "mining"), CASES)
def test_gradient_equals_differences_of_plain_loops(distance, mining, margin):
    rng = np.random.default_rng(3)
    labels = np.array([0, 1, 1, 0, 2])
    s, m = unit_rows(rng, 5, 3).astype(np.float64), unit_rows(rng, 5, 3).astype(np.float64)
    options = {"distance": distance, "mining": mining, **margin}

    def total(rank, s, m):
        within = rank(s, s, labels, labels, same_modality=True, **options)
        return within + rank(s, m, labels, labels, same_modality=False, **options)

    _, (by_s, by_m) = value_and_gradients(lambda s, m: total(ranking_loss, s, m), s, m)
    expected_s = reference.numeric_gradient(lambda x: total(reference.ranking_loss, x, m), s)
    expected_m = reference.numeric_gradient(lambda x: total(reference.ranking_loss, s, x), m)
    np.testing.assert_allclose(by_s, expected_s, atol=1e-5)
    np.testing.assert_allclose(by_m, expected_m, atol=1e-5)


@pytest.mark.parametrize(("distance", "mining"), CASES)
def test_nothing_to_rank_is_exactly_0_with_gradient_0(distance, mining, soft_margin=True):
    cases = ([0, 1, 2, 3], True), ([5, 5, 5, 5], True), ([5, 5, 5, 5], False), ([0], True), ([0], False)
    for labels, within in cases:
        labels = np.array(labels)
        x = np.repeat(unit_rows(np.random.default_rng(5), 1, 4), len(labels), axis=0)
        x[len(labels) // 2 :] *= -1  # duplicates as well
        options = {"same_modality": within, "distance": distance, "mining": mining, "soft_margin": soft_margin}
        rank = functools.partial(ranking_loss, anchor_labels=labels, reference_labels=labels, **options)
        value, gradients = value_and_gradients(lambda a, b, rank=rank: rank(a, a + b), x, 0 * x)
        assert value == 0.0
        np.testing.assert_array_equal(gradients, np.zeros((2, *x.shape)))


@pytest.mark.parametrize(("distance", "mining"), CASES)
def test_duplicates_are_finite_and_nan_is_not_hidden(distance, mining):
    labels = np.array([0, 0, 1, 1, 0])

    def loss(x, soft_margin=False):
        options = {"same_modality": True, "distance": distance, "mining": mining, "soft_margin": soft_margin}
        return ranking_loss(x, x, labels, labels, **options)

    x = unit_rows(np.random.default_rng(7), 5, 4)
    x[1], x[3] = x[0], x[4]  # a positive pair and a negative pair at distance 0
    value, gradients = value_and_gradients(loss, x)
    expected = reference.ranking_loss(x, x, labels, labels, same_modality=True, distance=distance, mining=mining)
    assert value == pytest.approx(expected, abs=2e-6)
    assert np.isfinite(gradients[0]).all() and np.abs(gradients[0]).max() > 0
    collapsed = np.repeat(x[:1], 5, axis=0)
    for soft_margin, at_rest in ((False, 0.3), (True, math.log(2))):
        value, gradients = value_and_gradients(functools.partial(loss, soft_margin=soft_margin), collapsed)
        assert value == pytest.approx(at_rest)
        np.testing.assert_array_equal(gradients[0], np.zeros_like(x))
    assert np.isnan(float(loss(np.full((5, 4), np.nan, "float32"))))


@pytest.mark.parametrize("mining", MINING)
def test_in_a_graph_of_unknown_batch_size_in_any_order_and_in_half_precision(mining):
    rng = np.random.default_rng(8)
    s, m, labels, order = unit_rows(rng, 6, 4), unit_rows(rng, 6, 4), np.array([0, 0, 1, 1, 2, 3]), rng.permutation(6)
    loss = ModalityRankingLoss(mining=mining, intra="both")
    spec = [tf.TensorSpec((None, 4)), tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64)]
    in_graph = tf.function(loss, input_signature=spec)(s[order], m[order], labels[order])
    eager = loss(s, m, labels)
    for name in ("intra", "inter"):
        assert float(in_graph[name]) == pytest.approx(float(eager[name]), abs=1e-6)
    half = [tf.cast(x, "bfloat16") for x in (s, m)]
    terms, exact = loss(*half, labels), loss(*(tf.cast(x, "float32") for x in half), labels)
    for name in ("intra", "inter"):
        assert terms[name].dtype == tf.float32 and float(terms[name]) == float(exact[name])


def test_golden_values_of_tensorflow_addons():
    """36 values of TensorFlow Addons 0.23, all three of its distances.

    Its "angular" distance 1 - cos is half the squared distance of unit vectors, so it is the squared distance of the
    embeddings shortened by sqrt(2). The clips that we leave out count there: for batch hard, a clip without a positive
    has a positive at distance 0, and a clip without a negative has its largest distance as negative distance too. For
    semi-hard a batch without a positive pair is NaN there, and a pair without a negative has a negative at 0.
    """
    if not GOLDEN.exists():
        pytest.skip(f"no golden values: {GOLDEN} is material of the project's developers")
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 36
    for case in cases:
        x, labels, margin = np.array(case["embeddings"]), np.array(case["labels"]), case["margin"]
        distance = "euclidean" if case["distance"] == "L2" else "squared"
        if case["distance"] == "angular":
            x = x / math.sqrt(2)

        def ours(x=x, labels=labels, distance=distance, **options):
            return float(ranking_loss(x, x, labels, labels, same_modality=True, distance=distance, **options))

        ranked, left_out = 0, {"hard": 0.0, "soft": 0.0}
        for i, label in enumerate(labels):
            to_negatives = [reference.distance_between(x[i], y, distance) for y in x[labels != label]]
            if (labels == label).sum() > 1 and to_negatives:
                ranked += 1
                continue
            nearest = min(to_negatives, default=0.0)
            left_out["hard"] += reference.triplet_term(0.0, nearest, margin, False)
            left_out["soft"] += reference.triplet_term(0.0, nearest, margin, True)
        hard = (ranked * ours(margin=margin) + left_out["hard"]) / len(labels)
        soft = (ranked * ours(soft_margin=True) + left_out["soft"]) / len(labels)
        assert hard == pytest.approx(case["triplet_hard"], abs=1e-5)
        assert soft == pytest.approx(case["triplet_hard_soft"], abs=1e-5)

        semi_hard = ours(margin=margin, mining="semi_hard")
        if math.isnan(case["triplet_semihard"]):
            assert len(set(labels)) == len(labels)
            assert semi_hard == 0.0
        elif len(set(labels)) == 1:
            pairs = [reference.distance_between(u, v, distance) for i, u in enumerate(x) for v in x[i + 1 :]]
            assert semi_hard == 0.0
            assert np.mean(pairs) + margin == pytest.approx(case["triplet_semihard"], abs=1e-5)
        else:
            assert semi_hard == pytest.approx(case["triplet_semihard"], abs=1e-5)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 2], [4, 4, 4], [0, 1, 2], [0]])
def test_centre_loss_equals_plain_loops(labels):
    labels = np.array(labels)
    x = unit_rows(np.random.default_rng(10), len(labels), 4)
    value, gradients = value_and_gradients(lambda x: centre_loss(x, labels), x)
    assert value == pytest.approx(reference.centre_loss(x, labels), abs=1e-6)
    expected = reference.numeric_gradient(lambda x: reference.centre_loss(x, labels), x.astype(np.float64))
    np.testing.assert_allclose(gradients[0], expected, atol=1e-6)


@pytest.mark.parametrize(("labels", "share"), [([0, 0, 1, 2], 0.5), ([0, 1, 2], 0.0), ([3], 0.0), ([3, 3, 3, 1], 0.75)])
def test_positive_share(labels, share):
    assert float(positive_share(np.array(labels))) == share


@pytest.mark.parametrize("intra", ["ranking", "centre", "both"])
def test_the_two_terms(intra, distance="squared", mining="semi_hard"):
    rng = np.random.default_rng(12)
    labels = LABELS[1]
    s, m = unit_rows(rng, 9, 4), unit_rows(rng, 9, 4)
    options = {"distance": distance, "mining": mining, "margin": 0.2}

    def rank(a, b, same_modality):
        return reference.ranking_loss(a, b, labels, labels, same_modality=same_modality, **options)

    ranking = rank(s, s, True) + rank(m, m, True)
    centre = reference.centre_loss(s, labels) + reference.centre_loss(m, labels)
    terms = ModalityRankingLoss(intra=intra, **options)(s, m, labels)
    expected = {"ranking": ranking, "centre": centre, "both": ranking + centre}
    assert set(terms) == {"intra", "inter"}
    assert float(terms["intra"]) == pytest.approx(expected[intra], abs=4e-6)
    assert float(terms["inter"]) == pytest.approx(rank(s, m, False) + rank(m, s, False), abs=4e-6)


@pytest.mark.parametrize("same_modality", [True, False])
def test_the_contrastive_form_is_that_of_plain_loops(same_modality):
    rng = np.random.default_rng(0)
    labels, t = np.array([0, 0, 1, 1, 2, 0]), 0.1
    a, r = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 6, 4)).astype("float32"))
    r = a if same_modality else r
    values = []
    for i in range(6):
        others = [j for j in range(6) if not (same_modality and i == j)]
        positives = [j for j in others if labels[j] == labels[i]]
        if positives:
            total = sum(np.exp(a[i] @ r[j] / t) for j in others)
            values.append(np.mean([-np.log(np.exp(a[i] @ r[p] / t) / total) for p in positives]))
    found = ranking_loss(a, r, labels, labels, same_modality=same_modality, temperature=t)
    assert float(found) == pytest.approx(np.mean(values), rel=1e-4)
    assert float(ranking_loss(a, r, np.zeros(6, int), np.zeros(6, int), same_modality=True, temperature=t)) == 0
