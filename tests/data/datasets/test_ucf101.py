import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.data.datasets.ucf101 import read_ucf101
from ccsn_tf.errors import UserError

CLASSES = ("Archery", "Bowling", "Diving")


@pytest.fixture
def root(tmp_path):
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


def read(root):
    return read_ucf101(str(root / "videos"), str(root / "lists"))


def rewrite(root, name, old, new):
    path = root / "lists" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_splits_groups_and_the_order_of_the_classes(root):
    rewrite(root, "classInd.txt", "1 Archery\n2 Bowling", "2 Bowling\n1 Archery")
    listing = read(root)
    assert listing.classes == ("Bowling", "Archery", "Diving")
    assert [clip.group for clip in listing.clips] == ["01", "02", "03"] * 3
    assert set(listing.splits) == {1, 2}
    assert listing.splits[2].train == tuple(f"{c}/v_{c}_g0{g}_c01" for c in CLASSES for g in (1, 3))
    assert listing.splits[2].test == tuple(f"{c}/v_{c}_g02_c01" for c in CLASSES)


def test_demo_set_is_read_alike(root):
    plain = read(root)
    (root / "lists").rename(root / "ucfTrainTestlist")
    assert read_listing(DataConfig(dataset="demo", video_dir=str(root))) == plain


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
def test_bad_line_is_named_with_file_and_number(root, name, old, new, place):
    rewrite(root, name, old, new)
    with pytest.raises(UserError, match=place):
        read(root)
