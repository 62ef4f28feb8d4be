import dataclasses
import pathlib
import shutil

import pytest
from record_folders import all_jpegs, contents

from ccsn_tf.config import Config
from ccsn_tf.data.checks.records import check_records
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.record import FIELDS, FRAMES, write_record


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


def rewrite(config, clip, name=None, **changed):
    """Writes a clip's record anew, with {kind: {number: other JPEG}} in place of its own, and all checksums right."""
    jpegs = dict(zip((FRAMES, FIELDS), all_jpegs(config.data.record_dir, clip), strict=True))
    items = [(kind, changed.get(kind, {}).get(n, jpeg)) for kind in jpegs for n, jpeg in enumerate(jpegs[kind])]
    write_record(pathlib.Path(config.data.record_dir, clip.file), name or clip.name, items)


def test_a_bit_that_flipped_anywhere_and_a_file_that_is_gone(copy):
    """Each in a record of its own; deleting the file and preparing again restores it, as is advised."""
    manifest, before = Manifest.read(copy.data.record_dir), contents(copy.data.record_dir)
    spoilt = manifest.clips[:4]
    places = [200, spoilt[1].bytes // 2, spoilt[2].directory + 30, spoilt[3].bytes - 5]
    for clip, place in zip(spoilt, places, strict=True):
        content = bytearray(before[clip.file])
        content[place] ^= 4
        pathlib.Path(copy.data.record_dir, clip.file).write_bytes(content)
    pathlib.Path(copy.data.record_dir, manifest.clips[-1].file).unlink()
    findings = found(copy, manifest)
    assert {finding.clip for finding in findings} == {clip.name for clip in (*spoilt, manifest.clips[-1])}
    for finding in findings:
        assert finding.blocks and finding.kind == "damaged record" and copy.data.record_dir in finding.message
    for clip in spoilt:
        pathlib.Path(copy.data.record_dir, clip.file).unlink()
    prepare(copy.data, 5)
    assert contents(copy.data.record_dir) == before


def test_records_that_are_not_what_the_manifest_says(copy):
    """Each in a record of its own; what lies between a clip's first and last JPEGs shows in a thorough look only."""
    manifest = Manifest.read(copy.data.record_dir)
    clips = list(manifest.clips)
    rewrite(copy, clips[0], frames={13: b"no JPEG"})
    rewrite(copy, clips[1], fields={0: all_jpegs(copy.data.record_dir, clips[1])[0][0]})
    rewrite(copy, clips[2], name="MoveDown/other")
    clips[3] = dataclasses.replace(clips[3], fields=12)
    rewrite(copy, clips[-1], frames={7: b""})
    faults = [
        "frames/0000013.jpg is no JPEG of",
        "fields/0000000.jpg is no JPEG of",
        "not the record of",
        "12 flow fields",
    ]
    expected = {clip.name: fault for clip, fault in zip(clips, faults, strict=False)}
    changed = dataclasses.replace(manifest, clips=tuple(clips))
    for thorough in (False, True):
        if thorough:
            expected[clips[-1].name] = "frames/0000007.jpg is no JPEG"
        findings = found(copy, changed, thorough)
        assert {finding.clip for finding in findings} == expected.keys()
        assert all(expected[finding.clip] in finding.message for finding in findings)


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
    another = next(clip for clip in manifest.clips if clip.name in test)
    frames, fields = all_jpegs(copy.data.record_dir, one)
    rewrite(copy, another, frames=dict(enumerate(frames)), fields=dict(enumerate(fields)))
    clips = [dataclasses.replace(clip, group="01") for clip in manifest.clips]
    changed = dataclasses.replace(manifest, clips=tuple(clips), skipped={"A/1": "A/1.avi is damaged."})
    same, *in_groups, skipped = found(copy, changed)
    assert same.kind == "same video on both sides" and one.name in same.message and another.name in same.message
    assert len(in_groups) == 6 and {finding.kind for finding in in_groups} == {"group on both sides"}
    assert (skipped.clip, skipped.message, skipped.blocks) == ("A/1", "A/1.avi is damaged.", False)
