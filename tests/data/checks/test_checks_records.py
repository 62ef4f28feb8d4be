import dataclasses
import pathlib
import shutil

import cv2
import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.checks.records import check_records
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, example, framed, read_example


@pytest.fixture
def copy(tiny_data, tmp_path):
    """The config of a copy of the tiny set's records, which may be spoilt."""
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, record_dir=str(tmp_path / "records")))


def found(config, manifest=None, thorough=False):
    manifest, counts = manifest or Manifest.read(config.data.record_dir), []
    findings = list(check_records(config, manifest, thorough, lambda *count: counts.append(count)))
    assert counts == [(done, len(manifest.clips)) for done in range(len(manifest.clips) + 1)]
    return findings


def faults(config, thorough=False):
    """{clip: what is wrong with its record}."""
    findings = found(config, thorough=thorough)
    assert all(finding.kind == "damaged record" and finding.blocks for finding in findings)
    return {finding.clip: finding.message.removeprefix(f"{finding.clip}: ").split(";")[0] for finding in findings}


def shard_of(config, clip):
    return pathlib.Path(config.data.record_dir, clip.shard)


def change(config, clip, function):
    """Puts `function` of a clip's framed record, of the same length, in its place."""
    content = shard_of(config, clip).read_bytes()
    start, end = clip.offset, clip.offset + HEADER_BYTES + clip.length + FOOTER_BYTES
    record = function(content[start:end])
    assert len(record) == end - start
    shard_of(config, clip).write_bytes(content[:start] + record + content[end:])


def flip(place):
    """A function that flips a bit of a record."""
    return lambda content: content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def other(**features):
    """A function that gives another record as long, checksums included."""

    def function(content):
        record = content[HEADER_BYTES:-FOOTER_BYTES]
        changed = {**read_example(record), **features}
        left = len(record) - len(example({**changed, "a": [b""]}))
        for filling in range(max(0, left - 20), left + 1):  # a feature that nobody reads makes up for the length
            longer = example({**changed, "a": [bytes(filling)]})
            if len(longer) == len(record):
                return framed(with_table(longer, changed))
        raise AssertionError("the other record is longer")

    return function


def with_table(record, features):
    """The record with the table of where its JPEGs are, which is its end."""
    places, end = [], 0
    for jpeg in [*features["flow"], *features["rgb"]]:
        start = record.index(jpeg, end)
        end = start + len(jpeg)
        places.append((start, len(jpeg)))
    size = len(features["table"][0])
    return record[: len(record) - size] + np.array(places, "<i4").tobytes()[:size].ljust(size, b"\0")


def jpeg_of(height, width, channels):
    return cv2.imencode(".jpg", np.zeros((height, width, channels), np.uint8))[1].tobytes()


def test_a_bit_that_flipped_anywhere_and_a_file_that_is_gone(copy):
    """Each in a record of its own; deleting the file and preparing again restores it, as is advised."""
    clips = Manifest.read(copy.data.record_dir).clips
    before = {clip.shard: shard_of(copy, clip).read_bytes() for clip in clips}
    places = [0, 9, HEADER_BYTES + clips[2].length // 2, HEADER_BYTES + clips[3].length]
    for clip, place in zip(clips, places, strict=False):
        change(copy, clip, flip(place))
    manifest = Manifest.read(copy.data.record_dir)
    shard_of(copy, clips[-1]).unlink()
    findings = found(copy, manifest)
    gone = {clip.name for clip in clips if clip.shard == clips[-1].shard}
    assert {finding.clip for finding in findings} == {clip.name for clip in clips[:4]} | gone
    for finding in findings:
        reason = "No such file" if finding.clip in gone else "checksum differs"
        assert finding.blocks and reason in finding.message and copy.data.record_dir in finding.message
    for clip in clips[:4]:
        shard_of(copy, clip).unlink(missing_ok=True)
    prepare(copy.data, 5)
    assert {clip.shard: shard_of(copy, clip).read_bytes() for clip in clips} == before


def test_records_that_are_not_what_the_manifest_says(copy):
    good = jpeg_of(36, 48, 3)
    table = {
        "holds MoveDown/other": other(name=[b"MoveDown/other"]),
        "a frame is no JPEG": other(rgb=[b"no JPEG"] * 14),
        "a flow field is no JPEG": other(flow=[b""] * 13),
        "shape (36, 48, 3)": other(rgb=[jpeg_of(36, 50, 3)] * 14),
        "shape (72, 48)": other(flow=[jpeg_of(36, 48, 1)] * 13),
        "14 frames and 12 fields, not": other(flow=[jpeg_of(72, 48, 1)] * 12),
        "14 frames and 0 fields, not": other(flow=[]),
        "table": lambda content: framed(flip(-8)(content[HEADER_BYTES:-FOOTER_BYTES])),
        "not a record": lambda content: framed(bytes(len(content) - HEADER_BYTES - FOOTER_BYTES)),
    }
    clips = Manifest.read(copy.data.record_dir).clips
    expected = {}
    for clip, (fault, function) in zip(clips, table.items(), strict=False):
        change(copy, clip, function)
        expected[clip.name] = fault
    seen = faults(copy)
    assert seen.keys() == expected.keys()
    assert all(expected[name] in fault for name, fault in seen.items())
    change(copy, clips[-1], other(rgb=[good] * 7 + [b"bad"] + [good] * 6))
    assert clips[-1].name not in faults(copy) and "a frame is no JPEG" in faults(copy, thorough=True)[clips[-1].name]


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"flow_bound": 10.0}, "--flow_bound=10.0"),
        ({"split": 3}, "--split=3"),
        ({"classes": ("Fly",)}, "--classes names Fly"),
        ({"flow_length": 14}, "--flow_length=14"),
    ],
)
def test_what_training_refuses(copy, changes, text):
    (finding,) = found(copy.replace(**changes))
    assert text in finding.message and finding.blocks


def test_same_frames_groups_and_skipped(copy):
    manifest = Manifest.read(copy.data.record_dir)
    train, test = (set(manifest.splits[1][side]) for side in ("train", "test"))
    one, another = (next(clip for clip in manifest.clips if clip.name in side) for side in (train, test))
    content = shard_of(copy, one).read_bytes()[one.offset :][HEADER_BYTES : HEADER_BYTES + one.length]
    change(copy, another, other(**{**read_example(content), "name": [another.name.encode()]}))
    clips = tuple(dataclasses.replace(clip, group="01") for clip in manifest.clips)
    changed = dataclasses.replace(manifest, clips=clips, skipped={"A/1": "A/1.avi is damaged."})
    same, *in_groups, skipped = found(copy, changed)
    assert same.kind == "same video on both sides" and one.name in same.message and another.name in same.message
    assert len(in_groups) == 6 and {finding.kind for finding in in_groups} == {"group on both sides"}
    assert (skipped.clip, skipped.message, skipped.blocks) == ("A/1", "A/1.avi is damaged.", False)
