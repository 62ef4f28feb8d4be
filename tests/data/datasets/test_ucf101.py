import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing, read_ucf101
from ccsn_tf.errors import UserError

CLASSES = ("Archery", "Bowling", "Diving")
LABEL = {name: str(label) for label, name in enumerate(CLASSES, 1)}


def clip(label, group, number=1):
    return f"{label}/v_{label}_g{group:02d}_c{number:02d}.avi"


@pytest.fixture
def root(tmp_path):
    """Empty files are enough: the reader opens no video."""
    every = [clip(label, group) for label in CLASSES for group in (1, 2, 3)]
    for relative in every:
        path = tmp_path / "videos" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{LABEL[name]} {name}\n" for name in CLASSES))
    for split in (1, 2):
        test = [relative for relative in every if f"_g{split:02d}_" in relative]
        train = [f"{relative} {LABEL[relative.split('/')[0]]}" for relative in every if relative not in test]
        (lists / f"trainlist{split:02d}.txt").write_text("\n".join(train) + "\n")
        (lists / f"testlist{split:02d}.txt").write_text("\n".join(test) + "\n")
    return tmp_path


def read(root, classes=()):
    return read_ucf101(str(root / "videos"), str(root / "lists"), classes)


def rewrite(root, name, old, new):
    path = root / "lists" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_clips_classes_and_splits(root):
    listing = read(root)
    assert listing.classes == CLASSES
    assert [clip.name for clip in listing.clips] == sorted(f"{c}/v_{c}_g0{g}_c01" for c in CLASSES for g in (1, 2, 3))
    first = listing.clips[0]
    assert (first.label, first.group) == ("Archery", "01")
    assert first.path == str(root / "videos" / "Archery" / "v_Archery_g01_c01.avi")
    assert set(listing.splits) == {1, 2}
    assert set(listing.splits[1].test) == {f"{c}/v_{c}_g01_c01" for c in CLASSES}
    assert set(listing.splits[2].train) == {f"{c}/v_{c}_g0{g}_c01" for c in CLASSES for g in (1, 3)}
    assert listing.absent == ()


def test_same_thing_through_the_config(root):
    config = DataConfig(dataset="ucf101", video_dir=str(root / "videos"), split_dir=str(root / "lists"))
    assert read_listing(config) == read(root)


def test_demo_set_is_read_alike(root):
    (root / "lists").rename(root / "ucfTrainTestlist")
    assert read_listing(DataConfig(dataset="demo", video_dir=str(root))).classes == CLASSES


def test_chosen_classes_in_their_order(root):
    listing = read(root, ("Diving", "Archery"))
    assert listing.classes == ("Diving", "Archery")
    assert {clip.label for clip in listing.clips} == {"Diving", "Archery"}
    assert len(listing.splits[1].train) == 4


def test_clip_that_is_not_there_is_listed(root):
    path = root / "videos" / clip("Bowling", 2)
    path.unlink()
    listing = read(root)
    ((name, reason),) = listing.absent
    assert name == "Bowling/v_Bowling_g02_c01"
    assert str(path) in reason and "does not exist" in reason
    assert listing.absent_labels == {name: "Bowling"}
    assert name in listing.splits[1].train  # the split stays as published
    assert len(listing.clips) == 8


@pytest.mark.parametrize("place", ["Bowling/v_Bowling_g02_c01", "v_Bowling_g02_c01"], ids=["in the class", "flat"])
def test_folder_of_frames_in_place_of_a_video(root, place):
    (root / "videos" / place).mkdir()
    beside = read(root)
    assert beside.clips[4].path == str(root / "videos" / clip("Bowling", 2))  # the video comes first
    (root / "videos" / clip("Bowling", 2)).unlink()
    listing = read(root)
    assert listing.absent == () and listing.clips[4].path == str(root / "videos" / place)
    assert (listing.clips[4].name, listing.clips[4].group) == ("Bowling/v_Bowling_g02_c01", "02")


def test_other_endings_marks_tabs_and_empty_lines(root):
    plain = read(root)
    for path in (root / "lists").iterdir():
        text = path.read_text().replace(" ", "\t").replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n  \r\n")
    assert read(root) == plain


def test_copies_of_lists_are_left_alone(root):
    plain = read(root)
    for name in ("trainlist01 (copy).txt", "trainlist.txt", "trainlist01_old.txt", "trainlist02.txt.bak"):
        (root / "lists" / name).write_text("nonsense")
    assert read(root) == plain


def test_group_of_other_names_is_the_clip(root):
    rewrite(root, "trainlist01.txt", "v_Diving_g02_c01", "mine")
    (root / "videos" / "Diving" / "mine.avi").touch()
    (mine,) = [clip for clip in read(root).clips if clip.name == "Diving/mine"]
    assert mine.group == "Diving/mine"


@pytest.mark.parametrize("flag", ["video_dir", "split_dir"])
def test_folders(root, flag, tmp_path):
    folders = {"video_dir": str(root / "videos"), "split_dir": str(root / "lists")}
    (tmp_path / "nothing").mkdir()
    for path, reason in (
        ("", "is not given"),
        (str(root / "absent"), "is not a folder"),
        (str(root / "lists" / "classInd.txt"), "is not a folder"),
        (str(tmp_path / "nothing"), "is empty"),
    ):
        with pytest.raises(UserError, match=f"--{flag}.*{reason}"):
            read_ucf101(**{**folders, flag: path})


@pytest.mark.parametrize("name", ["classInd.txt", "testlist01.txt", "testlist02.txt"])
def test_absent_list_is_named(root, name):
    (root / "lists" / name).unlink()
    with pytest.raises(UserError, match=f"{name} does not exist: --split_dir"):
        read(root)


def test_no_list_at_all(root):
    for path in (root / "lists").glob("*list*.txt"):
        path.unlink()
    with pytest.raises(UserError, match=r"--split_dir=.* has no trainlist01\.txt"):
        read(root)


def test_list_that_is_no_text(root):
    (root / "lists" / "testlist01.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"testlist01\.txt is not a text file"):
        read(root)


def test_empty_class_list(root):
    (root / "lists" / "classInd.txt").write_text("\n")
    with pytest.raises(UserError, match=r"classInd\.txt is empty"):
        read(root)


@pytest.mark.parametrize(
    "name, old, new, reason",
    [
        ("classInd.txt", "2 Bowling", "Bowling", r"classInd.txt, line 2: expected '<number> <class>'"),
        ("classInd.txt", "2 Bowling", "two Bowling", r"classInd.txt, line 2: expected"),
        ("classInd.txt", "2 Bowling", "2 Ten Pin Bowling", r"classInd.txt, line 2: expected"),
        ("classInd.txt", "2 Bowling", "1 Bowling", r"classInd.txt, line 2: number or class is there twice"),
        ("classInd.txt", "3 Diving", "3 Bowling", r"classInd.txt, line 3: number or class is there twice"),
        (
            "trainlist01.txt",
            "Archery/v_Archery_g02",
            "v_Archery_g02",
            r"list01.txt, line 1: expected .<class>.<video>.",
        ),
        ("trainlist01.txt", "Archery/v_Arch", "UCF-101/Archery/v_Arch", r"trainlist01.txt, line 1: expected"),
        ("testlist01.txt", "Archery/v_", "../v_", r"testlist01.txt, line 1: expected"),
        ("testlist01.txt", "Archery/v_", "Fencing/v_", r"testlist01.txt, line 1: class Fencing is not in classInd.txt"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 0", r"line 1: label 0 is not Archery's .*count from 1"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 2", r"line 1: label 2 is not Archery's"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 102", r"line 1: label 102 is not Archery's"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi one", r"line 1: label one is not Archery's"),
        ("trainlist01.txt", "g02_c01.avi 1", "g02_c01.avi 1 1", r"line 1: label 1 1 is not Archery's"),
    ],
)
def test_bad_line_is_named_with_file_and_number(root, name, old, new, reason):
    rewrite(root, name, old, new)
    with pytest.raises(UserError, match=reason):
        read(root)


def test_labels_off_by_one(root):
    for path in (root / "lists").glob("trainlist*.txt"):
        path.write_text("".join(f"{line[:-1]}{int(line[-1]) - 1}\n" for line in path.read_text().splitlines()))
    with pytest.raises(UserError, match=r"label 0 is not Archery's in classInd.txt .labels count from 1.") as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_clip_on_both_sides(root):
    rewrite(root, "testlist01.txt", "v_Archery_g01", "v_Archery_g02")
    with pytest.raises(UserError, match=r"testlist01\.txt names Archery/v_Archery_g02_c01, which trainlist01\.txt"):
        read(root)


def test_clip_listed_twice(root):
    path = root / "lists" / "testlist02.txt"
    path.write_text(path.read_text() + clip("Diving", 2) + "\n")
    with pytest.raises(UserError, match=r"testlist02\.txt names Diving/v_Diving_g02_c01 twice: remove one of the two"):
        read(root)


def test_class_without_a_clip(root):
    for path in (root / "videos" / "Diving").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"No clip of class Diving was found \(1 of 3 classes\).*--classes"):
        read(root)
    assert len(read(root, ("Archery", "Bowling")).clips) == 6


def test_wrong_video_folder_names_the_classes(root):
    with pytest.raises(UserError, match=r"No clip of class Archery, Bowling, Diving was found \(3 of 3 classes\)"):
        read_ucf101(str(root), str(root / "lists"))


def test_unknown_and_repeated_class(root):
    with pytest.raises(UserError, match=r"--classes names Fencing, Rowing, which classInd.txt does not have"):
        read(root, ("Archery", "Fencing", "Rowing"))
    with pytest.raises(UserError, match="--classes names a class twice"):
        read(root, ("Archery", "Archery"))
