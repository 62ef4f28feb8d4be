import dataclasses
import json
import shutil

import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.checks import lists
from ccsn_tf.data.datasets import Clip, Listing, Split, read_listing


@pytest.fixture
def copy(tiny_set, tmp_path):
    """A copy of the tiny set that may be spoilt."""
    shutil.copytree(tiny_set, tmp_path / "set")
    return tmp_path / "set"


def config_of(root, **values):
    return Config().replace(video_dir=str(root / "videos"), split_dir=str(root / "lists"), **values)


def of_listing(check, config):
    return list(check(config, read_listing(config.data)))


def edit(path, function):
    path.write_text("".join(function(line) + "\n" for line in path.read_text().splitlines()))


def test_a_clean_set_has_no_faults(tiny_set):
    config = config_of(tiny_set)
    assert not list(lists.labels_against_class_index(config.data))
    assert [check for check in lists.CHECKS if of_listing(check, config)] == []


@pytest.mark.parametrize("shift, words", [(-1, "1 lower"), (1, "1 higher")])
def test_labels_off_by_one(copy, shift, words):
    edit(copy / "lists" / "trainlist02.txt", lambda line: f"{line.split()[0]} {int(line.split()[1]) + shift}")
    (finding,) = lists.labels_against_class_index(config_of(copy).data)
    assert finding.kind == "labels off by one" and finding.blocks
    assert finding.message.startswith(
        f"trainlist02.txt counts its labels {words} than classInd.txt its classes (9 of 9"
    )


def test_labels_shifted_by_more(copy):
    edit(copy / "lists" / "trainlist01.txt", lambda line: f"{line.split()[0]} {int(line.split()[1]) + 7}")
    (finding,) = lists.labels_against_class_index(config_of(copy).data)
    assert finding.kind == "labels shifted" and "7 higher" in finding.message


def test_a_single_wrong_label_is_left_to_the_reader(copy):
    path = copy / "lists" / "trainlist01.txt"
    path.write_text(path.read_text().replace(" 1\n", " 2\n", 1))
    assert not list(lists.labels_against_class_index(config_of(copy).data))


def test_lists_that_are_not_there_are_left_to_the_reader(tmp_path):
    assert not list(lists.labels_against_class_index(config_of(tmp_path).data))


CLASSES = ("Jump", "Run", "Sit", "Walk")


def relabelled(shift, wrong=20):
    """Twenty clips, each in the folder of its class; the labels of the first `wrong` are shifted."""
    labels = [CLASSES[(n % 3 + shift * (n < wrong)) % 4] for n in range(20)]
    folders = [CLASSES[n % 3] for n in range(20)]
    spare = [Clip(label, "videos/other/x.avi", label, label) for label in CLASSES]
    clips = [Clip(str(n), f"videos/{folders[n]}/{n}.avi", labels[n], str(n)) for n in range(20)]
    return Listing(CLASSES, (*clips, *spare), {1: Split((), ())})


def test_labels_of_a_list_that_counts_from_elsewhere():
    (finding,) = lists.labels_against_folders(Config(), relabelled(1))
    assert finding.kind == "labels off by one" and finding.blocks and "(20 of 20 clips)" in finding.message


def test_labels_of_other_classes_than_the_folders():
    found = list(lists.labels_against_folders(Config(), relabelled(1, wrong=2)))
    assert [(finding.kind, finding.clip) for finding in found] == [("label of another class", name) for name in "01"]
    assert found[0].message == "videos/Jump/0.avi is labelled Run, but lies in Jump/."
    assert not list(lists.labels_against_folders(Config(), relabelled(0)))


def test_absent_and_unlisted(copy):
    video = copy / "videos" / "MoveLeft" / "v_MoveLeft_g03_c01.avi"
    video.rename(video.with_name("v_MoveLeft_g99_c01.avi"))
    (absent,) = of_listing(lists.absent_clips, config_of(copy))
    (unlisted,) = of_listing(lists.unlisted_videos, config_of(copy))
    assert absent.clip == "MoveLeft/v_MoveLeft_g03_c01" and "does not exist" in absent.message and not absent.blocks
    assert unlisted.message == f"{video.with_name('v_MoveLeft_g99_c01.avi')} is in no list." and not unlisted.blocks


def test_classes_left_out_on_purpose_are_not_unlisted(copy):
    (copy / "videos" / "MoveLeft" / "new.avi").touch()
    (copy / "videos" / "MoveDown" / "new.avi").touch()
    (finding,) = of_listing(lists.unlisted_videos, config_of(copy, classes=("MoveDown", "MoveRight")))
    assert "MoveDown/new.avi" in finding.message


def test_a_loop_of_links_is_no_matter(copy):
    (copy / "videos" / "MoveLeft" / "again").symlink_to(copy / "videos")
    assert not of_listing(lists.unlisted_videos, config_of(copy))


def test_group_on_both_sides(tiny_set):
    config = config_of(tiny_set)
    listing = read_listing(config.data)
    moved = [dataclasses.replace(clip, group="03") if clip.group == "01" else clip for clip in listing.clips]
    found = list(lists.groups_on_both_sides(config, dataclasses.replace(listing, clips=tuple(moved))))
    # Groups 1 and 2 test in split 1, groups 3 and 4 in split 2.
    assert len(found) == 6 and all(finding.blocks for finding in found)


def test_classes_of_a_finished_run(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(["A", "B"]))
    assert not list(lists.other_classes(("A", "B"), str(tmp_path), "here"))
    assert not list(lists.other_classes(("A", "B"), "", "here"))
    assert not list(lists.other_classes(("A", "B"), str(tmp_path / "new"), "here"))
    (finding,) = lists.other_classes(("A", "C", "B"), str(tmp_path), "here")
    assert finding.blocks and finding.message.startswith(
        f"Label 1 is B in the run in {tmp_path} but C in here (2 and 3 classes)"
    )
    (finding,) = lists.other_classes(("A",), str(tmp_path), "here")
    assert "Label 1 is B in the run" in finding.message and "but no class in here" in finding.message
    (tmp_path / "classes.json").write_text("{")
    (finding,) = lists.other_classes(("A",), str(tmp_path), "here")
    assert "classes.json cannot be read" in finding.message
