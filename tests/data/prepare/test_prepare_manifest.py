"""What only the manifest says of prepared records: skipped videos, classes, labels and splits."""

import dataclasses
import json
import pathlib
import time

import pytest
from record_folders import into, shards_of, small_records
from videos import moving, truncate, write_audio, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.errors import UserError


@pytest.fixture
def small(tiny_data, tmp_path):
    return small_records(tiny_data, tmp_path / "records")


# Videos that cannot be used


@pytest.fixture
def mixed(tmp_path):
    """A folder data set of good and bad videos, and its config."""
    root = tmp_path / "own"
    for number in range(3):
        write_video(root / "run" / f"good {number}.mp4", moving(8, seed=number))
        write_video(root / "sit" / f"good {number}.avi", moving(8, (0, 1), height=37, width=51, seed=number))
    truncate(write_video(root / "run" / "cut.avi", moving(40)), 0.5)
    write_video(root / "run" / "one frame.mp4", moving(1))
    write_video(root / "run" / "short.mp4", moving(5))
    (root / "sit" / "empty.mp4").touch()
    (root / "sit" / "text.avi").write_text("no video\n" * 50)
    write_audio(root / "sit" / "sound.mp4")
    write_video(root / "sit" / "stamp.avi", moving(8, height=6, width=8))
    return root, DataConfig(dataset="folder", video_dir=str(root), record_dir=str(tmp_path / "records"), workers=1)


def test_bad_videos_are_skipped_counted_and_listed(mixed):
    root, config = mixed
    manifest = prepare(config, 5)
    reasons = {
        "run/cut": r"cut.avi is ",
        "run/one frame": "has 1 frame: a snippet of --flow_length=5 flow fields needs 6",
        "run/short": "has 5 frames: a snippet",
        "sit/empty": "cannot be read as a video",
        "sit/text": "cannot be read as a video",
        "sit/sound": "has no video stream",
        "sit/stamp": "--flow=dis fails on frames of 8x6 pixels",
    }
    assert manifest.skipped.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in manifest.skipped[name]
        assert manifest.skipped[name].startswith(str(root / name))
        assert "\n" not in manifest.skipped[name]
    assert manifest.counts()["num_clips"] == 6 and manifest.counts()["num_skipped"] == 7
    assert {(clip.height, clip.width) for clip in manifest.clips} == {(36, 48), (37, 51)}
    split = manifest.splits[1]
    assert set(split["train"]) | set(split["test"]) == {clip.name for clip in manifest.clips} | reasons.keys()
    assert sum(manifest.count_skipped(1, side, manifest.classes) for side in split) == len(reasons)
    assert sum(manifest.count_skipped(1, side, ["sit"]) for side in split) == 4
    assert Manifest.read(config.record_dir) == manifest


def test_skipped_videos_are_tried_again_when_they_have_changed(mixed):
    root, config = mixed
    config = dataclasses.replace(config, clips_per_shard=3)
    prepare(config, 5)
    times = {path.name: path.stat().st_mtime_ns for path in shards_of(config)}
    time.sleep(0.05)
    write_video(root / "run" / "short.mp4", moving(8))
    manifest = prepare(config, 5)
    assert "run/short" in {clip.name for clip in manifest.clips} and "run/short" not in manifest.skipped
    redone = [path.name for path in shards_of(config) if path.stat().st_mtime_ns != times[path.name]]
    assert redone == [next(clip.shard for clip in manifest.clips if clip.name == "run/short")]


def test_no_video_can_be_used(mixed):
    root, config = mixed
    for path in root.glob("*/good*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=rf"None of the 13 videos in --video_dir={root} can be used, .*: .*cut\.avi"):
        prepare(config, 5)
    with pytest.raises(UserError, match="holds no finished records"):
        Manifest.read(config.record_dir)
    time.sleep(0.05)
    write_video(root / "run" / "good 0.mp4", moving(8))
    assert len(prepare(config, 5).clips) == 1


def test_list_that_names_absent_files(tiny_set, tiny_data, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for path in (tiny_set / "lists").iterdir():
        (lists / path.name).write_text(path.read_text())
    with (lists / "trainlist01.txt").open("a") as file:
        file.write("MoveLeft/v_MoveLeft_g09_c09.avi 2\n")
    config = into(tiny_data, tmp_path / "records", split_dir=str(lists), classes=("MoveLeft",))
    manifest = prepare(config, 5)
    ((name, reason),) = manifest.skipped.items()
    assert name == "MoveLeft/v_MoveLeft_g09_c09"
    assert "v_MoveLeft_g09_c09.avi is named in trainlist01.txt, line" in reason
    assert len(manifest.clips) == 5 and name in manifest.splits[1]["train"]
    assert manifest.count_skipped(1, "train", manifest.classes) == 1


# Classes, labels and splits: they are not in the records


def prepared_again(config):
    """The manifest, and what was said; the records must not be touched."""
    before = {path: path.stat().st_mtime_ns for path in shards_of(config)}
    said = []
    manifest = prepare(config, 5, say=said.append)
    assert {path: path.stat().st_mtime_ns for path in shards_of(config)} == before
    assert Manifest.read(config.record_dir) == manifest
    return manifest, said


def test_classes_in_another_order(small):
    assert prepared_again(small)[1] == []
    other = dataclasses.replace(small, classes=("MoveRight", "MoveLeft"))
    manifest, said = prepared_again(other)
    assert manifest.classes == ("MoveRight", "MoveLeft")
    (sentence,) = said
    assert sentence.startswith(f"{small.record_dir}: the order of the classes changed. manifest.json is written anew")
    assert prepared_again(other)[1] == []


def test_another_division(mixed):
    _, config = mixed
    first = prepare(config, 5)
    manifest, said = prepared_again(dataclasses.replace(config, test_fraction=0.5))
    assert len(manifest.splits[1]["test"]) > len(first.splits[1]["test"])
    (sentence,) = said
    assert "the division into training and test clips changed. manifest.json is written anew" in sentence


def test_other_labels(small):
    path = pathlib.Path(small.record_dir, FILE_NAME)
    manifest = json.loads(path.read_text())
    manifest["clips"][0]["label"] = "MoveRight"
    manifest["classes"].reverse()
    path.write_text(json.dumps(manifest))
    manifest, (sentence,) = prepared_again(small)
    assert manifest.clips[0].label == "MoveLeft"
    assert "the order of the classes and the labels of clips changed" in sentence


def test_manifest_that_says_the_same_is_left_alone(small):
    path = pathlib.Path(small.record_dir, FILE_NAME)
    before = path.stat().st_mtime_ns
    prepare(small, 5)
    assert path.stat().st_mtime_ns == before
