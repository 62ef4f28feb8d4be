import dataclasses
import json
import shutil

import pytest
from videos import truncate

from ccsn_tf.config import Config
from ccsn_tf.data.checks.check import Depth, check
from ccsn_tf.errors import UserError


@pytest.fixture
def config(tiny_set, tiny_data, tmp_path):
    """The config of a copy of the tiny set and of its records, which may be spoilt."""
    shutil.copytree(tiny_set, tmp_path / "set")
    shutil.copytree(tiny_data.record_dir, tmp_path / "records")
    folders = {
        "video_dir": str(tmp_path / "set" / "videos"),
        "split_dir": str(tmp_path / "set" / "lists"),
        "record_dir": str(tmp_path / "records"),
    }
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, **folders)).replace(image_size=32)


def run(config, **depth):
    counted = []
    found = check(config, Depth(**depth), lambda what: lambda *count: counted.append((what, *count)))
    assert not counted or counted[-1][1] == counted[-1][2]
    return found, {what for what, *_ in counted}


@pytest.mark.parametrize("depth", [{}, {"quick": True}, {"alike": True, "thorough": True}], ids=str)
def test_a_sound_set_has_no_faults(config, depth):
    found, checked = run(config, **depth)
    assert found == []
    assert checked == {"videos", "records"}


def test_what_is_named_is_checked(config, tmp_path):
    assert run(config.replace(record_dir=""))[1] == {"videos"}
    assert run(config.replace(video_dir=""))[1] == {"records"}
    assert run(config.replace(record_dir=str(tmp_path / "to be prepared"))) == ([], {"videos"})
    found, checked = run(config.replace(video_dir="", record_dir=str(tmp_path / "new")))
    assert not checked and "holds no finished records" in found[0].message and found[0].blocks
    with pytest.raises(UserError, match="neither --video_dir nor --record_dir is given"):
        run(config.replace(video_dir="", record_dir=""))


def test_lists_that_cannot_be_read(config):
    found, checked = run(config.replace(split_dir="/nowhere", record_dir=""))
    assert [(finding.kind, finding.blocks) for finding in found] == [("lists", True)] and not checked


def test_labels_off_by_one_are_told_before_the_reader_ends(config, tmp_path):
    path = tmp_path / "set" / "lists" / "trainlist01.txt"
    lines = [line.split() for line in path.read_text().splitlines()]
    path.write_text("".join(f"{name} {int(label) - 1}\n" for name, label in lines))
    found, _ = run(config.replace(record_dir=""))
    assert [finding.kind for finding in found] == ["labels off by one", "lists"]


def test_faults_of_videos(config, tmp_path):
    folder = tmp_path / "set" / "videos" / "MoveLeft"
    truncate(folder / "v_MoveLeft_g05_c01.avi", 0.5)
    shutil.copy(folder / "v_MoveLeft_g04_c01.avi", folder / "v_MoveLeft_g01_c01.avi")
    found, _ = run(config.replace(record_dir=""))
    assert {(finding.kind, finding.blocks) for finding in found} == {
        ("unreadable", False),
        ("same video on both sides", False),
        ("much is missing", True),
    }


def test_classes_in_another_order(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "classes.json").write_text(json.dumps(["MoveRight", "MoveDown", "MoveLeft"]))
    found, _ = run(config.replace(workdir=str(tmp_path / "run")))
    assert [finding.kind for finding in found] == ["classes differ"] * 2
    index = tmp_path / "set" / "lists" / "classInd.txt"
    index.write_text("1 MoveRight\n2 MoveLeft\n3 MoveDown\n")
    for path in index.parent.glob("trainlist*.txt"):
        path.write_text(path.read_text().replace(" 1\n", " x\n").replace(" 3\n", " 1\n").replace(" x\n", " 3\n"))
    found, _ = run(config)
    (finding,) = found
    assert finding.kind == "classes differ" and finding.blocks
    assert finding.message.startswith(f"Label 0 is MoveDown in the records in {tmp_path / 'records'} but MoveRight in")


def test_the_same_fault_of_videos_and_records_is_told_once(config, tmp_path):
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    for clip in manifest["clips"]:
        clip["group"] = "01" if clip["group"] == "04" else clip["group"]
    (tmp_path / "records" / "manifest.json").write_text(json.dumps(manifest))
    found, _ = run(config)
    assert len(found) == len(set(found)) == 6


def test_lists_of_ones_own(config, tmp_path):
    """Three classes by number, from 1: as they are understood, and off by one where a class is not used."""
    videos = sorted((tmp_path / "set" / "videos").glob("*/*.avi"))
    numbers = {"MoveDown": 1, "MoveLeft": 2, "MoveRight": 3}
    lines = [f"{path} {numbers[path.parent.name]}\n" for path in videos]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "classes.txt").write_text("MoveDown\nMoveLeft\nMoveRight\n")
    files = {"train_list": str(tmp_path / "train.txt"), "class_file": str(tmp_path / "classes.txt")}
    own = config.replace(dataset="list", video_dir="", record_dir="", **files)
    found, checked = run(own)
    assert [finding.kind for finding in found] == ["lists taken so"] and checked == {"videos"}
    # Without the last class 1 and 2 are taken for the second and the third name.
    (tmp_path / "train.txt").write_text("".join(line for line in lines if not line.endswith(" 3\n")))
    found, _ = run(own.replace(classes=("MoveLeft", "MoveRight")))
    assert [(finding.kind, finding.blocks) for finding in found] == [("labels off by one", True)]


def test_records_that_are_damaged(config, tmp_path):
    shard = sorted((tmp_path / "records").glob("*.tfrecord"))[1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    found, _ = run(config.replace(video_dir=""))
    assert [(finding.kind, finding.blocks) for finding in found] == [("damaged record", True)]
    shard.write_bytes(content[:-1])
    found, checked = run(config.replace(video_dir=""))
    assert [finding.kind for finding in found] == ["records"] and not checked
    assert f"{shard} has" in found[0].message
