"""What preparation writes, what it does again and what it refuses."""

import dataclasses
import os
import pathlib
import shutil

import pytest
from processes import full_disk
from record_folders import contents, into, times
from videos import moving, truncate, write_audio, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.errors import UserError


@pytest.fixture(scope="module")
def prepared(tiny_data, tmp_path_factory):
    """A config of 10 clips, prepared."""
    config = into(tiny_data, tmp_path_factory.mktemp("small") / "records", classes=("MoveLeft", "MoveRight"))
    prepare(config, 5)
    return config


@pytest.fixture
def small(prepared, tmp_path):
    """The config of a copy of `prepared`, which a test may spoil."""
    shutil.copytree(prepared.record_dir, tmp_path / "records")
    return into(prepared, tmp_path / "records")


# What is written, and what is done again


def test_two_workers_write_the_same_bytes_as_one(tiny_data, tiny_manifest, tmp_path):
    seen = []
    prepare(into(tiny_data, tmp_path / "again", workers=2), 5, lambda done, total, frames: seen.append((done, total)))
    assert contents(tmp_path / "again") == contents(tiny_data.record_dir)
    assert sorted(set(seen)) == [(done, 15) for done in range(16)] and seen == sorted(seen)
    records = [clip.file for clip in tiny_manifest.clips]
    assert sorted(contents(tiny_data.record_dir)) == sorted([FILE_NAME, "settings.json", *records])


@pytest.mark.parametrize("manifest", ["as it was", "damaged", "gone"])
def test_again_makes_what_is_not_whole_and_nothing_else(small, manifest):
    before, written, decoded = contents(small.record_dir), times(small.record_dir), []
    assert prepare(small, 5) == Manifest.read(small.record_dir) and times(small.record_dir) == written
    path, (gone, cut, *_) = pathlib.Path(small.record_dir, FILE_NAME), Manifest.read(small.record_dir).clips
    pathlib.Path(small.record_dir, gone.file).unlink()
    os.truncate(pathlib.Path(small.record_dir, cut.file), cut.bytes - 10)
    left_over = pathlib.Path(small.record_dir, gone.file).with_name(".4711.a.zip")
    left_over.touch()
    if manifest != "as it was":
        path.write_text("{") if manifest == "damaged" else path.unlink()
    prepare(small, 5, lambda done, total, frames: decoded.append(frames))
    assert contents(small.record_dir) == before and max(decoded) == 28
    redone = {name for name, moment in times(small.record_dir).items() if moment != written[name]}
    assert redone == {pathlib.Path(clip.file).name for clip in (gone, cut)}


def test_full_disk(tiny_data, tmp_path):
    config = into(tiny_data, tmp_path / "records", workers=2)
    with full_disk(20000), pytest.raises(UserError, match=r"\.zip cannot be written \(.*\): free space"):
        prepare(config, 5)
    assert list(contents(config.record_dir)) == ["settings.json"]


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
    names = {"dataset": "folder", "video_dir": str(root), "record_dir": str(tmp_path / "records")}
    return root, DataConfig(**names, workers=1)


def test_bad_videos_are_skipped_listed_and_tried_again_when_they_have_changed(mixed):
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

    before = times(config.record_dir)
    write_video(root / "run" / "short.mp4", moving(8))
    manifest = prepare(config, 5)
    (short,) = [clip for clip in manifest.clips if clip.name == "run/short"]
    assert "run/short" not in manifest.skipped
    assert times(config.record_dir).keys() - before.keys() == {pathlib.Path(short.file).name}
    assert times(config.record_dir).items() >= before.items()


def test_no_video_can_be_used(mixed):
    root, config = mixed
    for path in root.glob("*/good*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=rf"None of the 13 videos in --video_dir={root} can be used, .*: .*cut\.avi"):
        prepare(config, 5)
    with pytest.raises(UserError, match="holds no finished records"):
        Manifest.read(config.record_dir)


# Classes, labels and splits: they are not in the records


def prepared_again(config):
    """The manifest, and what was said; the records must not be touched."""
    before, said = times(config.record_dir), []
    manifest = prepare(config, 5, say=said.append)
    assert times(config.record_dir) == before
    assert Manifest.read(config.record_dir) == manifest
    return manifest, said


def test_classes_in_another_order(small):
    assert prepared_again(small)[1] == []
    other = dataclasses.replace(small, classes=("MoveRight", "MoveLeft"))
    manifest, (sentence,) = prepared_again(other)
    assert manifest.classes == ("MoveRight", "MoveLeft")
    assert small.record_dir in sentence and "classes" in sentence
    assert prepared_again(other)[1] == []


def test_another_division(tmp_path):
    for number in range(4):
        write_video(tmp_path / "own" / "run" / f"{number}.avi", moving(6, seed=number))
    names = {"dataset": "folder", "video_dir": str(tmp_path / "own"), "record_dir": str(tmp_path / "records")}
    config = DataConfig(**names, workers=1)
    first = prepare(config, 5)
    manifest, (sentence, _) = prepared_again(dataclasses.replace(config, test_fraction=0.5))
    assert len(manifest.splits[1]["test"]) > len(first.splits[1]["test"])
    assert "splits" in sentence


def test_a_video_more_and_one_less_are_all_that_is_done(tmp_path):
    """The same folder again: nothing else is decoded, and who comes back is there at once."""
    for name in ("run/a", "run/b", "run/c", "sit/a", "sit/b"):
        write_video(tmp_path / "own" / f"{name}.avi", moving(6, seed=len(name)))
    names = {"dataset": "folder", "video_dir": str(tmp_path / "own"), "record_dir": str(tmp_path / "records")}
    config = DataConfig(**names, workers=1)
    first, said = prepare(config, 5), []
    before, written = contents(config.record_dir), times(config.record_dir)
    gone = (tmp_path / "own" / "run" / "b.avi").rename(tmp_path / "b.avi")
    write_video(tmp_path / "own" / "sit" / "aa.avi", moving(7))
    (tmp_path / "own" / "notes.txt").touch()
    decoded = []
    manifest = prepare(config, 5, lambda done, total, frames: decoded.append(frames), said.append)
    assert [clip.name for clip in manifest.clips] == ["run/a", "run/c", "sit/a", "sit/aa", "sit/b"]
    assert max(decoded) == 7 and times(config.record_dir).items() >= written.items()
    assert any("1 clip added and 1 clip taken out" in line for line in said)
    assert said[0] == "Not recognised: 1 .txt." and Manifest.read(config.record_dir).unused == {".txt": 1}
    (clip,) = (clip for clip in manifest.clips if clip.name == "sit/aa")
    assert clip.fields == 6
    gone.rename(tmp_path / "own" / "run" / "b.avi")
    (tmp_path / "own" / "sit" / "aa.avi").unlink()
    (tmp_path / "own" / "notes.txt").unlink()
    manifest = prepare(config, 5, lambda done, total, frames: decoded.append(-frames))
    assert (manifest, min(decoded)) == (first, 0) and contents(config.record_dir).items() >= before.items()


# Folders and settings that do not go together


def test_folders_that_cannot_be_taken(tiny_data, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("dear reader")
    for folder, message in (
        ("", "--record_dir is not given"),
        (tmp_path / "thesis", f"--record_dir={tmp_path / 'thesis'} holds other files"),
        (tmp_path / "thesis" / "thesis.txt", f"{tmp_path}/thesis/thesis.txt.* cannot be written"),
        (tmp_path / "thesis" / "thesis.txt" / "records", f"{tmp_path}/thesis/thesis.txt/records.* cannot be written"),
        ("gs://records", "--record_dir=gs://records is no folder"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(into(tiny_data, folder), 5)
    assert contents(tmp_path / "thesis") == {"thesis.txt": b"dear reader"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"flow": "farneback"}, "--flow=farneback, but the records in .* pass --flow=dis"),
        ({"jpeg_quality": 80}, "--jpeg_quality=80, but the records in .* pass --jpeg_quality=95"),
        ({"flow_length": 6}, "--flow_length=6, but .* with 5"),
        ({"classes": ("MoveDown",)}, "records of 10 other clips, and none of the 5 .*: choose another --record_dir"),
    ],
)
def test_folder_begun_otherwise(prepared, changes, message):
    changes = dict(changes)
    min_fields = changes.pop("flow_length", 5)
    with pytest.raises(UserError, match=message):
        prepare(dataclasses.replace(prepared, **changes), min_fields)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is damaged: empty the folder, or choose another --record_dir"),
        ("[1]", "is damaged"),
        ('{"version": 2}', "begun by another version of this program: choose another --record_dir"),
    ],
)
def test_settings_that_cannot_be_read(small, content, message):
    pathlib.Path(small.record_dir, "settings.json").write_text(content)
    with pytest.raises(UserError, match=message):
        prepare(small, 5)


def test_records_of_an_older_version(tiny_data, tmp_path):
    (tmp_path / "records").mkdir()
    for name in ("plan.json", "clips-00000-of-00001.tfrecord", "manifest.json"):
        (tmp_path / "records" / name).write_text('{"version": 2}')
    config = into(tiny_data, tmp_path / "records")
    for refused in (lambda: prepare(config, 5), lambda: Manifest.read(config.record_dir)):
        with pytest.raises(UserError, match=r"older records: choose an empty|version 2.*another --record_dir"):
            refused()
