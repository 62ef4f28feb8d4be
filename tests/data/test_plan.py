import collections
import dataclasses
import itertools

import numpy as np
import pytest

from ccsn_tf.config import ModelConfig
from ccsn_tf.data.plan import (
    PLACES,
    balanced_order,
    centre_starts,
    corner_box,
    middle_frame,
    places,
    random_box,
    shuffled_order,
    train_starts,
    training_plan,
    view_boxes,
)
from ccsn_tf.errors import UserError

MODEL = ModelConfig(num_segments=3, flow_length=5)
LABELS = {
    "equal": np.repeat(np.arange(6), 10),
    "unequal": np.repeat(np.arange(5), [3, 30, 8, 11, 5]),
    "odd": np.repeat(np.arange(7), 7),
}
SIZES = [(36, 48), (48, 36), (37, 49), (1, 1), (1, 30), (256, 341), (17, 16)]
SCALES = (1.0, 0.875, 0.75, 0.66)


def rng(seed=0):
    return np.random.default_rng(seed)


# Order


@pytest.mark.parametrize("P, Q", [(1, 1), (3, 2), (5, 3), (4, 1)])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_batches_are_p_classes_of_q_distinct_clips_dealt_equally(labels, P, Q):
    order = balanced_order(labels, P, Q, rng(), steps=12)
    assert order.shape == (12, P * Q)
    for batch in order:
        assert len(set(batch)) == P * Q
        by_class = labels[batch].reshape(P, Q)
        assert (by_class == by_class[:, :1]).all() and len(set(by_class[:, 0])) == P
    dealt = [np.bincount(labels[order[:, ::Q]].ravel())]  # classes, then the clips of each
    dealt += [np.bincount(order.ravel(), minlength=len(labels))[labels == label] for label in np.unique(labels)]
    assert all(np.ptp(counts) <= 1 for counts in dealt)


def test_small_classes_and_sets_repeat_their_clips():
    labels = np.array([0, 1, 1, 1, 1, 1])
    order = balanced_order(labels, 2, 3, rng(), 1)[0]
    assert (labels[order] == 0).sum() == 3 and len(set(order[labels[order] == 1])) == 3
    order = shuffled_order(3, 8, rng())
    assert order.shape == (1, 8) and set(order.ravel()) == {0, 1, 2}


@pytest.mark.parametrize("count, batch", [(10, 3), (12, 4), (5, 5), (7, 1)])
def test_shuffled_batches_have_each_clip_once(count, batch):
    order = shuffled_order(count, batch, rng())
    assert order.shape == (count // batch, batch)
    assert len(set(order.ravel())) == order.size and set(order.ravel()) <= set(range(count))


# Time


@pytest.mark.parametrize("N, K, L", [(N, K, L) for L in (1, 5) for K in (1, 3, 25) for N in (L, L + 1, L + 7, 101)])
def test_starts_are_sorted_and_in_range(N, K, L):
    for starts in [centre_starts(N, K, L)] + [train_starts(N, K, L, rng(N)) for _ in range(20)]:
        assert starts.dtype == np.int64 and starts.shape == (K,)
        assert (np.diff(starts) >= 0).all()
        assert starts.min() >= 0 and starts.max() + L <= N
        assert middle_frame(starts, L).max() <= N  # a frame of the clip, which has N + 1


@pytest.mark.parametrize("N, K, L", [(5, 3, 5), (6, 3, 5), (14, 3, 5), (11, 1, 10), (40, 8, 1)])
def test_training_covers_every_position_as_often(N, K, L):
    drawn, positions = rng(), N - L + 1
    starts = np.stack([train_starts(N, K, L, drawn) for _ in range(4000)])
    shares = np.bincount(starts.ravel(), minlength=positions) / starts.size
    np.testing.assert_allclose(shares, 1 / positions, atol=0.015)
    if positions % K == 0:  # each segment has its part
        assert (starts // (positions // K) == np.arange(K)).all()


@pytest.mark.parametrize(
    "N, K, L, expected",
    [
        (34, 3, 5, [5, 15, 25]),
        (5, 3, 5, [0, 0, 0]),
        (9, 1, 5, [2]),
        (6, 2, 5, [0, 1]),
        (29, 25, 5, list(range(25))),
    ],
)
def test_centre_starts(N, K, L, expected):
    assert centre_starts(N, K, L).tolist() == expected


@pytest.mark.parametrize("L, offset", [(1, 0), (2, 1), (5, 2), (10, 5)])
def test_middle_frame_is_inside_the_snippet(L, offset):
    assert middle_frame(np.array([0, 7]), L).tolist() == [offset, 7 + offset]


# Space


@pytest.mark.parametrize("height, width", SIZES)
def test_boxes_are_inside(height, width):
    drawn = rng()
    boxes = [random_box(height, width, 0.1, drawn) for _ in range(300)]
    boxes += [box for crops in (1, 3, 5, 10) for box, _ in view_boxes(height, width, crops)]
    assert all(tall == wide for _, _, tall, wide in boxes)
    boxes += [corner_box(height, width, SCALES, drawn) for _ in range(300)]
    for top, left, tall, wide in boxes:
        assert tall >= 1 and wide >= 1 and 0 <= top <= height - tall and 0 <= left <= width - wide


def test_random_box_reaches_every_side_and_edge():
    drawn = rng()
    top, left, side, _ = np.stack([random_box(20, 30, 0.75, drawn) for _ in range(3000)]).T
    assert set(side) == set(range(15, 21))
    assert top.min() == left.min() == 0
    assert (top + side).max() == 20 and (left + side).max() == 30


def test_corner_boxes_of_tsn_s_frame_are_these_and_equally_likely():
    """Of 340 x 256: ten pairs of sides, thirteen places each."""
    sides, thirds, quarters = [256, 224, 192, 168], (0, 0.5, 1), (0.25, 0.75)
    expected_places = [*itertools.product(thirds, thirds), *itertools.product(quarters, quarters)]
    expected = collections.Counter(
        (round((256 - sides[i]) * down), round((340 - sides[j]) * right), sides[i], sides[j])
        for i, j in itertools.product(range(4), range(4))
        if abs(i - j) <= 1
        for down, right in expected_places
    )
    assert expected.total() == 130 == 10 * len(set(PLACES))
    drawn, draws = rng(), 13_000
    found = collections.Counter(tuple(corner_box(256, 340, SCALES, drawn).tolist()) for _ in range(draws))
    assert found.keys() == expected.keys()
    for box, count in found.items():
        mean = draws * expected[box] / 130
        assert abs(count - mean) < 5 * mean**0.5


CORNERS = [([*place, 56, 56], False) for place in ((4, 20), (0, 0), (0, 40), (8, 0), (8, 40))]


@pytest.mark.parametrize(
    "height, width, crops, expected",
    [
        (36, 48, 1, [([0, 6, 36, 36], False)]),
        (48, 36, 1, [([6, 0, 36, 36], False)]),
        (36, 48, 3, [([0, left, 36, 36], False) for left in (0, 6, 12)]),
        (48, 36, 3, [([top, 0, 36, 36], False) for top in (0, 6, 12)]),
        (64, 96, 5, CORNERS),
        (64, 96, 10, CORNERS + [(box, True) for box, _ in CORNERS]),
    ],
)
def test_test_views(height, width, crops, expected):
    assert [(box.tolist(), mirrored) for box, mirrored in view_boxes(height, width, crops)] == expected


# The plan


@pytest.fixture
def training(tiny_manifest, tiny_data):
    return tiny_manifest.select(tiny_data, "train")


def plan_of(training, data, seed=0, epoch=0, model=MODEL):
    classes, clips = training
    return training_plan(clips, classes, data, model, seed, epoch)


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_plan(training, tiny_data, sampler):
    classes, clips = training
    plan = plan_of(training, dataclasses.replace(tiny_data, sampler=sampler))
    steps, batch = 9 // 6, 6
    scalars = dict.fromkeys(("clip", "file", "offset", "length", "fields", "label", "mirrored"), (steps, batch))
    expected = {**scalars, "starts": (steps, batch, 3), "box": (steps, batch, 4)}
    assert {name: values.shape for name, values in plan.items()} == expected
    assert plan["label"].dtype == np.int32 and plan["mirrored"].dtype == bool
    assert {plan[name].dtype for name in ("offset", "length", "fields", "starts", "box")} == {np.dtype(np.int64)}
    for index, number in np.ndenumerate(plan["clip"]):
        clip = clips[number]
        assert classes[plan["label"][index]] == clip.label
        for name, values in places([clip], tiny_data.record_dir).items():
            assert plan[name][index] == values[0]
        assert plan["file"][index] == f"{tiny_data.record_dir}/{clip.shard}" and plan["offset"][index] == clip.offset
        assert (plan["starts"][index] + 5 <= clip.fields).all()
        assert plan["box"][index][2] >= round(0.75 * clip.height) - 1


def equal(a, b):
    return {name: np.array_equal(a[name], b[name]) for name in a}


@pytest.mark.parametrize("crop", ["random", "corners"])
@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_plan_follows_from_seed_and_epoch_alone(training, tiny_data, sampler, crop):
    data = dataclasses.replace(tiny_data, sampler=sampler, crop=crop, clips_per_class=3)
    plan = plan_of(training, data, seed=3, epoch=4)
    np.random.seed(99)
    assert all(equal(plan, plan_of(training, data, seed=3, epoch=4)).values())
    for seed, epoch in ((3, 5), (4, 4), (4, 3)):
        same = equal(plan, plan_of(training, data, seed, epoch))
        assert not same["starts"] and not same["box"] and not same["offset"]


def test_flips_and_crops_leave_the_rest_alone(training, tiny_data):
    flipped = plan_of(training, tiny_data, seed=1)
    same = equal(plan_of(training, dataclasses.replace(tiny_data, flip=False), seed=1), flipped)
    assert {name for name in same if not same[name]} == {"mirrored"}
    corners = dataclasses.replace(tiny_data, crop="corners", crop_scales=(1.0, 0.5))
    same = equal(plan_of(training, corners, seed=1), flipped)
    assert same["offset"] and same["starts"] and not same["box"]
    boxes = np.concatenate([plan_of(training, corners, epoch=epoch)["box"].reshape(-1, 4) for epoch in range(20)])
    assert set(boxes[:, 2:].ravel()) == {36, 18} and (boxes[:, 2] != boxes[:, 3]).any()


def test_more_classes_asked_for_than_there_are(training, tiny_data):
    data = dataclasses.replace(tiny_data, classes_per_batch=4)
    with pytest.raises(UserError, match=r"--classes_per_batch=4 .*3 classes"):
        plan_of(training, data)
    plan_of(training, dataclasses.replace(data, sampler="shuffle"))


@pytest.mark.parametrize("flow_source", ["stored", "graph"])
def test_clip_shorter_than_a_snippet(training, tiny_data, flow_source):
    model = dataclasses.replace(MODEL, flow_source=flow_source, flow_length=13)
    plan_of(training, tiny_data, model=model)
    with pytest.raises(UserError, match=r"^Clip MoveDown/.* 13 flow fields.*--flow_length=14.* prepare"):
        plan_of(training, tiny_data, model=dataclasses.replace(model, flow_length=14))
