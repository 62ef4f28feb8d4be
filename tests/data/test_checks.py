"""What is found wrong with lists, with what a scan of videos shows, and in all."""

import dataclasses
import shutil

import pytest

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data import checks
from ccsn_tf.data.checks import Finding, as_text, check_lists, check_videos, groups, same_videos
from ccsn_tf.data.datasets import Clip, Listing, Split, read_listing
from ccsn_tf.data.scan import Scanned
from ccsn_tf.errors import UserError

CLASSES = ("Jump", "Run", "Sit", "Walk")
SPLITS = {1: Split(("a1", "a2"), ("b1", "b2")), 2: Split(("a1", "b1"), ("a2", "b2"))}


def facts(findings):
    return [(finding.kind, finding.clip, finding.blocks) for finding in findings]


def test_what_blocks_comes_first():
    warning = Finding("short", "a/1", "a/1 has 3 frames.")
    assert as_text(
        [warning, Finding("labels off by one", "", "The lists count from 0.", True), warning]
    ).splitlines() == [
        "Training may not start before this is put right:",
        "  labels off by one: 1",
        "    The lists count from 0.",
        "Warnings:",
        "  short: 2",
        "    a/1 has 3 frames.",
        "    a/1 has 3 frames.",
        "Training may not start; problems: 1, warnings: 2.",
    ]
    assert as_text([]) == "Training may start; problems: 0, warnings: 0.\n"


# Lists


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


@pytest.mark.parametrize("classes, unlisted", [((), ["run/deep/a.mp4", "sit/b.MP4"]), (("run",), ["run/deep/a.mp4"])])
def test_what_is_not_listed_and_what_is_not_there(tmp_path, classes, unlisted):
    for name in ("run/a.mp4", "run/notes.txt", "run/deep/a.mp4", "sit/a.mp4", "sit/b.MP4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("run/a.mp4 run\nrun/lost.mp4 run\nsit/a.mp4 sit\n")
    lists = {"train_list": str(tmp_path / "list.txt"), "test_list": str(tmp_path / "test.txt"), "classes": classes}
    (tmp_path / "test.txt").write_text("sit/lost.mp4 sit\n")
    config = DataConfig(dataset="list", video_dir=str(tmp_path), **lists)
    listing = read_listing(config)
    lost = ["run/lost"] if classes else ["run/lost", "sit/lost"]
    expected = [("listed but absent", name, False) for name in lost] + [("in no list", u, False) for u in unlisted]
    assert sorted(facts(check_lists(config, listing))) == sorted(expected)
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
    seen = {name: Scanned(digest=digest) for name, digest in digests.items()}
    assert facts(same_videos(seen, SPLITS, dataset)) == expected


# Videos

NAMES = tuple(f"{label}/{n}" for label in "AB" for n in range(10))
TRAIN, TEST = (tuple(name for name in NAMES if (int(name[-1]) < 3) == is_test) for is_test in (False, True))
CLIPS = tuple(Clip(name, f"{name}.avi", name[0], name) for name in NAMES)
SOUND, BAD, SHORT = Scanned(frames=40), Scanned("It is damaged."), Scanned(frames=5)


@pytest.mark.parametrize(
    "others, settings, expected",
    [
        ({"B/9": Scanned(frames=6)}, {}, []),
        ({"A/4": BAD}, {}, [("unreadable", "A/4", False)]),
        ({"A/4": Scanned(frames=40, concealed=3)}, {}, [("damaged in places", "A/4", False)]),
        ({"B/9": SHORT}, {}, [("short", "B/9", False)]),
        ({"B/9": Scanned(frames=10)}, {"flow_stride": 2}, [("short", "B/9", False)]),
        (
            {f"B/{n}": BAD for n in range(3)},
            {},
            [("unreadable", f"B/{n}", False) for n in range(3)]
            + [("much is missing", "", True), ("few clips", "", False)],
        ),
        (
            {f"B/{n}": SHORT for n in range(3, 10)},
            {},
            [("short", f"B/{n}", False) for n in range(3, 10)]
            + [("much is missing", "", True), ("class without clips", "", True), ("few clips", "", False)],
        ),
        ({}, {"split": 3}, [("no such split", "", True)]),
    ],
    ids=str,
)
def test_what_a_scan_shows(others, settings, expected):
    listing = Listing(("A", "B"), CLIPS, {1: Split(TRAIN, TEST)})
    config = Config().replace(flow_length=5, **settings)
    assert facts(check_videos(config, listing, {name: others.get(name, SOUND) for name in NAMES})) == expected


def test_absent_clips_count_as_missing():
    listing = Listing(("A", "B"), CLIPS, {1: Split(TRAIN, TEST)}, absent=(("A/77", "gone"), ("A/78", "gone")))
    (finding,) = check_videos(Config(), listing, dict.fromkeys(NAMES, SOUND))
    assert finding.message.startswith("2 of 22 clips are absent or cannot be used")


# All together


@pytest.fixture
def config(tiny_set, tiny_data, tmp_path):
    """The config of the tiny set and its records, with a copy of its lists."""
    shutil.copytree(tiny_set / "lists", tmp_path / "lists")
    return dataclasses.replace(Config(), data=dataclasses.replace(tiny_data, split_dir=str(tmp_path / "lists")))


@pytest.fixture
def looks(monkeypatch):
    """What was looked at; nothing is decoded."""
    looked = []

    def scan(what, clips):
        looked.append(what)
        return {clip.name: Scanned(frames=14) for clip in clips}

    monkeypatch.setattr(checks, "scan_videos", lambda clips, *_: scan("videos", clips))
    monkeypatch.setattr(checks, "scan_records", lambda manifest, *_: scan("records", manifest.clips))
    return looked


def run(config):
    return [(finding.kind, finding.blocks) for finding in checks.check(config, lambda what: None)]


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
    assert run(own) == [("lists taken so", False)]
    # Without the last class 1 and 2 are taken for the second and the third name.
    (tmp_path / "train.txt").write_text("".join(line for line in lines if not line.endswith(" 3\n")))
    assert run(own.replace(classes=("MoveLeft", "MoveRight"))) == [("labels off by one", True)]
