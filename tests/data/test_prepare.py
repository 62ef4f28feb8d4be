import dataclasses
import json
import pathlib
import resource
import time

import pytest
from videos import moving, truncate, write_audio, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.manifest import FILE_NAME, Manifest
from ccsn_tf.data.prepare import prepare
from ccsn_tf.errors import UserError


def contents(folder):
    """{name: bytes} of everything below a folder."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def into(config, folder, **changes):
    return dataclasses.replace(config, record_dir=str(folder), **changes)


@pytest.fixture
def small(tiny_data, tmp_path):
    """A config of 6 clips in 3 record files, prepared in a folder of its own."""
    config = into(tiny_data, tmp_path / "records", classes=("MoveLeft", "MoveRight"), clips_per_shard=4)
    prepare(config, 5)
    return config


def shards_of(config):
    return sorted(pathlib.Path(config.record_dir).glob("*.tfrecord"))


def test_what_is_written(tiny_data, tiny_manifest):
    names = [f"clips-0000{number}-of-00004" for number in range(4)]
    expected = [FILE_NAME, "plan.json", *(f"{name}.{suffix}" for name in names for suffix in ("json", "tfrecord"))]
    assert sorted(contents(tiny_data.record_dir)) == sorted(expected)
    assert list(tiny_manifest.shards) == [f"{name}.tfrecord" for name in names]
    assert tiny_manifest.skipped == {}
    assert [clip.shard for clip in tiny_manifest.clips] == sorted(clip.shard for clip in tiny_manifest.clips)


def test_two_runs_write_the_same_bytes(tiny_data, tmp_path):
    prepare(into(tiny_data, tmp_path / "again"), 5)
    assert contents(tmp_path / "again") == contents(tiny_data.record_dir)


def test_two_workers_write_the_same_bytes_as_one(tiny_data, tmp_path):
    seen = []
    prepare(into(tiny_data, tmp_path / "again", workers=2), 5, lambda done, total, frames: seen.append((done, total)))
    assert contents(tmp_path / "again") == contents(tiny_data.record_dir)
    assert seen[0] == (0, 15) and seen[-1] == (15, 15) and seen == sorted(seen)


def test_progress_counts_clips(tiny_data, tmp_path):
    seen = []
    config = into(tiny_data, tmp_path / "records", classes=("MoveLeft",))
    prepare(config, 5, lambda done, total, frames: seen.append((done, total)))
    assert sorted(set(seen)) == [(done, 5) for done in range(6)]
    seen.clear()
    shards_of(config)[1].unlink()
    prepare(config, 5, lambda done, total, frames: seen.append((done, total)))
    assert sorted(set(seen)) == [(4, 5), (5, 5)]


def test_finished_folder_is_left_as_it_is(small):
    before = {path: path.stat().st_mtime_ns for path in shards_of(small)}
    manifest = prepare(small, 5)
    assert {path: path.stat().st_mtime_ns for path in shards_of(small)} == before
    assert manifest == Manifest.read(small.record_dir)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("suffix", [".tfrecord", ".json"])
@pytest.mark.parametrize("spoil", [pathlib.Path.unlink, cut_short, emptied], ids=["deleted", "cut", "emptied"])
def test_restart_redoes_what_is_not_whole_and_nothing_else(small, spoil, suffix):
    before = contents(small.record_dir)
    shards = shards_of(small)
    times = [path.stat().st_mtime_ns for path in shards]
    spoil(shards[1].with_suffix(suffix))
    prepare(small, 5)
    assert contents(small.record_dir) == before
    assert [path.stat().st_mtime_ns == moment for path, moment in zip(shards, times, strict=True)] == [
        True,
        False,
        True,
    ]


def test_lost_manifest_is_written_anew(small):
    before = contents(small.record_dir)
    times = [path.stat().st_mtime_ns for path in shards_of(small)]
    pathlib.Path(small.record_dir, FILE_NAME).write_text("{")
    prepare(small, 5)
    assert contents(small.record_dir) == before
    assert [path.stat().st_mtime_ns for path in shards_of(small)] == times


def test_leftovers_of_a_killed_run_are_never_taken_for_whole(small):
    before = contents(small.record_dir)
    shard = shards_of(small)[0]
    for path in (shard, shard.with_suffix(".json")):
        leftover = path.with_name(f".4711.{path.name}")
        path.rename(leftover)
        cut_short(leftover)
    prepare(small, 5)
    assert contents(small.record_dir) == before


def test_folder_of_a_run_that_was_killed_at_once(tiny_data, tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / ".4711.plan.json").write_text("{")
    config = into(tiny_data, folder, classes=("MoveLeft",))
    assert len(prepare(config, 5).clips) == 5
    assert not (folder / ".4711.plan.json").exists()


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
    assert "v_MoveLeft_g09_c09.avi is named in trainlist01.txt but does not exist" in reason
    assert len(manifest.clips) == 5 and name in manifest.splits[1]["train"]
    assert manifest.count_skipped(1, "train", manifest.classes) == 1


# Folders and settings that do not go together


def test_no_record_dir(tiny_data):
    with pytest.raises(UserError, match="--record_dir is not given"):
        prepare(into(tiny_data, ""), 5)


def test_folder_that_holds_other_files(tiny_data, tmp_path):
    (tmp_path / "thesis.txt").write_text("dear reader")
    with pytest.raises(UserError, match=f"--record_dir={tmp_path} holds other files: choose an empty or new folder"):
        prepare(into(tiny_data, tmp_path), 5)
    assert contents(tmp_path) == {"thesis.txt": b"dear reader"}


@pytest.mark.parametrize("place", ["file", "file/records"])
def test_file_in_the_place_of_the_folder(tiny_data, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path / place}.* cannot be written .*choose another folder"):
        prepare(into(tiny_data, tmp_path / place), 5)


@pytest.mark.parametrize(
    "name, other",
    [("flow", "farneback"), ("short_side", 20), ("dis_preset", "medium"), ("jpeg_quality", 80), ("flow_bound", 10.0)],
)
def test_folder_begun_with_other_settings(small, name, other):
    made = getattr(small, name)
    with pytest.raises(UserError, match=f"--{name}={other}, but the records in .* {name}={made}: pass --{name}={made}"):
        prepare(dataclasses.replace(small, **{name: other}), 5)


def test_folder_begun_with_another_layout(small):
    with pytest.raises(UserError, match=r"--clips_per_shard=3, but .* was begun with 4"):
        prepare(dataclasses.replace(small, clips_per_shard=3), 5)
    with pytest.raises(UserError, match=r"--flow_length=6, but .* was begun with 5"):
        prepare(small, 6)


def test_folder_begun_with_other_clips(small):
    with pytest.raises(
        UserError, match="holds records of another list of clips, 10 then and 5 now: choose another --record_dir"
    ):
        prepare(dataclasses.replace(small, classes=("MoveLeft",)), 5)


@pytest.mark.parametrize("content", ["", "{", "null", "[1]"])
def test_damaged_plan(small, content):
    pathlib.Path(small.record_dir, "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json is damaged: empty the folder, or choose another --record_dir"):
        prepare(small, 5)


@pytest.mark.parametrize("name", ["version", "manifest_version"])
@pytest.mark.parametrize("change", [lambda plan, name: plan.pop(name), lambda plan, name: plan.update({name: 99})])
def test_folder_begun_by_another_version(small, name, change):
    path = pathlib.Path(small.record_dir, "plan.json")
    plan = json.loads(path.read_text())
    change(plan, name)
    path.write_text(json.dumps({"manifest_version": 0, **plan}))
    with pytest.raises(UserError, match=r"was begun by another version of this program: choose another --record_dir"):
        prepare(small, 5)


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


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk(tiny_data, tmp_path, workers):
    # A limit on the size of files stands in for the disk.
    config = into(tiny_data, tmp_path / "records", workers=workers)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, hard))
    try:
        with pytest.raises(UserError, match=r"clips-0000\d-of-00004\.tfrecord cannot be written \(.*\): free space"):
            prepare(config, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(contents(config.record_dir)) == ["plan.json"]
    prepare(config, 5)
    assert contents(config.record_dir) == contents(tiny_data.record_dir)
