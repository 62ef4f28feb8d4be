import dataclasses
import pathlib
import shutil

import pytest
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.data.checks.records import check_records
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES
from ccsn_tf.data.records.write import framed


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


def forged(function):
    """A function that puts another record, with its checksums, in the place of a framed one."""
    return lambda content: framed(function(content[HEADER_BYTES:-FOOTER_BYTES]))


def without(feature, number):
    """A function that zeroes a JPEG of a record."""

    def function(record):
        jpeg = tf.train.Example.FromString(record).features.feature[feature].bytes_list.value[number]
        return record.replace(jpeg, bytes(len(jpeg)))

    return function


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
    """Each in a record of its own; what lies between a clip's first and last JPEGs shows in a thorough look only."""
    records = [
        ("not the record of", forged(flip(-8))),  # its table
        ("not the record of", forged(lambda record: bytes(len(record)))),
        ("a frame is no JPEG", forged(without("rgb", 13))),
        ("a flow field is no JPEG", forged(without("flow", 0))),
    ]
    entries = [
        ("not the record of MoveDown/other", {"name": "MoveDown/other"}),
        ("with 13 frames and 12 flow fields", {"fields": 12}),
        ("shape (36, 50, 3)", {"width": 50}),
    ]
    manifest = Manifest.read(copy.data.record_dir)
    clips, expected = list(manifest.clips), {}
    for clip, (fault, function) in zip(clips, records, strict=False):
        change(copy, clip, function)
        expected[clip.name] = fault
    for number, (fault, values) in enumerate(entries, start=len(records)):
        clips[number] = dataclasses.replace(clips[number], **values)
        expected[clips[number].name] = fault
    change(copy, clips[-1], forged(without("rgb", 7)))
    changed = dataclasses.replace(manifest, clips=tuple(clips))
    for thorough in (False, True):
        if thorough:
            expected[clips[-1].name] = "a frame is no JPEG"
        findings = found(copy, changed, thorough)
        assert {finding.clip for finding in findings} == expected.keys()
        for finding in findings:
            assert finding.kind == "damaged record" and finding.blocks and expected[finding.clip] in finding.message


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"flow_bound": 10.0}, "--flow_bound=10.0"),
        ({"split": 3}, "--split=3"),
        ({"classes": ("Fly",)}, "--classes names Fly"),
        ({"flow_length": 14}, "--flow_length=14"),
    ],
)
def test_what_training_refuses(tiny_data, tiny_manifest, changes, text):
    config = dataclasses.replace(Config(), data=tiny_data).replace(**changes)
    finding = next(check_records(config, tiny_manifest, False, lambda *count: None))
    assert text in finding.message and finding.blocks


def test_same_frames_groups_and_skipped(copy):
    manifest = Manifest.read(copy.data.record_dir)
    train, test = (set(manifest.splits[1][side]) for side in ("train", "test"))
    one = next(clip for clip in manifest.clips if clip.name in train)
    another = next(clip for clip in manifest.clips if clip.name in test and len(clip.name) == len(one.name))
    record = shard_of(copy, one).read_bytes()[one.offset :][HEADER_BYTES : HEADER_BYTES + one.length]
    twin = record.replace(one.name.encode(), another.name.encode())
    pathlib.Path(copy.data.record_dir, "twin.tfrecord").write_bytes(framed(twin))
    place = {"shard": "twin.tfrecord", "offset": 0, "length": one.length}
    clips = [dataclasses.replace(clip, group="01", **(place if clip == another else {})) for clip in manifest.clips]
    changed = dataclasses.replace(manifest, clips=tuple(clips), skipped={"A/1": "A/1.avi is damaged."})
    same, *in_groups, skipped = found(copy, changed)
    assert same.kind == "same video on both sides" and one.name in same.message and another.name in same.message
    assert len(in_groups) == 6 and {finding.kind for finding in in_groups} == {"group on both sides"}
    assert (skipped.clip, skipped.message, skipped.blocks) == ("A/1", "A/1.avi is damaged.", False)
