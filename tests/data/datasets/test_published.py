"""What is UCF101's, HMDB51's and Something-Something V2's own; what their readers have in common is test_listing.py."""

import json

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.errors import UserError


def read(dataset, root):
    return read_listing(DataConfig(dataset=dataset, video_dir=str(root / "videos"), split_dir=str(root / "lists")))


# UCF101

CLASSES = ("Archery", "Bowling", "Diving")


@pytest.fixture
def ucf101(tmp_path):
    """Three groups a class, of which group N tests in split N. Empty files are enough: the reader opens no video."""
    every = [f"{label}/v_{label}_g0{group}_c01.avi" for label in CLASSES for group in (1, 2, 3)]
    for relative in every:
        path = tmp_path / "videos" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Bowling\n3 Diving\n")
    for split in (1, 2):
        test = [relative for relative in every if f"_g0{split}_" in relative]
        train = [f"{path} {1 + CLASSES.index(path.split('/')[0])}" for path in every if path not in test]
        (lists / f"trainlist0{split}.txt").write_text("\n".join(train) + "\n")
        (lists / f"testlist0{split}.txt").write_text("\n".join(test) + "\n")
    return tmp_path


def rewrite(root, name, old, new):
    path = root / "lists" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_splits_groups_and_the_order_of_the_classes(ucf101):
    rewrite(ucf101, "classInd.txt", "1 Archery\n2 Bowling", "2 Bowling\n1 Archery")
    listing = read("ucf101", ucf101)
    assert listing.classes == ("Bowling", "Archery", "Diving")
    assert [clip.group for clip in listing.clips] == ["01", "02", "03"] * 3
    assert set(listing.splits) == {1, 2}
    assert listing.splits[2].train == tuple(f"{c}/v_{c}_g0{g}_c01" for c in CLASSES for g in (1, 3))
    assert listing.splits[2].test == tuple(f"{c}/v_{c}_g02_c01" for c in CLASSES)


def test_demo_set_is_read_alike(ucf101):
    plain = read("ucf101", ucf101)
    (ucf101 / "lists").rename(ucf101 / "ucfTrainTestlist")
    assert read_listing(DataConfig(dataset="demo", video_dir=str(ucf101))) == plain


@pytest.mark.parametrize(
    "name, old, new, place",
    [
        ("classInd.txt", "2 Bowling", "Bowling", "classInd.txt, line 2"),
        ("classInd.txt", "2 Bowling", "two Bowling", "classInd.txt, line 2"),
        ("classInd.txt", "2 Bowling", "2 Ten Pin Bowling", "classInd.txt, line 2"),
        ("classInd.txt", "2 Bowling", "1 Bowling", "classInd.txt, line 2"),
        ("classInd.txt", "3 Diving", "3 Bowling", "classInd.txt, line 3"),
        ("trainlist01.txt", "Archery/v_Archery_g02", "v_Archery_g02", "trainlist01.txt, line 1: expected"),
        ("trainlist01.txt", "Archery/v_Arch", "UCF-101/Archery/v_Arch", "trainlist01.txt, line 1: expected"),
        ("testlist01.txt", "Archery/v_", "../v_", "testlist01.txt, line 1: class .. is not in classInd.txt"),
        ("testlist01.txt", "Archery/v_", "Fencing/v_", "testlist01.txt, line 1: class Fencing is not in classInd.txt"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 0", "line 1: label 0 is not Archery's .*count from 1"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 2", "line 1: label 2 is not Archery's"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi one", "line 1: label one is not Archery's"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 1 1", "line 1: label 1 1 is not Archery's"),
    ],
)
def test_bad_line_is_named_with_file_and_number(ucf101, name, old, new, place):
    rewrite(ucf101, name, old, new)
    with pytest.raises(UserError, match=place):
        read("ucf101", ucf101)


# HMDB51

# As the publisher names them: <source>_<class>_<body>_<camera>_np<people>_<view>_<quality>_<number>
HMDB51_CLIPS = {
    "climb": [
        "Amazing_(Part_9)_climb_f_cm_np1_fr_bad_0",
        "Amazing_(Part_9)_climb_u_nm_np10_ba_med_1",
        "Fight_Club_climb_h_cm_np2_le_goo_0",
        "#1_Tips_&_[Tricks];_climb_l_nm_np1_ri_med_0",
        "-_FREE_@home~_climb_f_cm_np1_fr_bad_12",
        "THE_END!_climb_f_cm_np1_fr_bad_1",
    ],
    "climb_stairs": [
        "Fight_Club_climb_stairs_f_cm_np1_ba_med_0",
        "Rocky_f_climb_stairs_f_cm_np1_ba_med_3",
        "Rocky_f_climb_stairs_f_cm_np1_ba_med_4",
        "Titanic_climb_stairs_u_cm_np1_ba_med_0",
    ],
}
HMDB51_SIDES = {  # 1 trains, 2 tests, 0 does neither, a digit a clip
    1: {"climb": "112210", "climb_stairs": "1220"},
    2: {"climb": "221100", "climb_stairs": "2110"},
    3: {"climb": "110120", "climb_stairs": "0112"},
}


@pytest.fixture
def hmdb51(tmp_path):
    """Empty files are enough: the reader opens no video."""
    for label, names in HMDB51_CLIPS.items():
        (tmp_path / "videos" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "videos" / label / f"{name}.avi").touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, sides in HMDB51_SIDES.items():
        for label, digits in sides.items():
            lines = [f"{name}.avi {digit} \n" for name, digit in zip(HMDB51_CLIPS[label], digits, strict=True)]
            (lists / f"{label}_test_split{split}.txt").write_text("".join(lines))
    return tmp_path


def expected(split, digit):
    return tuple(
        f"{label}/{name}"
        for label, digits in HMDB51_SIDES[split].items()
        for name, side in zip(HMDB51_CLIPS[label], digits, strict=True)
        if side == digit
    )


def test_splits_are_those_of_the_digits(hmdb51):
    (hmdb51 / "lists" / "class_list.txt").write_text("nonsense")
    (hmdb51 / "lists" / "climb_test_split1.txt.bak").write_text("nonsense")
    listing = read("hmdb51", hmdb51)
    assert listing.classes == ("climb", "climb_stairs")
    assert set(listing.splits) == {1, 2, 3}
    for number, split in listing.splits.items():
        assert split.train == expected(number, "1") and split.test == expected(number, "2")
    unused = {"climb/THE_END!_climb_f_cm_np1_fr_bad_1"}
    used = {f"{label}/{name}" for label, names in HMDB51_CLIPS.items() for name in names} - unused
    assert [clip.name for clip in listing.clips] == sorted(used)


def test_groups_are_the_sources_of_a_class(hmdb51):
    groups = [clip.group for clip in read("hmdb51", hmdb51).clips]
    films = ["#1_Tips_&_[Tricks];", "-_FREE_@home~", *["Amazing_(Part_9)"] * 2, "Fight_Club"]
    assert groups == [*films, "Fight_Club", "Rocky_f", "Rocky_f", "Titanic"]


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi train", "1", "climb/a.avi 1"])
def test_bad_hmdb51_line(hmdb51, line):
    path = hmdb51 / "lists" / "climb_test_split2.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"climb_test_split2\.txt, line 7: expected"):
        read("hmdb51", hmdb51)


def test_lists_that_are_missing(hmdb51):
    (hmdb51 / "lists" / "climb_stairs_test_split2.txt").unlink()
    with pytest.raises(UserError, match=r"climb_stairs_test_split2\.txt cannot be read .*: --split_dir"):
        read("hmdb51", hmdb51)
    for path in (hmdb51 / "lists").iterdir():
        path.rename(path.with_suffix(".csv"))
    with pytest.raises(UserError, match=r"--split_dir=.* has no such list: .*<class>_test_split"):
        read("hmdb51", hmdb51)


# Something-Something V2

# The published numbers of the six classes that a mirror exchanges; the others' names do not matter here.
PAIRED = {86: "Pulling something from left to right", 87: "Pulling something from right to left"}
PAIRED |= {number + 7: name.replace("Pull", "Push") for number, name in PAIRED.items()}
PAIRED |= {166 + n: f"Turning the camera {side} while filming something" for n, side in enumerate(("left", "right"))}
NAMES = [PAIRED.get(number, f"Doing {number} to something, then not") for number in range(174)]
FEW = (NAMES[0], NAMES[87], NAMES[86])


def entry(name, label):
    return {
        "id": str(name),
        "label": label.replace("something", "a cup", 1).lower(),
        "template": label.replace("something", "[something]", 1),
        "placeholders": ["a cup"],
    }


def write_lists(folder, train, validation, names=NAMES):
    """The publisher's lists; `train` and `validation` are {id: label number}."""
    folder.mkdir()
    contents = {
        "labels": {name: str(number) for number, name in sorted(enumerate(names), key=lambda pair: pair[1])},
        "train": [entry(name, names[label]) for name, label in train.items()],
        "validation": [entry(name, names[label]) for name, label in validation.items()],
        "test": [{"id": "990"}],
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def write_set(root, names):
    """A training and a validation clip a class, by the classes' numbers. Empty files: the reader opens no video."""
    (root / "videos").mkdir()
    for name in range(2 * len(names)):
        (root / "videos" / f"{name}.webm").touch()
    numbers = range(len(names))
    write_lists(root / "lists", {n: n for n in numbers}, {len(names) + n: n for n in numbers}, names)
    return root


@pytest.fixture
def sthv2(tmp_path):
    return write_set(tmp_path, FEW)


def change_list(root, name, change):
    path = root / "lists" / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_labels_and_mirrored_pairs_are_those_of_the_published_numbers(tmp_path):
    listing = read("sthv2", write_set(tmp_path, NAMES))
    assert listing.classes == tuple(NAMES)
    index = listing.classes.index
    assert {clip.name: index(clip.label) for clip in listing.clips} == {str(name): name % 174 for name in range(348)}
    pairs = {86: 87, 93: 94, 166: 167}
    both = {**pairs, **{b: a for a, b in pairs.items()}}
    assert {index(a): index(b) for a, b in listing.mirrored.items()} == both


def test_both_names_of_the_lists_and_numbers_in_place_of_texts(sthv2):
    plain = read("sthv2", sthv2)
    change_list(sthv2, "labels.json", lambda labels: {name: int(number) for name, number in labels.items()})
    for path in list((sthv2 / "lists").iterdir()):
        path.rename(path.with_name(f"something-something-v2-{path.name}"))
    assert read("sthv2", sthv2) == plain


BAD_STHV2 = {
    "no template": ("train", lambda entries: [*entries, {"id": "7"}], "entry 4: expected an id and a template"),
    "no dict": ("validation", lambda entries: ["7", *entries], "entry 1: expected an id and a template"),
    "unknown": ("train", lambda entries: [*entries, entry(7, "Flying")], "entry 4: 'Flying' is not in labels"),
    "a dict": ("train", lambda entries: {"3": "x"}, "is no such list: --split_dir"),
    "empty": ("validation", lambda entries: [], "is no such list: --split_dir"),
    "no number": ("labels", lambda labels: {**labels, FEW[1]: "two"}, "from 0 to 2"),
    "from one": ("labels", lambda labels: {name: str(int(n) + 1) for name, n in labels.items()}, "from 0 to 2"),
    "a number twice": ("labels", lambda labels: {**labels, FEW[1]: "2"}, "from 0 to 2"),
}


@pytest.mark.parametrize("name, change, reason", BAD_STHV2.values(), ids=BAD_STHV2)
def test_bad_sthv2_list(sthv2, name, change, reason):
    change_list(sthv2, f"{name}.json", change)
    with pytest.raises(UserError, match=rf"{name}\.json.* {reason}"):
        read("sthv2", sthv2)
