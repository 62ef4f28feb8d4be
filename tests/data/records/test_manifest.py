import dataclasses
import json
import pathlib
import shutil

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.records.manifest import FILE_NAME, STORED, Manifest, refuse_other_settings, stored_settings
from ccsn_tf.errors import UserError


@pytest.fixture
def copied(tiny_data, tmp_path):
    """The config of a copy of the tiny set's records."""
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    return dataclasses.replace(tiny_data, record_dir=str(tmp_path / "records"))


def edit(config, change):
    path = pathlib.Path(config.record_dir, FILE_NAME)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_written_and_read_back(tiny_manifest, tmp_path):
    for name, size in tiny_manifest.shards.items():
        (tmp_path / name).write_bytes(bytes(size))
    tiny_manifest.write(str(tmp_path))
    assert Manifest.read(str(tmp_path)) == tiny_manifest
    content = json.loads((tmp_path / FILE_NAME).read_text())
    assert content["num_clips"] == 15 and content["num_frames"] == 15 * 14 and content["num_skipped"] == 0
    assert content["num_bytes"] == sum(tiny_manifest.shards.values())


def test_contents(tiny_manifest):
    assert tiny_manifest.classes == ("MoveDown", "MoveLeft", "MoveRight")
    assert len(tiny_manifest.shards) == 4
    assert [clip.name for clip in tiny_manifest.clips] == sorted(clip.name for clip in tiny_manifest.clips)
    assert set(tiny_manifest.splits) == {1, 2}
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


def test_selection_of_classes_in_their_order(tiny_manifest, tiny_data):
    config = dataclasses.replace(tiny_data, classes=("MoveRight", "MoveDown"))
    classes, clips = tiny_manifest.select(config, "train")
    assert classes == ("MoveRight", "MoveDown")
    assert {clip.label for clip in clips} == set(classes) and len(clips) == 6


def test_unknown_class_and_split(tiny_manifest, tiny_data):
    with pytest.raises(UserError, match=r"--classes names MoveUp, which the record folder .* does not have"):
        tiny_manifest.select(dataclasses.replace(tiny_data, classes=("MoveUp",)), "train")
    with pytest.raises(UserError, match=r"--split=3 is not in .*: give one of 1, 2\."):
        tiny_manifest.select(dataclasses.replace(tiny_data, split=3), "test")


def test_class_that_has_lost_its_clips(tiny_manifest, tiny_data):
    left = tuple(clip for clip in tiny_manifest.clips if (clip.label, clip.group > "02") != ("MoveLeft", False))
    manifest = dataclasses.replace(tiny_manifest, clips=left)
    manifest.select(tiny_data, "train")
    with pytest.raises(UserError, match=r"Class MoveLeft has no usable test clip in split 1 .* --classes"):
        manifest.select(tiny_data, "test")


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


def test_every_setting_has_its_other():
    assert set(OTHERS) == set(STORED)


@pytest.mark.parametrize("name", OTHERS)
def test_records_made_with_other_settings_are_refused(tiny_manifest, tiny_data, name):
    asked = dataclasses.replace(tiny_data, **{name: OTHERS[name]})
    made = getattr(tiny_data, name)
    message = rf"^--{name}={OTHERS[name]}, but the records in .* were made with {name}={made}: pass --{name}={made} "
    with pytest.raises(UserError, match=message):
        tiny_manifest.select(asked, "train")


def test_settings_of_dis_do_not_bind_other_algorithms():
    made = stored_settings(DataConfig(flow="farneback"))
    assert not [name for name in made if name.startswith("dis_")]
    refuse_other_settings(made, DataConfig(flow="farneback", dis_preset="fast", dis_finest_scale=3), "R")
    with pytest.raises(UserError, match="--flow=dis, but the records in R were made with flow=farneback"):
        refuse_other_settings(made, DataConfig(), "R")


def test_the_working_size_does_not_bind_flow_made_elsewhere():
    made = stored_settings(DataConfig(flow="stored"))
    refuse_other_settings(made, DataConfig(flow="stored", flow_side=64), "R")
    with pytest.raises(UserError, match="--flow_stride=2, but the records in R were made with flow_stride=1: pass"):
        refuse_other_settings(made, DataConfig(flow="stored", flow_stride=2), "R")


def test_settings_that_do_not_change_pixels_are_free(tiny_manifest, tiny_data):
    tiny_manifest.select(
        dataclasses.replace(tiny_data, workers=7, clips_per_shard=9, flip=False, video_dir=""), "train"
    )


def test_no_folder_given():
    with pytest.raises(UserError, match="--record_dir is not given"):
        Manifest.read("")


def test_no_finished_records(tmp_path, copied):
    (tmp_path / "file").touch()
    pathlib.Path(copied.record_dir, FILE_NAME).unlink()
    for folder in (copied.record_dir, str(tmp_path / "absent"), str(tmp_path / "file")):
        with pytest.raises(UserError, match=f"--record_dir={folder} holds no finished records: run prepare.py"):
            Manifest.read(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"version": 2,', b"[]", b'{"version": 2}', b"\xff\xfe"],
    ids=["empty", "cut", "list", "bare", "binary"],
)
def test_damaged_manifest(copied, content):
    pathlib.Path(copied.record_dir, FILE_NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json is damaged: run prepare\.py again"):
        Manifest.read(copied.record_dir)


@pytest.mark.parametrize("change", [{"bytes": 3}, {"name": None}], ids=["one field more", "one field less"])
def test_clip_with_other_fields(copied, change):
    def spoil(content):
        (name, value) = next(iter(change.items()))
        content["clips"][3].pop(name, None)
        content["clips"][3].update({name: value} if value else {})

    edit(copied, spoil)
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        Manifest.read(copied.record_dir)


def test_manifest_of_another_version(copied):
    edit(copied, lambda content: content.update(version=99))
    with pytest.raises(UserError, match=r"manifest\.json has version 99, not 2: prepare again"):
        Manifest.read(copied.record_dir)


def test_missing_and_truncated_record_file(copied, tiny_manifest):
    name, size = list(tiny_manifest.shards.items())[2]
    shard = pathlib.Path(copied.record_dir, name)
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{shard} has {size - 1} bytes instead of {size}: run prepare.py again"):
        Manifest.read(copied.record_dir)
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard} is missing: run prepare.py again"):
        Manifest.read(copied.record_dir)
    shard.write_bytes(content)
    Manifest.read(copied.record_dir)
