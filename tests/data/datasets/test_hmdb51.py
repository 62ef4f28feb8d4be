import pytest

from ccsn_tf.data.datasets.hmdb51 import read_hmdb51
from ccsn_tf.errors import UserError

# As the publisher names them: <source>_<class>_<body>_<camera>_np<people>_<view>_<quality>_<number>
CLIPS = {
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
SIDES = {  # 1 trains, 2 tests, 0 does neither, a digit a clip
    1: {"climb": "112210", "climb_stairs": "1220"},
    2: {"climb": "221100", "climb_stairs": "2110"},
    3: {"climb": "110120", "climb_stairs": "0112"},
}


@pytest.fixture
def root(tmp_path):
    """Empty files are enough: the reader opens no video."""
    for label, names in CLIPS.items():
        (tmp_path / "videos" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "videos" / label / f"{name}.avi").touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, sides in SIDES.items():
        for label, digits in sides.items():
            lines = [f"{name}.avi {digit} \n" for name, digit in zip(CLIPS[label], digits, strict=True)]
            (lists / f"{label}_test_split{split}.txt").write_text("".join(lines))
    return tmp_path


def read(root):
    return read_hmdb51(str(root / "videos"), str(root / "lists"))


def expected(split, digit):
    return tuple(
        f"{label}/{name}"
        for label, digits in SIDES[split].items()
        for name, side in zip(CLIPS[label], digits, strict=True)
        if side == digit
    )


def test_splits_are_those_of_the_digits(root):
    (root / "lists" / "class_list.txt").write_text("nonsense")
    (root / "lists" / "climb_test_split1.txt.bak").write_text("nonsense")
    listing = read(root)
    assert listing.classes == ("climb", "climb_stairs")
    assert set(listing.splits) == {1, 2, 3}
    for number, split in listing.splits.items():
        assert split.train == expected(number, "1") and split.test == expected(number, "2")
    unused = {"climb/THE_END!_climb_f_cm_np1_fr_bad_1"}
    used = {f"{label}/{name}" for label, names in CLIPS.items() for name in names} - unused
    assert [clip.name for clip in listing.clips] == sorted(used)


def test_groups_are_the_sources_of_a_class(root):
    groups = [clip.group for clip in read(root).clips]
    films = ["#1_Tips_&_[Tricks];", "-_FREE_@home~", *["Amazing_(Part_9)"] * 2, "Fight_Club"]
    assert groups == [*films, "Fight_Club", "Rocky_f", "Rocky_f", "Titanic"]


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi train", "1", "climb/a.avi 1"])
def test_bad_line(root, line):
    path = root / "lists" / "climb_test_split2.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"climb_test_split2\.txt, line 7: expected"):
        read(root)


def test_lists_that_are_missing(root):
    (root / "lists" / "climb_stairs_test_split2.txt").unlink()
    with pytest.raises(UserError, match=r"climb_stairs_test_split2\.txt cannot be read .*: --split_dir"):
        read(root)
    for path in (root / "lists").iterdir():
        path.rename(path.with_suffix(".csv"))
    with pytest.raises(UserError, match=r"--split_dir=.* has no such list: .*<class>_test_split"):
        read(root)
