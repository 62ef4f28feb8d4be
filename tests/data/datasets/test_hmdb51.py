import pathlib

import pytest
from image_folders import write_clip
from videos import moving, write_video

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.datasets import read_hmdb51, read_listing
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.snippets import video_snippets
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


def read(root, classes=()):
    return read_hmdb51(str(root / "videos"), str(root / "lists"), classes)


def expected(split, digit):
    return tuple(
        f"{label}/{name}"
        for label, digits in SIDES[split].items()
        for name, side in zip(CLIPS[label], digits, strict=True)
        if side == digit
    )


def test_splits_are_those_of_the_digits(root):
    listing = read(root)
    assert listing.classes == ("climb", "climb_stairs")
    assert set(listing.splits) == {1, 2, 3}
    for number, split in listing.splits.items():
        assert split.train == expected(number, "1") and split.test == expected(number, "2")
    assert listing.absent == () and listing.mirrored == {}


def test_clips_are_those_that_some_split_uses(root):
    listing = read(root)
    names = [clip.name for clip in listing.clips]
    assert names == sorted(names)
    unused = {"climb/THE_END!_climb_f_cm_np1_fr_bad_1"}
    assert set(names) == {f"{label}/{name}" for label, names in CLIPS.items() for name in names} - unused
    for clip in listing.clips:
        assert clip.path == str(root / "videos" / f"{clip.name}.avi") and pathlib.Path(clip.path).is_file()
        assert clip.label == clip.name.split("/")[0]


def test_groups_are_the_sources_of_a_class(root):
    groups = {clip.name: clip.group for clip in read(root).clips}
    assert sorted(set(groups.values())) == [
        "#1_Tips_&_[Tricks];",
        "-_FREE_@home~",
        "Amazing_(Part_9)",
        "Fight_Club",
        "Rocky_f",
        "Titanic",
    ]
    assert groups["climb/Amazing_(Part_9)_climb_f_cm_np1_fr_bad_0"] == "Amazing_(Part_9)"
    assert groups["climb/Amazing_(Part_9)_climb_u_nm_np10_ba_med_1"] == "Amazing_(Part_9)"


def test_group_of_another_name_is_the_clip(root):
    (root / "videos" / "climb" / "mine.avi").touch()
    with (root / "lists" / "climb_test_split1.txt").open("a") as file:
        file.write("mine.avi 1\n")
    assert {clip.name: clip.group for clip in read(root).clips}["climb/mine"] == "climb/mine"


def test_chosen_classes_and_the_config(root):
    listing = read(root, ("climb_stairs",))
    assert listing.classes == ("climb_stairs",) and len(listing.clips) == 4
    assert listing.splits[1].test == expected(1, "2")[2:]
    folders = {"video_dir": str(root / "videos"), "split_dir": str(root / "lists")}
    assert read_listing(DataConfig(dataset="hmdb51", **folders)) == read(root)


def test_clip_that_is_not_there_is_listed_with_its_class(root):
    path = root / "videos" / "climb" / "Fight_Club_climb_h_cm_np2_le_goo_0.avi"
    path.unlink()
    listing = read(root)
    ((name, reason),) = listing.absent
    assert name == "climb/Fight_Club_climb_h_cm_np2_le_goo_0" and listing.absent_labels == {name: "climb"}
    assert reason == f"{path} is named in climb_test_split1.txt but does not exist."
    assert name in listing.splits[1].test


@pytest.mark.parametrize("below", ["climb", "."])
def test_folder_of_frames_in_place_of_a_video(root, below):
    name = "Fight_Club_climb_h_cm_np2_le_goo_0"
    (root / "videos" / "climb" / f"{name}.avi").unlink()
    (root / "videos" / below / name).mkdir()
    listing = read(root)
    assert listing.absent == ()
    assert {clip.name: clip.path for clip in listing.clips}[f"climb/{name}"] == str(root / "videos" / below / name)


def test_other_endings_marks_tabs_and_empty_lines(root):
    plain = read(root)
    for path in (root / "lists").iterdir():
        text = path.read_text().replace(".avi ", ".avi\t").replace("\n", "\r\n\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (root / "lists" / "class_list.txt").write_text("nonsense")
    (root / "lists" / "climb_test_split1.txt.bak").write_text("nonsense")
    assert read(root) == plain


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi train", "1", "climb/a.avi 1", "a.avi -1"])
def test_bad_line(root, line):
    path = root / "lists" / "climb_test_split2.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"climb_test_split2\.txt, line 7: expected '<video> 0', 1 or 2\. Received: "):
        read(root)


def test_clip_listed_twice(root):
    path = root / "lists" / "climb_test_split3.txt"
    path.write_text(path.read_text() + "THE_END!_climb_f_cm_np1_fr_bad_1.avi 2\n")
    with pytest.raises(UserError, match=r"climb_test_split3\.txt names climb/THE_END!\S+ twice: remove one"):
        read(root)


def test_split_that_lacks_a_class(root):
    (root / "lists" / "climb_stairs_test_split2.txt").unlink()
    with pytest.raises(
        UserError, match=r"climb_stairs_test_split2\.txt does not exist: --split_dir must hold HMDB51's"
    ):
        read(root)


def test_lists_of_another_data_set(root):
    for path in (root / "lists").iterdir():
        path.rename(path.with_suffix(".csv"))
    with pytest.raises(UserError, match=r"--split_dir=.* has no such list: .*HMDB51's lists, <class>_test_split"):
        read(root)


def test_class_without_a_video(root):
    for path in (root / "videos" / "climb").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"No clip of class climb was found \(1 of 2 classes\)"):
        read(root)


def test_folders(root):
    with pytest.raises(UserError, match=r"--split_dir is not given"):
        read_hmdb51(str(root / "videos"), "")
    with pytest.raises(UserError, match=r"--video_dir=.*absent is not a folder"):
        read_hmdb51(str(root / "absent"), str(root / "lists"))


def test_names_as_they_are_work_from_the_file_to_the_record(root):
    """Real videos of the odd names, one of them as frames, through `prepare`."""
    for number, name in enumerate(CLIPS["climb"][:-1]):
        write_video(root / "videos" / "climb" / f"{name}.avi", moving(8, seed=number))
    odd = "#1_Tips_&_[Tricks];_climb_l_nm_np1_ri_med_0"
    (root / "videos" / "climb" / f"{odd}.avi").unlink()
    write_clip(root / "videos" / "climb" / odd, moving(8))
    config = DataConfig(
        dataset="hmdb51",
        video_dir=str(root / "videos"),
        split_dir=str(root / "lists"),
        record_dir=str(root / "records"),
        classes=("climb",),
        workers=1,
    )
    manifest = prepare(config, 5)
    assert {clip.name for clip in manifest.clips} == {f"climb/{name}" for name in CLIPS["climb"][:-1]}
    assert manifest.skipped == {}
    assert {clip.name for clip in manifest.select(config, "test")[1]} == {
        f"climb/{name}" for name in CLIPS["climb"][2:4]
    }
    for clip in read_listing(config).clips:
        _, (fields,) = video_snippets(clip.path, Config(data=config), 1)
        assert [field.shape for field in fields] == [(2, 36, 48)] * 5
