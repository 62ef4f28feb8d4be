import dataclasses
import shutil

import pytest

from ccsn_tf.config import Config
from ccsn_tf.data import checks
from ccsn_tf.data.checks.videos import Scanned
from ccsn_tf.errors import UserError


@pytest.fixture
def config(tiny_set, tiny_data, tmp_path):
    """The config of the tiny set and its records, with a copy of its lists."""
    shutil.copytree(tiny_set / "lists", tmp_path / "lists")
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, split_dir=str(tmp_path / "lists")))


@pytest.fixture
def looks(monkeypatch):
    """What was looked at; nothing is decoded, which the tests of each part do."""
    looked = []

    def scan(clips, *_):
        looked.append("videos")
        return {clip.name: Scanned(frames=14) for clip in clips}

    monkeypatch.setattr(checks, "scan", scan)
    monkeypatch.setattr(checks, "check_records", lambda *_: looked.append("records") or ())
    return looked


def run(config):
    return [(finding.kind, finding.blocks) for finding in checks.check(config, lambda what: lambda *count: None)]


def test_what_is_named_is_checked(config, looks, tmp_path):
    new = str(tmp_path / "new")
    for changes, expected, looked in (
        ({}, [], ["videos", "records"]),
        ({"record_dir": ""}, [], ["videos"]),
        ({"record_dir": new}, [], ["videos"]),  # still to be prepared
        ({"video_dir": ""}, [], ["records"]),
        ({"video_dir": "", "record_dir": new}, [("records", True)], []),
        ({"split_dir": new, "record_dir": ""}, [("lists", True)], []),
    ):
        looks.clear()
        assert (run(config.replace(**changes)), looks) == (expected, looked)
    with pytest.raises(UserError, match="--video_dir nor --record_dir"):
        run(config.replace(video_dir="", record_dir=""))


def test_classes_in_another_order_than_the_records(config, looks, tmp_path):
    (tmp_path / "lists" / "classInd.txt").write_text("1 MoveRight\n2 MoveLeft\n3 MoveDown\n")
    for path in (tmp_path / "lists").glob("trainlist*.txt"):
        path.write_text(path.read_text().replace(" 1\n", " x\n").replace(" 3\n", " 1\n").replace(" x\n", " 3\n"))
    assert run(config) == [("classes differ", True)]
    assert run(config.replace(classes=("MoveDown", "MoveLeft"))) == []


def test_lists_of_ones_own(config, looks, tiny_set, tmp_path):
    """Three classes by number, from 1: as they are understood, and off by one where a class is not used."""
    videos = sorted((tiny_set / "videos").glob("*/*.avi"))
    numbers = {"MoveDown": 1, "MoveLeft": 2, "MoveRight": 3}
    lines = [f"{path} {numbers[path.parent.name]}\n" for path in videos]
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in numbers))
    files = {"train_list": str(tmp_path / "train.txt"), "class_file": str(tmp_path / "classes.txt")}
    own = config.replace(dataset="list", video_dir="", record_dir="", **files)
    assert run(own) == [("lists taken so", False)] and looks == ["videos"]
    # Without the last class 1 and 2 are taken for the second and the third name.
    (tmp_path / "train.txt").write_text("".join(line for line in lines if not line.endswith(" 3\n")))
    assert run(own.replace(classes=("MoveLeft", "MoveRight"))) == [("labels off by one", True)]
