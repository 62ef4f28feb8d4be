import dataclasses

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.checks.lists import check_lists, groups, same_videos
from ccsn_tf.data.datasets import Clip, Listing, Split, read_listing

CLASSES = ("Jump", "Run", "Sit", "Walk")
SPLITS = {1: Split(("a1", "a2"), ("b1", "b2")), 2: Split(("a1", "b1"), ("a2", "b2"))}


def facts(findings):
    return [(finding.kind, finding.clip, finding.blocks) for finding in findings]


@pytest.mark.parametrize(
    "shift, wrong, expected",
    [
        (1, 20, [("labels off by one", "", True)]),
        (2, 20, [("labels shifted", "", True)]),
        (1, 2, [("label of another class", "0", True), ("label of another class", "1", True)]),
        (0, 20, []),
    ],
)
def test_labels_against_folders(shift, wrong, expected):
    clips = []
    for n in range(20):
        label = CLASSES[n % 2 + shift * (n < wrong)]
        clips.append(Clip(str(n), f"videos/{CLASSES[n % 2]}/{n}.avi", label, str(n)))
    spare = [Clip(label, "videos/elsewhere/x.avi", label, label) for label in CLASSES]
    found = list(check_lists(DataConfig(), Listing(CLASSES, (*clips, *spare), {1: Split((), ())})))
    assert facts(found) == expected
    assert all(str(shift) in finding.message or "Run" in finding.message for finding in found)


@pytest.mark.parametrize("classes, unlisted", [((), ["run/deep/a.mp4", "sit/b.MP4"]), (("run",), ["run/deep/a.mp4"])])
def test_what_is_not_listed_and_what_is_not_there(tmp_path, classes, unlisted):
    for name in ("run/a.mp4", "run/notes.txt", "run/deep/a.mp4", "sit/a.mp4", "sit/b.MP4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "run" / "loop").symlink_to(tmp_path)
    (tmp_path / "list.txt").write_text("run/a.mp4 run\nrun/lost.mp4 run\nsit/a.mp4 sit\n")
    lists = {"train_list": str(tmp_path / "list.txt"), "test_list": str(tmp_path / "test.txt"), "classes": classes}
    (tmp_path / "test.txt").write_text("sit/lost.mp4 sit\n")
    config = DataConfig(dataset="list", video_dir=str(tmp_path), **lists)
    listing = read_listing(config)
    found = facts(check_lists(config, listing))
    lost = ["run/lost"] if classes else ["run/lost", "sit/lost"]
    expected = [("listed but absent", name, False) for name in lost] + [("in no list", u, False) for u in unlisted]
    assert sorted(found) == sorted(expected)
    published = dataclasses.replace(config, dataset="hmdb51", split_dir=str(tmp_path))  # whose lists leave videos out
    assert len(facts(check_lists(published, listing))) == len(lost)


def test_groups_of_a_class_are_on_one_side():
    clips = [Clip(name, "", *of) for name, of in zip(("a1", "a2", "b1", "b2"), ("A1", "A2", "B1", "A2"), strict=True)]
    (finding,) = groups(clips, SPLITS)
    assert finding.blocks and finding.message.startswith("Group 2 of A trains (a2) and tests (b2) in split 1")
    one_group = [Clip(name, "", "A", "1") for name in ("a1", "a2", "b1", "b2")]
    assert len(list(groups(one_group, SPLITS))) == 2  # one a split


@pytest.mark.parametrize(
    "digests, dataset, expected",
    [
        ({"a1": "x", "b2": "x", "a2": "y", "b1": "z"}, "folder", [("same video on both sides", "a1", True)]),
        ({"a1": "x", "b2": "x", "a2": "y", "b1": "z"}, "ucf101", [("same video on both sides", "a1", False)]),
        ({"a1": "x", "a2": "x"}, "folder", [("same video on both sides", "a1", True)]),  # in split 2
        ({"a1": "x", "c": "x"}, "folder", [("same video twice", "a1", False)]),
        ({"a1": "", "b1": ""}, "folder", []),
    ],
)
def test_same_videos(digests, dataset, expected):
    assert facts(same_videos(digests, SPLITS, dataset)) == expected
