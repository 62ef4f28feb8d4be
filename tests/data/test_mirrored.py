"""Clips whose mirror image shows another class: from the listing or --mirror_pairs to a batch's pixels and labels."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from ccsn_tf.config import Config, DataConfig, ModelConfig
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError

CLASSES = ("down", "left", "right", "up")
MIRROR = {"left": "right", "right": "left"}
MODEL = ModelConfig(num_segments=2, flow_length=5, image_size=32)
EQUAL = dict.fromkeys(CLASSES, 24)
UNEQUAL = {"down": 30, "left": 40, "right": 8, "up": 3}


def make_clips(sizes):
    """Clips of each class; the place of the directory tells which: 1000 * class + number."""
    return [
        StoredClip(f"{name}{n}", name, "1", 1, 1000 * k + n, 9, 36, 48, MIRROR.get(name, ""))
        for k, (name, size) in enumerate(sizes.items())
        for n in range(size)
    ]


def plans_of(sizes, epochs, P=3, Q=4, **settings):
    data = DataConfig(record_dir="records", classes_per_batch=P, clips_per_class=Q, **settings)
    return [training_plan(make_clips(sizes), tuple(sizes), data, MODEL, 1, epoch) for epoch in range(epochs)]


def drawn(plans):
    """(own class, number, label, mirrored) of every item."""
    for plan in plans:
        items = (plan[name].ravel().tolist() for name in ("directory", "label", "mirrored"))
        yield from ((*divmod(place, 1000), label, mirrored) for place, label, mirrored in zip(*items, strict=True))


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_a_mirrored_clip_has_the_label_that_it_shows(sizes, sampler):
    seen = Counter()
    for own, _, label, mirrored in drawn(plans_of(sizes, 20, sampler=sampler)):
        assert CLASSES[label] == (MIRROR.get(CLASSES[own], CLASSES[own]) if mirrored else CLASSES[own])
        seen[own, mirrored] += 1
    assert len(seen) == 8, "every class comes both ways"


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("P, Q", [(1, 2), (3, 4)])
def test_batches_are_balanced_in_the_labels_that_result(sizes, P, Q):
    counts = Counter()
    for plan in plans_of(sizes, 5, P, Q):
        assert plan["label"].shape == (sum(sizes.values()) // (P * Q), P * Q)
        for labels, places in zip(plan["label"], plan["directory"], strict=True):
            by_class = labels.reshape(P, Q)
            assert (by_class == by_class[:, :1]).all() and len(set(by_class[:, 0])) == P
            for hand, label in zip(places.reshape(P, Q), by_class[:, 0], strict=True):
                assert len(set(hand)) == Q or sizes[CLASSES[label]] < Q
            counts.update(by_class[:, 0].tolist())
    assert max(counts.values()) - min(counts[label] for label in range(4)) <= 5  # one an epoch


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_one_of_a_pair_alone_is_never_mirrored_and_none_without_flip(sampler):
    alone = list(drawn(plans_of({"down": 20, "left": 20, "up": 20}, 20, sampler=sampler)))
    assert all(label == own for own, _, label, _ in alone)
    assert {own for own, _, _, mirrored in alone if mirrored} == {0, 2}
    plain = drawn(plans_of(EQUAL, 1, sampler=sampler, flip=False))
    assert all(label == own and not mirrored for own, _, label, mirrored in plain)


# The tiny set: real videos that move left, right and down


@pytest.fixture
def paired(tiny_data):
    return dataclasses.replace(tiny_data, mirror_pairs=("MoveLeft:MoveRight",), clips_per_class=3)


def test_selection_says_what_the_mirror_image_shows(tiny_manifest, paired):
    expected = {"MoveDown": "", "MoveLeft": "MoveRight", "MoveRight": "MoveLeft"}
    for side in ("train", "test"):
        assert all(clip.mirror_label == expected[clip.label] for clip in tiny_manifest.select(paired, side)[1])
    own = dataclasses.replace(tiny_manifest, mirrored={"MoveDown": "MoveLeft", "MoveLeft": "MoveDown"})
    plain = dataclasses.replace(paired, mirror_pairs=())
    assert {clip.mirror_label for clip in own.select(plain, "train")[1] if clip.label == "MoveDown"} == {"MoveLeft"}
    for fold in (0, 1):  # the trainer draws from them
        config = Config(data=dataclasses.replace(paired, fold=fold))
        assert {clip.mirror_label for clip in select_clips(config)[1]} == {"", "MoveLeft", "MoveRight"}


def test_pairs_that_do_not_go_together(tiny_manifest, paired):
    same = dataclasses.replace(tiny_manifest, mirrored={"MoveLeft": "MoveRight", "MoveRight": "MoveLeft"})
    same.select(paired, "train")  # said twice, and the same
    for manifest, pairs, reason in (
        (tiny_manifest, ("MoveLeft:MoveUp",), "--mirror_pairs names MoveUp"),
        (tiny_manifest, ("MoveLeft:MoveRight", "MoveDown:MoveRight"), "MoveRight is paired with MoveLeft already"),
        (same, ("MoveLeft:MoveDown",), "MoveLeft is paired with MoveRight already"),
    ):
        with pytest.raises(UserError, match=reason):
            manifest.select(dataclasses.replace(paired, mirror_pairs=pairs), "train")


def batch_of(plan):
    ((inputs, labels),) = training_batches(plan, MODEL).as_numpy_iterator()
    return inputs["rgb"].astype(int), inputs["flow"].astype(int), labels


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_pixels_flow_and_label_of_a_batch_are_mirrored_together(tiny_manifest, paired, sampler):
    data, seen, exchanged = dataclasses.replace(paired, sampler=sampler), set(), 0
    classes, clips = tiny_manifest.select(data, "train")
    for epoch in range(4):
        plan = {n: v[:1] for n, v in training_plan(clips, classes, data, MODEL, 0, epoch).items()}
        rgb, flow, labels = batch_of(plan)
        plain_rgb, plain_flow, _ = batch_of({**plan, "mirrored": np.zeros_like(plan["mirrored"])})
        motion = np.median(flow, axis=(1, 2, 3)) - 127.5
        for item, mirrored in enumerate(plan["mirrored"][0]):
            clip = clips[plan["clip"][0, item]]
            assert classes[labels[item]] == (clip.mirror_label or clip.label if mirrored else clip.label)
            turn = np.s_[:, :, ::-1] if mirrored else np.s_[:]
            x, y = plain_flow[item, ..., 0::2][turn], plain_flow[item, ..., 1::2][turn]
            np.testing.assert_array_equal(rgb[item], plain_rgb[item][turn])
            np.testing.assert_array_equal(flow[item, ..., 0::2], 255 - x if mirrored else x)
            np.testing.assert_array_equal(flow[item, ..., 1::2], y)
            across, down = np.median(motion[item, 0::2]), np.median(motion[item, 1::2])
            assert {"MoveRight": across, "MoveLeft": -across, "MoveDown": down}[classes[labels[item]]] > 5
            seen.add((labels[item], bool(mirrored)))
            exchanged += bool(mirrored and clip.mirror_label)
    assert exchanged > 3 and len(seen) == 6
