import dataclasses
import json
import os
import pathlib
import shutil

import pytest

from ccsn_tf.data.records.manifest import FILE_NAME, STORED, Manifest
from ccsn_tf.errors import UserError


@pytest.fixture
def copied(tiny_data, tmp_path):
    """The config of a copy of the tiny set's records."""
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    return dataclasses.replace(tiny_data, record_dir=str(tmp_path / "records"))


def test_written_and_read_back(tiny_data, tiny_manifest):
    noted = {
        "skipped": {"MoveLeft/x": "lost"},
        "skipped_labels": {"MoveLeft/x": "MoveLeft"},
        "tried": {"MoveLeft/x": 7},
    }
    manifest = dataclasses.replace(tiny_manifest, **noted, mirrored={"MoveLeft": "MoveRight"}, unused={".txt": 2})
    assert Manifest.from_json(manifest.to_json().encode(), "a") == manifest
    counts = json.loads(manifest.to_json())
    assert (counts["num_clips"], counts["num_frames"], counts["num_skipped"]) == (15, 15 * 14, 1)
    records = pathlib.Path(tiny_data.record_dir, "clips").rglob("*.zip")
    assert counts["num_bytes"] == sum(path.stat().st_size for path in records)
    assert tiny_manifest.classes == ("MoveDown", "MoveLeft", "MoveRight") and set(tiny_manifest.splits) == {1, 2}
    assert [clip.name for clip in tiny_manifest.clips] == sorted(clip.name for clip in tiny_manifest.clips)
    for clip in tiny_manifest.clips:
        assert clip.name == f"{clip.label}/v_{clip.label}_g{clip.group}_c01"


def test_selection_is_that_of_the_split(tiny_manifest, tiny_data):
    for split, tests in {1: ("01", "02"), 2: ("03", "04")}.items():
        config = dataclasses.replace(tiny_data, split=split)
        classes, train = tiny_manifest.select(config, "train")
        assert classes == tiny_manifest.classes
        test = tiny_manifest.select(config, "test")[1]
        assert {clip.group for clip in test} == set(tests) and len(test) == 6
        assert {clip.group for clip in train} == {"01", "02", "03", "04", "05"} - set(tests) and len(train) == 9


def test_selections_that_cannot_be_made(tiny_manifest, tiny_data):
    left = tuple(clip for clip in tiny_manifest.clips if (clip.label, clip.group < "03") != ("MoveLeft", False))
    manifest = dataclasses.replace(tiny_manifest, clips=left)
    for changes, message in (
        ({}, r"Class MoveLeft has no usable training clip in split 1 .* --classes"),
        ({"classes": ("MoveUp",)}, r"--classes names MoveUp"),
        ({"split": 3}, r"--split=3 is not in .*: give one of 1, 2\."),
    ):
        with pytest.raises(UserError, match=message):
            manifest.select(dataclasses.replace(tiny_data, **changes), "train")


OTHERS = {
    "dataset": "demo",
    "short_side": 128,
    "flow": "farneback",
    "dis_preset": "medium",
    "dis_finest_scale": 2,
    "flow_side": 64,
    "flow_stride": 2,
    "flow_bound": 15.0,
    "jpeg_quality": 90,
}


def test_records_made_with_other_settings_are_refused(tiny_manifest, tiny_data):
    assert set(OTHERS) == set(STORED)
    for name, other in OTHERS.items():
        made = getattr(tiny_data, name)
        message = rf"^--{name}={other}, but the records in .* were made with {name}={made}: pass --{name}={made} "
        with pytest.raises(UserError, match=message):
            tiny_manifest.select(dataclasses.replace(tiny_data, **{name: other}), "train")
    free = {"workers": 7, "flip": False, "video_dir": ""}
    tiny_manifest.select(dataclasses.replace(tiny_data, **free), "train")


def test_no_finished_records(tmp_path, copied):
    (tmp_path / "file").touch()
    pathlib.Path(copied.record_dir, FILE_NAME).unlink()
    for folder in (copied.record_dir, str(tmp_path / "absent"), str(tmp_path / "file")):
        with pytest.raises(UserError, match=f"--record_dir={folder} holds no finished records: run prepare.py"):
            Manifest.read(folder)
    with pytest.raises(UserError, match="--record_dir is not given"):
        Manifest.read("")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: b'{"version": 3,', "is damaged: run prepare.py again"),
        (lambda content: b"\xff\xfe", "is damaged"),
        (lambda content: {"version": 3}, "is damaged"),
        (lambda content: {**content, "version": 2}, "is of version 2, and .* 3: prepare again into another"),
        (lambda content: {**content, "clips": [{"name": "MoveLeft/a"}]}, "is damaged"),
    ],
)
def test_damaged_manifest(copied, spoil, message):
    path = pathlib.Path(copied.record_dir, FILE_NAME)
    spoilt = spoil(json.loads(path.read_text()))
    path.write_bytes(spoilt if isinstance(spoilt, bytes) else json.dumps(spoilt).encode())
    with pytest.raises(UserError, match=rf"manifest\.json {message}"):
        Manifest.read(copied.record_dir)


def test_missing_and_truncated_record(copied, tiny_manifest):
    clip = tiny_manifest.clips[2]
    record = pathlib.Path(copied.record_dir, clip.file)
    os.truncate(record, clip.bytes - 1)
    with pytest.raises(UserError, match=f"{record} has {clip.bytes - 1} bytes instead of {clip.bytes}: run prepare.py"):
        Manifest.read(copied.record_dir)
    record.unlink()
    with pytest.raises(UserError, match=f"{record} is missing: run prepare.py again"):
        Manifest.read(copied.record_dir)
