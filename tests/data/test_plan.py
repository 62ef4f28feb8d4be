import dataclasses

import numpy as np
import pytest

from ccsn_tf.config import ModelConfig
from ccsn_tf.data.plan import balanced_order, places, shuffled_order, training_plan
from ccsn_tf.errors import UserError

MODEL = ModelConfig(num_segments=3, flow_length=5)
LABELS = {
    "equal": np.repeat(np.arange(6), 10),
    "unequal": np.repeat(np.arange(5), [3, 30, 8, 11, 5]),
    "odd": np.repeat(np.arange(7), 7),
}


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
    scalars = dict.fromkeys(("clip", "file", "directory", "fields", "label", "mirrored"), (steps, batch))
    expected = {**scalars, "starts": (steps, batch, 3), "box": (steps, batch, 4)}
    assert {name: values.shape for name, values in plan.items()} == expected
    assert plan["label"].dtype == np.int32 and plan["mirrored"].dtype == bool
    assert {plan[name].dtype for name in ("directory", "fields", "starts", "box")} == {np.dtype(np.int64)}
    for index, number in np.ndenumerate(plan["clip"]):
        clip = clips[number]
        assert classes[plan["label"][index]] == clip.label
        for name, values in places([clip], tiny_data.record_dir).items():
            assert plan[name][index] == values[0]
        assert plan["file"][index] == f"{tiny_data.record_dir}/{clip.file}"
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
        assert not same["starts"] and not same["box"] and not same["clip"]


def test_flips_and_crops_leave_the_rest_alone(training, tiny_data):
    flipped = plan_of(training, tiny_data, seed=1)
    same = equal(plan_of(training, dataclasses.replace(tiny_data, flip=False), seed=1), flipped)
    assert {name for name in same if not same[name]} == {"mirrored"}
    corners = dataclasses.replace(tiny_data, crop="corners", crop_scales=(1.0, 0.5))
    same = equal(plan_of(training, corners, seed=1), flipped)
    assert same["clip"] and same["starts"] and not same["box"]
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
