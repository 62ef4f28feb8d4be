"""Videos and records, looked into from end to end, and what is found wrong with records."""

import dataclasses
import pathlib
import shutil

import image_folders
import pytest
from record_folders import all_jpegs, contents
from videos import moving, truncate, write_video

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks import check_records
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.record import FIELDS, FRAMES, write_record
from ccsn_tf.data.scan import scan_records, scan_videos


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_video(folder / "plain.avi", moving(14))
    shutil.copy(folder / "plain.avi", folder / "copy.avi")
    write_video(folder / "large.mp4", moving(30, height=72, width=96), options={"bf": "0", "g": "10"})
    truncate(write_video(folder / "cut.avi", moving(40)), 0.5)
    (folder / "text.mp4").write_text("This is no video.")
    write_video(folder / "deadly.avi", moving(6))
    for name in ("whole", "twin", "gap", "torn", "flowless"):
        image_folders.write_clip(folder / name, moving(6), image_folders.flow_planes(5))
    (folder / "gap" / "img_00003.jpg").unlink()
    truncate(folder / "torn" / "img_00006.jpg", 0.5)
    truncate(folder / "flowless" / "flow_x_00005.jpg", 0.5)
    return [Clip(path.stem, str(path), "A", path.stem) for path in sorted(folder.iterdir())]


def test_videos_and_folders_of_frames(clips, tmp_path, monkeypatch):
    # A worker imports ccsn_tf from the module path, where a decoder that dies takes another's place.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'ccsn_tf.worker' in ' '.join(sys.orig_argv):\n"
        "    from ccsn_tf.data import video\n"
        "    def decode(path, beat, real=video.decode_whole):\n"
        "        return os.abort() if 'deadly' in path else real(path, beat)\n"
        "    video.decode_whole = decode\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    counts = []
    seen = scan_videos(clips, DataConfig(workers=1, flow="stored"), lambda *count: counts.append(count))
    assert counts == [(done, len(clips)) for done in range(len(clips) + 1)]
    frames = {"plain": 14, "copy": 14, "large": 30, "whole": 6, "twin": 6}
    assert {name: look.frames for name, look in seen.items() if not look.error} == frames
    for name, error in (
        ("cut", "is truncated"),
        ("text", "cannot be read as a video"),
        ("deadly", "SIGABRT"),
        ("gap", "jumps from"),
        ("torn", "img_00006.jpg is damaged"),
        ("flowless", "flow_x_00005.jpg is damaged"),
    ):
        assert error in seen[name].error
    for one, other in (("plain", "copy"), ("whole", "twin")):
        assert seen[one].digest == seen[other].digest != ""
    assert not seen["large"].digest  # no other file is as long


@pytest.fixture
def copy(tiny_data, tmp_path):
    """The config of a copy of the tiny set's records, which may be spoilt."""
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, record_dir=str(tmp_path / "records")))


def found(config, manifest):
    return list(check_records(config, manifest, scan_records(manifest, config.data, lambda *count: None)))


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
    """Each in a record of its own."""
    manifest = Manifest.read(copy.data.record_dir)
    clips = list(manifest.clips)
    rewrite(copy, clips[0], frames={13: b"no JPEG"})
    rewrite(copy, clips[1], fields={0: all_jpegs(copy.data.record_dir, clips[1])[0][0]})
    rewrite(copy, clips[2], name="MoveDown/other")
    clips[3] = dataclasses.replace(clips[3], fields=12)
    rewrite(copy, clips[4], frames={13: b""})
    faults = ["frames/0000013.jpg is no JPEG of", "fields/0000000.jpg is no JPEG of", "not the record of"]
    faults += ["12 flow fields", "frames/0000013.jpg is no JPEG"]
    expected = {clip.name: fault for clip, fault in zip(clips, faults, strict=False)}
    findings = found(copy, dataclasses.replace(manifest, clips=tuple(clips)))
    assert {finding.clip for finding in findings} == expected.keys()
    assert all(expected[finding.clip] in finding.message for finding in findings)


def test_what_training_refuses(tiny_data, tiny_manifest):
    for changes, text in (({"flow_bound": 10.0}, "--flow_bound=10.0"), ({"flow_length": 14}, "--flow_length=14")):
        config = dataclasses.replace(Config(), data=tiny_data).replace(**changes)
        finding = next(check_records(config, tiny_manifest, {}))
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
