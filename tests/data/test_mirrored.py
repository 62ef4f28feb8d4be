"""Clips whose mirror image shows another class: from the listing or --mirror_pairs to a batch's pixels and labels."""

import dataclasses
import json
import pathlib
from collections import Counter

import numpy as np
import pytest

from ccsn_tf.config import Config, DataConfig, ModelConfig
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest, StoredClip
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError

CLASSES = ("down", "left", "right", "up")
MIRROR = {"left": "right", "right": "left"}
MODEL = ModelConfig(num_segments=2, flow_length=5, image_size=32)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"x")
    return DataConfig(record_dir=str(tmp_path), classes_per_batch=3, clips_per_class=4)


def make_clips(sizes, mirror=MIRROR):
    """Clips of each class; the place in the file tells which: 1000 * class + number."""
    return [
        StoredClip(f"{name}{n}", name, "1", "a.tfrecord", 1000 * k + n, 1, 9, 36, 48, mirror.get(name, ""))
        for k, (name, size) in enumerate(sizes.items())
        for n in range(size)
    ]


def drawn(plan):
    """(own class, label, mirrored) of every item, by place."""
    own = plan["offset"] // 1000
    return list(
        zip(own.ravel().tolist(), plan["label"].ravel().tolist(), plan["mirrored"].ravel().tolist(), strict=True)
    )


EQUAL = dict.fromkeys(CLASSES, 24)
UNEQUAL = {"down": 30, "left": 40, "right": 8, "up": 3}


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_a_mirrored_clip_has_the_label_that_it_shows(data, sizes, sampler):
    clips, seen = make_clips(sizes), Counter()
    data = dataclasses.replace(data, sampler=sampler)
    for epoch in range(20):
        plan = training_plan(clips, CLASSES, data, MODEL, 0, epoch)
        assert plan["label"].dtype == np.int32 and plan["mirrored"].dtype == bool
        for own, label, mirrored in drawn(plan):
            shown = MIRROR.get(CLASSES[own], CLASSES[own]) if mirrored else CLASSES[own]
            assert CLASSES[label] == shown
            seen[CLASSES[own], mirrored] += 1
    assert len(seen) == 8, "every class comes both ways"


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("P, Q", [(1, 2), (2, 3), (3, 4), (4, 2)])
def test_batches_are_balanced_in_the_labels_that_result(data, sizes, P, Q):
    clips = make_clips(sizes)
    data = dataclasses.replace(data, classes_per_batch=P, clips_per_class=Q)
    counts = Counter()
    for epoch in range(5):
        plan = training_plan(clips, CLASSES, data, MODEL, 1, epoch)
        assert plan["label"].shape == (sum(sizes.values()) // (P * Q), P * Q)
        for labels, places in zip(plan["label"], plan["offset"], strict=True):
            by_class = labels.reshape(P, Q)
            assert (by_class == by_class[:, :1]).all() and len(set(by_class[:, 0])) == P
            for hand, label in zip(places.reshape(P, Q), by_class[:, 0], strict=True):
                assert len(set(hand)) == Q or sizes[CLASSES[label]] < Q
            counts.update(by_class[:, 0].tolist())
    assert max(counts.values()) - min(counts[label] for label in range(4)) <= 5  # one an epoch


def test_clips_of_a_pair_come_equally_often_and_half_of_the_times_mirrored(data):
    clips = make_clips(UNEQUAL)
    seen = Counter()
    for epoch in range(200):
        plan = training_plan(clips, CLASSES, data, MODEL, 2, epoch)
        seen.update(zip(plan["offset"].ravel().tolist(), plan["mirrored"].ravel().tolist(), strict=True))
    paired = [clip.offset for clip in clips if clip.label in MIRROR]
    plain, mirrored = (np.array([seen[place, way] for place in paired]) for way in (False, True))
    assert abs(plain.mean() / mirrored.mean() - 1) < 0.1
    assert np.ptp(plain + mirrored) < 0.5 * (plain + mirrored).mean()


def test_other_classes_are_mirrored_by_chance(data):
    clips, shares = make_clips(EQUAL), []
    for epoch in range(100):
        plan = training_plan(clips, CLASSES, data, MODEL, 3, epoch)
        shares += [mirrored for own, _, mirrored in drawn(plan) if CLASSES[own] not in MIRROR]
    assert abs(np.mean(shares) - 0.5) < 0.03


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_one_of_a_pair_alone_is_never_mirrored(data, sampler):
    data = dataclasses.replace(data, sampler=sampler)
    clips = make_clips({"down": 20, "left": 20, "up": 20})
    for epoch in range(20):
        plan = training_plan(clips, ("down", "left", "up"), data, MODEL, 0, epoch)
        assert not any(mirrored for own, _, mirrored in drawn(plan) if own == 1)
        assert all(label == own for own, label, _ in drawn(plan))
    assert plan["mirrored"].any()


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_without_flip_nothing_is_exchanged(data, sampler):
    data = dataclasses.replace(data, sampler=sampler, flip=False)
    plan = training_plan(make_clips(EQUAL), CLASSES, data, MODEL, 0, 0)
    assert not plan["mirrored"].any() and all(label == own for own, label, _ in drawn(plan))


# The tiny set: real videos that move left, right and down


@pytest.fixture
def paired(tiny_data):
    return dataclasses.replace(tiny_data, mirror_pairs=("MoveLeft:MoveRight",), clips_per_class=4)


def test_selection_says_what_the_mirror_image_shows(tiny_manifest, paired):
    expected = {"MoveDown": "", "MoveLeft": "MoveRight", "MoveRight": "MoveLeft"}
    for side in ("train", "test"):
        assert all(clip.mirror_label == expected[clip.label] for clip in tiny_manifest.select(paired, side)[1])
    own = dataclasses.replace(tiny_manifest, mirrored={"MoveDown": "MoveLeft", "MoveLeft": "MoveDown"})
    plain = dataclasses.replace(paired, mirror_pairs=())
    assert {clip.mirror_label for clip in own.select(plain, "train")[1] if clip.label == "MoveDown"} == {"MoveLeft"}


def test_the_trainer_draws_from_them(paired):
    for validate_on in ("test", "none", "holdout"):
        config = Config(data=dataclasses.replace(paired, holdout_groups=1)).replace(validate_on=validate_on)
        training = select_clips(config)[1]
        assert {clip.mirror_label for clip in training} == {"", "MoveLeft", "MoveRight"}


def test_pairs_that_do_not_go_together(tiny_manifest, paired):
    for pairs, reason in (
        (("MoveLeft:MoveUp",), "--mirror_pairs names MoveUp, no class of .*: correct the name"),
        (
            ("MoveLeft:MoveRight", "MoveDown:MoveRight"),
            "=MoveDown:MoveRight: MoveRight is paired with MoveLeft already",
        ),
    ):
        with pytest.raises(UserError, match=reason):
            tiny_manifest.select(dataclasses.replace(paired, mirror_pairs=pairs), "train")
    same = dataclasses.replace(tiny_manifest, mirrored={"MoveLeft": "MoveRight", "MoveRight": "MoveLeft"})
    same.select(paired, "train")  # said twice, and the same
    with pytest.raises(UserError, match="MoveLeft is paired with MoveRight already"):
        same.select(dataclasses.replace(paired, mirror_pairs=("MoveLeft:MoveDown",)), "train")


def test_manifest_keeps_pairs_and_no_mirror_label(tiny_manifest, tmp_path):
    for name, size in tiny_manifest.shards.items():
        (tmp_path / name).write_bytes(bytes(size))
    pairs = {"MoveLeft": "MoveRight", "MoveRight": "MoveLeft"}
    written = dataclasses.replace(tiny_manifest, mirrored=pairs, skipped_labels={"x": "y"})
    written.write(str(tmp_path))
    assert Manifest.read(str(tmp_path)) == written
    content = json.loads(pathlib.Path(tmp_path, FILE_NAME).read_text())
    assert all("mirror_label" not in clip for clip in content["clips"])


def test_manifest_from_before_there_were_pairs(tiny_manifest, tmp_path):
    for name, size in tiny_manifest.shards.items():
        (tmp_path / name).write_bytes(bytes(size))
    dataclasses.replace(tiny_manifest, skipped={"MoveLeft/x": "lost"}).write(str(tmp_path))
    path = tmp_path / FILE_NAME
    content = json.loads(path.read_text())
    for name in ("mirrored", "skipped_labels"):
        del content[name]
    content["splits"]["1"]["test"].append("MoveLeft/x")
    path.write_text(json.dumps(content))
    manifest = Manifest.read(str(tmp_path))
    assert manifest.mirrored == {} and manifest.clips == tiny_manifest.clips
    assert manifest.count_skipped(1, "test", ["MoveLeft"]) == 1 and manifest.count_skipped(1, "test", ["MoveDown"]) == 0


def batch_of(plan):
    ((inputs, labels),) = training_batches(plan, MODEL).as_numpy_iterator()
    return inputs["rgb"].astype(int), inputs["flow"].astype(int), labels


@pytest.mark.parametrize("sampler", ["balanced", "shuffle"])
def test_pixels_flow_and_label_of_a_batch_are_mirrored_together(tiny_manifest, paired, sampler):
    classes, clips = tiny_manifest.select(dataclasses.replace(paired, sampler=sampler), "train")
    exchanged = 0
    for epoch in range(4):
        data = dataclasses.replace(paired, sampler=sampler, clips_per_class=3)
        plan = {n: v[:1] for n, v in training_plan(clips, classes, data, MODEL, 0, epoch).items()}
        rgb, flow, labels = batch_of(plan)
        plain_rgb, plain_flow, _ = batch_of({**plan, "mirrored": np.zeros_like(plan["mirrored"])})
        at = {(clip.shard, clip.offset): clip for clip in clips}
        for item, mirrored in enumerate(plan["mirrored"][0]):
            clip = at[pathlib.Path(plan["file"][0, item]).name, int(plan["offset"][0, item])]
            if not mirrored:
                assert classes[labels[item]] == clip.label
                np.testing.assert_array_equal(rgb[item], plain_rgb[item])
                np.testing.assert_array_equal(flow[item], plain_flow[item])
                continue
            assert classes[labels[item]] == (clip.mirror_label or clip.label)
            np.testing.assert_array_equal(rgb[item], plain_rgb[item, :, :, ::-1])
            np.testing.assert_array_equal(flow[item, ..., 0::2], 255 - plain_flow[item, :, :, ::-1, 0::2])
            np.testing.assert_array_equal(flow[item, ..., 1::2], plain_flow[item, :, :, ::-1, 1::2])
            exchanged += clip.mirror_label != ""
    assert exchanged > 3


def test_what_moves_right_is_labelled_as_moving_right(tiny_manifest, paired):
    """The flow in the batch agrees with the label in the batch, mirrored or not."""
    classes, clips = tiny_manifest.select(paired, "train")
    seen = Counter()
    for epoch in range(3):
        plan = training_plan(clips, classes, dataclasses.replace(paired, clips_per_class=3), MODEL, 5, epoch)
        _, flow, labels = batch_of(plan)
        motion = np.median(flow, axis=(1, 2, 3)) - 127.5
        for item, label in enumerate(labels):
            x, y = np.median(motion[item, 0::2]), np.median(motion[item, 1::2])
            shown = {"MoveRight": x, "MoveLeft": -x, "MoveDown": y}[classes[label]]
            assert shown > 5
            seen[classes[label], bool(plan["mirrored"][0, item])] += 1
    assert len(seen) == 6
