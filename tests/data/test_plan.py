import dataclasses
from collections import Counter

import numpy as np
import pytest

from ccsn_tf.config import DataConfig, ModelConfig
from ccsn_tf.data.plan import balanced_order, labels_of, places, shuffled_order, training_plan
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.errors import UserError
from ccsn_tf.losses import positive_share

MODEL = ModelConfig(num_segments=3, flow_length=5)
LABELS = {
    "equal": np.repeat(np.arange(6), 10),
    "unequal": np.repeat(np.arange(5), [3, 30, 8, 11, 5]),
    "odd": np.repeat(np.arange(7), 7),
}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("P, Q", [(1, 1), (2, 2), (3, 2), (5, 3), (4, 1)])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_batches_are_p_classes_of_q_distinct_clips(labels, P, Q):
    for seed in range(5):
        order = balanced_order(labels, P, Q, rng(seed))
        assert order.shape == (max(1, len(labels) // (P * Q)), P * Q)
        for batch in order:
            assert len(set(batch)) == P * Q
            by_class = labels[batch].reshape(P, Q)
            assert (by_class == by_class[:, :1]).all()
            assert len(set(by_class[:, 0])) == P


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_classes_come_equally_often(labels):
    order = balanced_order(labels, 3, 2, rng())
    counts = Counter(labels[order[:, ::2]].ravel().tolist())
    assert max(counts.values()) - min(counts[label] for label in set(labels.tolist())) <= 1


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_clip_comes_back_after_its_classes_others(labels):
    order = balanced_order(labels, 3, 2, rng()).ravel()
    for label in np.unique(labels):
        counts = Counter(order[labels[order] == label].tolist())
        clips = np.flatnonzero(labels == label)
        assert max(counts.values()) - min(counts[clip] for clip in clips) <= 1


def test_every_clip_comes_once_where_everything_divides():
    labels = LABELS["equal"]
    assert sorted(balanced_order(labels, 6, 2, rng()).ravel()) == list(range(60))


def test_small_class_repeats_its_clips():
    labels = np.array([0, 1, 1, 1, 1, 1])
    order = balanced_order(labels, 2, 3, rng())
    assert order.shape == (1, 6)
    assert Counter(order.ravel().tolist())[0] == 3
    assert len(set(order[labels[order] == 1])) == 3


def test_fewer_clips_than_a_batch_still_make_one():
    assert balanced_order(np.array([0, 1]), 2, 4, rng()).shape == (1, 8)
    order = shuffled_order(3, 8, rng())
    assert order.shape == (1, 8) and set(order.ravel()) == {0, 1, 2}


@pytest.mark.parametrize("count, batch", [(10, 3), (12, 4), (5, 5), (7, 1)])
def test_shuffled_batches_have_each_clip_once(count, batch):
    order = shuffled_order(count, batch, rng())
    assert order.shape == (count // batch, batch)
    assert len(set(order.ravel())) == order.size and set(order.ravel()) <= set(range(count))


def share(batches):
    return np.mean([float(positive_share(batch)) for batch in batches])


def test_balanced_batches_leave_no_clip_without_a_positive():
    assert share(np.array([[0, 0, 1, 1], [2, 2, 3, 3]])) == 1.0
    assert share(np.array([[0, 1, 2, 3]])) == 0.0
    assert share(np.array([[0, 0, 1, 2], [5, 6, 6, 6]])) == 5 / 8
    assert share(LABELS["equal"][balanced_order(LABELS["equal"], 4, 2, rng())]) == 1.0


@pytest.fixture
def training(tiny_manifest, tiny_data):
    return tiny_manifest.select(tiny_data, "train")


def plan_of(training, data, seed=0, epoch=0, model=MODEL):
    classes, clips = training
    return training_plan(clips, classes, data, model, seed, epoch)


def names(training, plan):
    at = {(clip.shard, clip.offset): clip for clip in training[1]}
    flat = zip(plan["file"].ravel(), plan["offset"].ravel(), strict=True)
    return np.array([at[file.rsplit("/", 1)[1], int(offset)].name for file, offset in flat]).reshape(plan["file"].shape)


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_plan(training, tiny_data, sampler):
    data = dataclasses.replace(tiny_data, sampler=sampler)
    plan = plan_of(training, data)
    steps, batch = 9 // 6, 6
    shapes = {name: values.shape for name, values in plan.items()}
    scalars = dict.fromkeys(("clip", "file", "offset", "length", "fields", "label", "mirrored"), (steps, batch))
    assert shapes == {**scalars, "starts": (steps, batch, 3), "box": (steps, batch, 4)}
    assert plan["label"].dtype == np.int32 and plan["mirrored"].dtype == bool
    assert {plan[name].dtype for name in ("offset", "length", "fields", "starts", "box")} == {np.dtype(np.int64)}
    clips = {clip.name: clip for clip in training[1]}
    for index, name in np.ndenumerate(names(training, plan)):
        clip = clips[name]
        assert training[1][plan["clip"][index]] is clip
        assert training[0][plan["label"][index]] == clip.label
        assert plan["length"][index] == clip.length
        assert plan["fields"][index] == clip.fields
        assert (plan["starts"][index] + 5 <= clip.fields).all()
        top, left, side, across = plan["box"][index]
        assert across == side
        assert top + side <= clip.height and left + side <= clip.width and side >= round(0.75 * clip.height) - 1


def equal(a, b):
    return {name: np.array_equal(a[name], b[name]) for name in a}


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_plan_follows_from_seed_and_epoch_alone(training, tiny_data, sampler):
    data = dataclasses.replace(tiny_data, sampler=sampler, clips_per_class=3)
    plan = plan_of(training, data, seed=3, epoch=4)
    np.random.seed(99)
    assert all(equal(plan, plan_of(training, data, seed=3, epoch=4)).values())
    for seed, epoch in ((3, 5), (4, 4), (4, 3)):
        same = equal(plan, plan_of(training, data, seed, epoch))
        assert not same["starts"] and not same["box"] and not same["offset"]


def test_no_flip_leaves_the_rest_alone(training, tiny_data):
    flipped = plan_of(training, tiny_data, seed=1)
    plan = plan_of(training, dataclasses.replace(tiny_data, flip=False), seed=1)
    same = equal(plan, flipped)
    assert not plan["mirrored"].any() and flipped["mirrored"].any()
    assert not same.pop("mirrored") and all(same.values())


def test_half_of_the_clips_are_mirrored(training, tiny_data):
    shares = [plan_of(training, tiny_data, seed=seed)["mirrored"].mean() for seed in range(200)]
    assert abs(np.mean(shares) - 0.5) < 0.05


def test_more_classes_asked_for_than_there_are(training, tiny_data):
    data = dataclasses.replace(tiny_data, classes_per_batch=4)
    with pytest.raises(UserError, match="--classes_per_batch=4 is more than the 3 classes there are: lower it"):
        plan_of(training, data)
    plan_of(training, dataclasses.replace(data, sampler="shuffle"))


def test_clip_shorter_than_a_snippet(training, tiny_data):
    plan_of(training, tiny_data, model=dataclasses.replace(MODEL, flow_length=13))
    with pytest.raises(UserError, match=r"^Clip MoveDown/.* has 13 flow fields, fewer than --flow_length=14: prepare"):
        plan_of(training, tiny_data, model=dataclasses.replace(MODEL, flow_length=14))


def test_labels_count_in_the_order_of_the_classes(training):
    classes, clips = training
    turned = classes[::-1]
    assert [turned[label] for label in labels_of(clips, turned)] == [clip.label for clip in clips]
    assert labels_of(clips, classes).dtype == np.int32


def test_places(training, tiny_data):
    found = places(training[1], tiny_data.record_dir)
    for name in ("offset", "length", "fields"):
        assert found[name].tolist() == [getattr(clip, name) for clip in training[1]]
    assert found["file"].tolist() == [f"{tiny_data.record_dir}/{clip.shard}" for clip in training[1]]


def test_classes_are_balanced_over_an_epoch(tmp_path):
    labels = [i % 50 for i in range(2000)] + [0] * 1000
    clips = [StoredClip(f"{i}", f"{k}", "1", "a.tfrecord", i, 1, 40, 100, 120) for i, k in enumerate(labels)]
    data = DataConfig(record_dir=str(tmp_path), classes_per_batch=10, clips_per_class=2)
    plan = training_plan(clips, tuple(str(k) for k in range(50)), data, MODEL, 0, 0)
    assert plan["label"].shape == (150, 20)
    assert np.bincount(plan["label"].ravel()).tolist() == [60] * 50


def test_corner_crops_follow_from_seed_and_epoch_alone_and_leave_the_order_alone(training, tiny_data):
    squares = dataclasses.replace(tiny_data, clips_per_class=3)
    data = dataclasses.replace(squares, crop="corners", crop_scales=(1.0, 0.5))
    plan = plan_of(training, data, seed=3, epoch=4)
    assert all(equal(plan, plan_of(training, data, seed=3, epoch=4)).values())
    assert not equal(plan, plan_of(training, data, seed=3, epoch=5))["box"]
    same = equal(plan, plan_of(training, squares, seed=3, epoch=4))
    assert same["offset"] and not same["box"]
    short = min(training[1][0].height, training[1][0].width)
    boxes = np.concatenate([plan_of(training, data, epoch=epoch)["box"].reshape(-1, 4) for epoch in range(20)])
    assert set(boxes[:, 2:].ravel()) == {short, short // 2} and (boxes[:, 2] != boxes[:, 3]).any()
