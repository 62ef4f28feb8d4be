import os

import pytest

from ccsn_tf.data.datasets.folder import read_folder
from ccsn_tf.errors import UserError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def drawn(tmp_path):
    return put(tmp_path, *(f"{label}/clip {number}.mp4" for label in ("run", "sit") for number in range(10)))


def test_train_and_test_folders(tmp_path):
    put(tmp_path, "train/run/a.mp4", "train/run/b.mov", "train/sit/a.AVI", "test/run/a.mp4", "test/sit/c/img_00001.jpg")
    listing = read_folder(str(tmp_path))
    assert listing.classes == ("run", "sit")
    assert listing.splits[1].train == ("train/run/a", "train/run/b", "train/sit/a")
    assert listing.splits[1].test == ("test/run/a", "test/sit/c")
    labels = {clip.name: clip.label for clip in listing.clips}
    assert labels["train/run/a"] == labels["test/run/a"] == "run"
    assert {clip.path for clip in listing.clips if clip.name == "train/sit/a"} == {str(tmp_path / "train/sit/a.AVI")}
    assert all(clip.group == clip.name for clip in listing.clips)


@pytest.mark.parametrize(
    "clips, fraction, tests", [(10, 0.05, 1), (10, 0.2, 2), (10, 0.95, 9), (2, 0.05, 1), (2, 0.95, 1)]
)
def test_drawn_split(drawn, clips, fraction, tests):
    for path in [path for path in drawn.glob("*/*") if int(path.stem[-1]) >= clips]:
        path.unlink()
    listing = read_folder(str(drawn), test_fraction=fraction)
    split = listing.splits[1]
    assert sorted(split.train + split.test) == [clip.name for clip in listing.clips]
    for label in ("run", "sit"):
        assert sum(name.startswith(label) for name in split.test) == tests


def test_the_only_clip_of_a_class_trains(drawn):
    listing = read_folder(str(put(drawn, "fly/a.mp4")))
    assert "fly/a" in listing.splits[1].train and {name[:3] for name in listing.splits[1].test} == {"run", "sit"}


@pytest.mark.parametrize("side", ["train", "test"])
def test_one_side_alone(tmp_path, side):
    """A set that is only tested on, or one whose test comes later; the other folder may be there, empty."""
    listing = read_folder(str(put(tmp_path, f"{side}/run/a.mp4", f"{side}/sit/a.mp4")))
    assert listing.splits[1]._asdict() == {"train": (), "test": (), side: (f"{side}/run/a", f"{side}/sit/a")}
    (tmp_path / ("test" if side == "train" else "train")).mkdir()
    assert read_folder(str(tmp_path)).splits == listing.splits


def test_draw_moves_few_when_a_video_comes_and_grows_with_the_fraction(drawn):
    before = set(read_folder(str(drawn)).splits[1].test)
    larger = read_folder(str(drawn), test_fraction=0.4).splits[1].test
    after = set(read_folder(str(put(drawn, "run/new.mp4"))).splits[1].test)
    assert before < set(larger) and len(before - after) <= 1
    assert {name for name in before if name.startswith("sit")} <= after


def test_other_and_hidden_files_are_no_videos(drawn):
    before = read_folder(str(drawn))
    put(drawn, "run/notes.txt", "run/.clip 1.mp4", "run/._clip 2.mp4", ".cache/run/a.mp4", ".Trash/a.mp4", "a.mp4")
    put(drawn, "run/folder.mp4/notes.txt")
    (drawn / "empty").mkdir()
    listing = read_folder(str(drawn))
    assert (listing.classes, listing.clips, listing.splits) == (before.classes, before.clips, before.splits)
    counted = {"hidden": 4, ".txt": 2, "empty folder": 1, "outside the folders of classes": 1}
    assert listing.unused == counted and before.unused == {} and before.notes == ()
    assert listing.notes == ("Not recognised: 4 hidden, 2 .txt, 1 empty folder, 1 outside the folders of classes.",)


def test_a_class_is_the_first_folder_however_deep_its_videos_lie(tmp_path):
    put(tmp_path, "run/2024/may/a.mp4", "run/2024/june/a.MTS", "run/b.mp4", "sit/x/y/z/img_00001.png", "sit/c.3gp")
    labels = {clip.name: clip.label for clip in read_folder(str(tmp_path)).clips}
    assert labels == {
        "run/2024/may/a": "run",
        "run/2024/june/a": "run",
        "run/b": "run",
        "sit/x/y/z": "sit",
        "sit/c": "sit",
    }


def test_name_that_is_not_utf8(tmp_path):
    put(tmp_path, "run/a.mp4")
    try:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), b"run", b"gr\xf6sser.mp4"), os.O_CREAT))
    except OSError:
        pytest.skip("this file system knows no such name")
    with pytest.raises(UserError, match=r"gr\\udcf6sser\.mp4' has a name that is not UTF-8: rename it"):
        read_folder(str(tmp_path))


BAD = [
    (["run/a.avi", "run/a.mp4", "run/b.mp4"], r"a\.mp4 and .*a\.avi differ in their suffix only"),
    (["train/run/a.mp4", "val/run/b.mp4"], "has train/ and val/, but not test/: .* rename train/"),
    (["test/run/a.mp4", "run/a.mp4"], "has test/ and run/, but not train/: .* rename test/"),
    *(
        ([*names], r"--video_dir=.* has no video in folders named by class")
        for names in (["a.mp4"], ["run/notes.txt"], ["train/a.mp4", "test/b.mp4"])
    ),
]


@pytest.mark.parametrize("names, reason", BAD)
def test_bad_folder(tmp_path, names, reason):
    put(tmp_path, *names)
    with pytest.raises(UserError, match=reason):
        read_folder(str(tmp_path))
