import dataclasses
import json
import shutil

import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.checks import check
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
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, **folders))


def run(config, **depth):
    """[(kind, whether it blocks)], and what was looked at."""
    counted = []
    findings = check(config, lambda what: lambda *count: counted.append((what, *count)), quick=True, **depth)
    assert not counted or counted[-1][1] == counted[-1][2]
    return [(finding.kind, finding.blocks) for finding in findings], {what for what, *_ in counted}


def test_sound_videos_and_records_have_no_faults(config):
    assert run(config, thorough=True) == ([], {"videos", "records"})


def test_what_is_named_is_checked(config, tmp_path):
    assert run(config.replace(record_dir=str(tmp_path / "to be prepared"))) == ([], {"videos"})
    assert run(config.replace(video_dir="")) == ([], {"records"})
    assert run(config.replace(video_dir="", record_dir=str(tmp_path / "new"))) == ([("records", True)], set())
    assert run(config.replace(split_dir="/nowhere", record_dir="")) == ([("lists", True)], set())
    with pytest.raises(UserError, match="--video_dir nor --record_dir"):
        run(config.replace(video_dir="", record_dir=""))


def test_classes_in_another_order_than_the_records(config, tmp_path):
    lists = tmp_path / "set" / "lists"
    (lists / "classInd.txt").write_text("1 MoveRight\n2 MoveLeft\n3 MoveDown\n")
    for path in lists.glob("trainlist*.txt"):
        path.write_text(path.read_text().replace(" 1\n", " x\n").replace(" 3\n", " 1\n").replace(" x\n", " 3\n"))
    assert run(config)[0] == [("classes differ", True)]
    assert run(config.replace(classes=("MoveDown", "MoveLeft")))[0] == []


def test_the_same_fault_of_videos_and_records_is_told_once(config, tmp_path):
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    for clip in manifest["clips"]:
        clip["group"] = "01" if clip["group"] == "04" else clip["group"]
    (tmp_path / "records" / "manifest.json").write_text(json.dumps(manifest))
    assert run(config)[0] == [("group on both sides", True)] * 6


def test_lists_of_ones_own(config, tmp_path):
    """Three classes by number, from 1: as they are understood, and off by one where a class is not used."""
    videos = sorted((tmp_path / "set" / "videos").glob("*/*.avi"))
    numbers = {"MoveDown": 1, "MoveLeft": 2, "MoveRight": 3}
    lines = [f"{path} {numbers[path.parent.name]}\n" for path in videos]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "classes.txt").write_text("MoveDown\nMoveLeft\nMoveRight\n")
    files = {"train_list": str(tmp_path / "train.txt"), "class_file": str(tmp_path / "classes.txt")}
    own = config.replace(dataset="list", video_dir="", record_dir="", **files)
    assert run(own) == ([("lists taken so", False)], {"videos"})
    # Without the last class 1 and 2 are taken for the second and the third name.
    (tmp_path / "train.txt").write_text("".join(line for line in lines if not line.endswith(" 3\n")))
    assert run(own.replace(classes=("MoveLeft", "MoveRight")))[0] == [("labels off by one", True)]
