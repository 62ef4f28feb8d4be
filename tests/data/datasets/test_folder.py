import os

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
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


def test_draw_moves_few_when_a_video_comes_and_grows_with_the_fraction(drawn):
    before = set(read_folder(str(drawn)).splits[1].test)
    larger = read_folder(str(drawn), test_fraction=0.4).splits[1].test
    after = set(read_folder(str(put(drawn, "run/new.mp4"))).splits[1].test)
    assert before < set(larger) and len(before - after) <= 1
    assert {name for name in before if name.startswith("sit")} <= after


def test_draw_depends_on_the_names_alone(drawn, tmp_path_factory):
    """Not on the place, nor on other classes."""
    other = put(tmp_path_factory.mktemp("other"), *(f"run/clip {n}.mp4" for n in range(10)))
    config = DataConfig(dataset="folder", video_dir=str(drawn), test_fraction=0.4, classes=("run",))
    assert read_listing(config).splits == read_folder(str(other), test_fraction=0.4).splits


def test_other_and_hidden_files_are_no_videos(drawn):
    before = read_folder(str(drawn))
    put(drawn, "run/notes.txt", "run/.clip 1.mp4", "run/._clip 2.mp4", ".cache/run/a.mp4", ".Trash/a.mp4", "a.mp4")
    put(drawn, "run/deeper/a.mp4")
    put(drawn, "run/folder.mp4/notes.txt")
    (drawn / "empty").mkdir()
    assert read_folder(str(drawn)) == before


def test_folders_of_frames_are_clips_too(drawn):
    before = read_folder(str(drawn), ("run",))
    put(drawn, "run/v1.2 of it/img_00001.jpg", "run/only flow/flow_x_00001.jpg", "run/clip 1/img_00001.jpg")
    (drawn / "run" / "lost").mkdir()
    listing = read_folder(str(drawn), ("run",))
    added = {clip.name: clip.path for clip in listing.clips} | {"run/clip 1": None}
    assert added.keys() - {clip.name for clip in before.clips} == {"run/v1.2 of it", "run/only flow", "run/lost"}
    assert added["run/v1.2 of it"] == str(drawn / "run" / "v1.2 of it")
    paths = {clip.path for clip in listing.clips}
    assert str(drawn / "run" / "clip 1.mp4") in paths and str(drawn / "run" / "clip 1") not in paths


def test_loops_of_links(drawn):
    before = read_folder(str(drawn))
    (drawn / "itself").symlink_to("itself")
    (drawn / "run" / "itself.mp4").symlink_to("itself.mp4")
    (drawn / "round").symlink_to(".")
    (drawn / "run" / "up").symlink_to("..")
    assert read_folder(str(drawn)) == before


def test_names_of_any_language_and_with_dots(tmp_path):
    put(tmp_path, "laufen/größer.v1.mp4", "laufen/größer.v2.mp4", "走/あ 1.mp4", "走/Recording at 1.00\u202fPM.mov")
    names = {clip.name for clip in read_folder(str(tmp_path)).clips}
    assert names == {"laufen/größer.v1", "laufen/größer.v2", "走/あ 1", "走/Recording at 1.00\u202fPM"}


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
    (["run/a.mp4", "run/b.mp4", "sit/a.mp4"], "Class sit has one video"),
    (["train/run/a.mp4"], "has one of train/ and test/ but not test/"),
    (["test/run/a.mp4"], "has one of train/ and test/ but not train/"),
    *(
        ([*names], r"--video_dir=.* has no video in folders named by class")
        for names in (["a.mp4"], ["run/notes.txt"], ["train/a.mp4", "test/b.mp4"], ["run/deeper/a.mp4"])
    ),
]


@pytest.mark.parametrize("names, reason", BAD)
def test_bad_folder(tmp_path, names, reason):
    put(tmp_path, *names)
    with pytest.raises(UserError, match=reason):
        read_folder(str(tmp_path))
