import dataclasses
import pathlib
import shutil

import cv2
import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.checks import records
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, example, framed, read_example


@pytest.fixture
def copy(tiny_data, tmp_path):
    """The config of a copy of the tiny set's records, which may be spoilt."""
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, record_dir=str(tmp_path / "records")))


def seen_in(config, manifest=None, thorough=False, workers=1):
    manifest = manifest or Manifest.read(config.data.record_dir)
    counts = []
    data = dataclasses.replace(config.data, workers=workers)
    seen = records.read_records(manifest, data, thorough, lambda *count: counts.append(count))
    assert counts == [(done, len(manifest.clips)) for done in range(len(manifest.clips) + 1)]
    return seen


def found(check, config, manifest=None, seen=None):
    manifest = manifest or Manifest.read(config.data.record_dir)
    return list(check(config, manifest, seen or {}))


def shard_of(config, clip):
    return pathlib.Path(config.data.record_dir, clip.shard)


def replace_record(config, clip, **features):
    """Writes another record of the same length, checksums included; returns nothing."""
    path = shard_of(config, clip)
    content = path.read_bytes()
    start, end = clip.offset, clip.offset + HEADER_BYTES + clip.length + FOOTER_BYTES
    before = read_example(content[start + HEADER_BYTES : end - FOOTER_BYTES])
    features = {**before, **features}
    left = clip.length - len(example({**features, "a": [b""]}))
    for filling in range(max(0, left - 20), left + 1):  # a feature that nobody reads makes up for the length
        record = example({**features, "a": [bytes(filling)]})
        if len(record) == clip.length:
            path.write_bytes(content[:start] + framed(with_table(record, features)) + content[end:])
            return
    raise AssertionError("the other record is longer")


def with_table(record, features):
    """The record with the table of where its JPEGs are, which is its end."""
    places, end = [], 0
    for jpeg in [*features["flow"], *features["rgb"]]:
        start = record.index(jpeg, end)
        end = start + len(jpeg)
        places.append((start, len(jpeg)))
    table = np.array(places, "<i4").tobytes()
    size = len(features["table"][0])
    return record[: len(record) - size] + table[:size].ljust(size, b"\0")


def jpeg_of(height, width, channels):
    return cv2.imencode(".jpg", np.zeros((height, width, channels), np.uint8))[1].tobytes()


@pytest.mark.parametrize("thorough, workers", [(False, 1), (True, 2)])
def test_sound_records_have_no_faults(copy, thorough, workers):
    seen = seen_in(copy, thorough=thorough, workers=workers)
    assert len(seen) == 15 and not any(read.faults for read in seen.values())
    assert len({read.digest for read in seen.values()}) == 15
    manifest = Manifest.read(copy.data.record_dir)
    assert [check for check in records.CHECKS if found(check, copy, manifest, seen)] == []


@pytest.mark.parametrize("place", ["length", "checksum of the length", "record", "checksum"])
def test_one_bit_that_flipped(copy, place):
    clip = Manifest.read(copy.data.record_dir).clips[6]
    offsets = {"length": 0, "checksum of the length": 9, "record": 12 + clip.length // 2, "checksum": 12 + clip.length}
    content = bytearray(shard_of(copy, clip).read_bytes())
    content[clip.offset + offsets[place]] ^= 4
    shard_of(copy, clip).write_bytes(content)
    (finding,) = found(records.damaged, copy, seen=seen_in(copy))
    assert finding.clip == clip.name and finding.blocks
    assert finding.message == (
        f"{clip.name}: its bytes are not those that were written: the checksum differs; delete "
        f"{shard_of(copy, clip)} and run prepare.py again, which restores it."
    )


def test_deleting_a_damaged_shard_restores_it(copy):
    from ccsn_tf.data.prepare.prepare import prepare

    clip = Manifest.read(copy.data.record_dir).clips[0]
    before = shard_of(copy, clip).read_bytes()
    shard_of(copy, clip).unlink()
    prepare(copy.data, 5)
    assert shard_of(copy, clip).read_bytes() == before


@pytest.mark.parametrize(
    "features, fault",
    [
        ({"name": [b"MoveDown/other"]}, "it holds MoveDown/other"),
        ({"rgb": [b"no JPEG"] * 14}, "a frame is no JPEG"),
        ({"flow": [b""] * 13}, "a flow field is no JPEG"),
        ({"rgb": [jpeg_of(36, 50, 3)] * 14}, r"a frame has the shape (36, 50, 3), not (36, 48, 3)"),
        ({"flow": [jpeg_of(36, 48, 1)] * 13}, r"a flow field has the shape (36, 48), not (72, 48)"),
        ({"flow": [jpeg_of(72, 48, 1)] * 12}, "it has 14 frames and 12 fields, the manifest says 14 and 13"),
        ({"flow": []}, "it has 14 frames and 0 fields, the manifest says 14 and 13"),
    ],
)
def test_records_that_are_not_what_the_manifest_says(copy, features, fault):
    clip = Manifest.read(copy.data.record_dir).clips[3]
    replace_record(copy, clip, **features)
    seen = seen_in(copy)
    assert seen[clip.name].faults == (fault,)
    assert [name for name, read in seen.items() if read.faults] == [clip.name]


def test_table_that_points_elsewhere(copy):
    clip = Manifest.read(copy.data.record_dir).clips[3]
    content = shard_of(copy, clip).read_bytes()
    start, end = clip.offset, clip.offset + HEADER_BYTES + clip.length + FOOTER_BYTES
    record = bytearray(content[start + HEADER_BYTES : end - FOOTER_BYTES])
    record[-8] ^= 1  # where the last frame begins
    shard_of(copy, clip).write_bytes(content[:start] + framed(bytes(record)) + content[end:])
    assert seen_in(copy)[clip.name].faults == ("its table does not point at its JPEGs",)


def test_only_a_thorough_look_finds_a_bad_jpeg_in_the_middle(copy):
    clip = Manifest.read(copy.data.record_dir).clips[3]
    good = jpeg_of(36, 48, 3)
    replace_record(copy, clip, rgb=[good] * 7 + [b"bad"] + [good] * 6)
    assert not seen_in(copy)[clip.name].faults
    assert seen_in(copy, thorough=True)[clip.name].faults == ("a frame is no JPEG",)


def test_no_record_of_ours(copy):
    clip = Manifest.read(copy.data.record_dir).clips[2]
    content = shard_of(copy, clip).read_bytes()
    start, end = clip.offset, clip.offset + HEADER_BYTES + clip.length + FOOTER_BYTES
    shard_of(copy, clip).write_bytes(content[:start] + framed(bytes(clip.length)) + content[end:])
    assert seen_in(copy)[clip.name].faults == ("it is not a record of name, rgb, flow and table",)


def test_shard_that_is_gone(copy):
    manifest = Manifest.read(copy.data.record_dir)
    shard_of(copy, manifest.clips[0]).unlink()
    seen = seen_in(copy, manifest)
    assert seen[manifest.clips[0].name].faults == ("it cannot be read (No such file or directory)",)


def with_clip(manifest, number, **changes):
    clips = list(manifest.clips)
    clips[number] = dataclasses.replace(clips[number], **changes)
    return dataclasses.replace(manifest, clips=tuple(clips))


def test_places_in_the_manifest(copy, tiny_manifest):
    assert not found(records.places, copy, tiny_manifest)
    second, last = tiny_manifest.clips[1], tiny_manifest.clips[-1]
    text = [f.message for f in found(records.places, copy, with_clip(tiny_manifest, 1, offset=second.offset + 1))]
    assert len(text) == 2 and f"{second.name} begins at byte {second.offset + 1}" in text[0]
    text = [f.message for f in found(records.places, copy, with_clip(tiny_manifest, -1, length=last.length + 1))]
    assert len(text) == 1 and f"the clips of {last.shard} end at byte" in text[0]
    text = [f.message for f in found(records.places, copy, with_clip(tiny_manifest, 1, name=last.name))]
    assert text == [f"manifest.json is wrong: {last.name} is there 2 times; run prepare.py again."]
    text = [f.message for f in found(records.places, copy, with_clip(tiny_manifest, -1, shard="other.tfrecord"))]
    assert "is in other.tfrecord, which is no file of it" in text[0]


def test_labels_and_splits_of_the_manifest(copy, tiny_manifest):
    assert not found(records.labels_and_splits, copy, tiny_manifest)
    text = [f.message for f in found(records.labels_and_splits, copy, with_clip(tiny_manifest, 0, label="Fly"))]
    assert len(text) == 1 and "is labelled Fly, which is no class of it" in text[0]
    train, test = tiny_manifest.splits[1]["train"], tiny_manifest.splits[1]["test"]
    splits = {1: {"train": (*train, test[0], "new"), "test": test}}
    text = [
        f.message for f in found(records.labels_and_splits, copy, dataclasses.replace(tiny_manifest, splits=splits))
    ]
    assert "split 1 names new, which it says nothing else about" in text[0]
    assert f"split 1 has {test[0]} on both sides" in text[1] and len(text) == 2


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"flow_bound": 10.0}, "--flow_bound=10.0, but the records in"),
        ({"split": 3}, "--split=3 is not in"),
        ({"classes": ("Fly",)}, "--classes names Fly"),
        ({"flow_length": 14}, "fewer than --flow_length=14"),
    ],
)
def test_what_training_refuses(copy, changes, text):
    (finding,) = found(records.what_training_refuses, copy.replace(**changes))
    assert text in finding.message and finding.blocks


def test_same_frames_groups_and_skipped(copy, tiny_manifest):
    names = [clip.name for clip in tiny_manifest.clips]
    train, test = tiny_manifest.splits[1]["train"][0], tiny_manifest.splits[1]["test"][0]
    seen = {name: records.Read(digest="same" if name in (train, test) else name) for name in names}
    (finding,) = found(records.same_frames, copy, tiny_manifest, seen)
    assert finding.kind == "same video on both sides" and train in finding.message and test in finding.message
    assert not found(records.groups_on_both_sides, copy, tiny_manifest)
    moved = dataclasses.replace(
        tiny_manifest, clips=tuple(dataclasses.replace(clip, group="01") for clip in tiny_manifest.clips)
    )
    assert len(found(records.groups_on_both_sides, copy, moved)) == 6
    left_out = dataclasses.replace(tiny_manifest, skipped={"A/1": "A/1.avi is damaged."})
    (finding,) = found(records.skipped, copy, left_out)
    assert (finding.clip, finding.message, finding.blocks) == ("A/1", "A/1.avi is damaged.", False)
