import os

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_folder, read_listing
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
    put(tmp_path, "train/run/a.mp4", "train/run/b.mov", "train/sit/a.AVI", "test/run/a.mp4", "test/sit/c.webm")
    listing = read_folder(str(tmp_path))
    assert listing.classes == ("run", "sit")
    assert listing.splits[1].train == ("train/run/a", "train/run/b", "train/sit/a")
    assert listing.splits[1].test == ("test/run/a", "test/sit/c")
    labels = {clip.name: clip.label for clip in listing.clips}
    assert labels["train/run/a"] == labels["test/run/a"] == "run"
    assert {clip.path for clip in listing.clips if clip.name == "train/sit/a"} == {str(tmp_path / "train/sit/a.AVI")}
    assert all(clip.group == clip.name for clip in listing.clips)


@pytest.mark.parametrize("fraction, tests", [(0.05, 1), (0.2, 2), (0.5, 5), (0.95, 9)])
def test_drawn_split(drawn, fraction, tests):
    listing = read_folder(str(drawn), test_fraction=fraction)
    split = listing.splits[1]
    assert set(split.train) | set(split.test) == {clip.name for clip in listing.clips}
    assert not set(split.train) & set(split.test)
    for label in ("run", "sit"):
        assert sum(name.startswith(label) for name in split.test) == tests


def test_draw_is_reproducible_and_moves_few_when_a_video_comes(drawn):
    before = read_folder(str(drawn)).splits[1]
    assert read_folder(str(drawn)).splits[1] == before
    after = read_folder(str(put(drawn, "run/new.mp4"))).splits[1]
    assert len(set(before.test) - set(after.test)) <= 1
    assert {name for name in before.test if name.startswith("sit")} <= set(after.test)


def test_draw_does_not_depend_on_the_place(drawn, tmp_path_factory):
    other = put(tmp_path_factory.mktemp("other"), *(f"run/clip {n}.mp4" for n in range(10)), "sit/a.mp4", "sit/b.mp4")
    draws = [read_folder(str(root), ("run",)).splits[1].test for root in (drawn, other)]
    assert draws[0] == draws[1]


def test_draw_grows_with_the_fraction(drawn):
    smaller, larger = (set(read_folder(str(drawn), test_fraction=share).splits[1].test) for share in (0.2, 0.4))
    assert smaller < larger


def test_fraction_through_the_config(drawn):
    config = DataConfig(dataset="folder", video_dir=str(drawn), test_fraction=0.4, classes=("sit",))
    listing = read_listing(config)
    assert listing.classes == ("sit",)
    assert len(listing.splits[1].test) == 4


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


def test_folders_of_frames_alone(tmp_path):
    put(tmp_path, *(f"{side}/{label}/{n}/img_00001.jpg" for side in ("train", "test") for label in "ab" for n in "12"))
    listing = read_folder(str(tmp_path))
    assert listing.classes == ("a", "b") and listing.splits[1].test == ("test/a/1", "test/a/2", "test/b/1", "test/b/2")


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


def test_two_files_that_differ_in_suffix_only(tmp_path):
    put(tmp_path, "run/a.avi", "run/a.mp4", "run/b.mp4")
    with pytest.raises(UserError, match=r"a\.mp4 and .*a\.avi differ in their suffix only: rename"):
        read_folder(str(tmp_path))


def test_class_of_one_video_cannot_be_split(tmp_path):
    put(tmp_path, "run/a.mp4", "run/b.mp4", "sit/a.mp4")
    with pytest.raises(UserError, match="Class sit has one video, which cannot both train and test"):
        read_folder(str(tmp_path))
    assert len(read_folder(str(tmp_path), ("run",)).clips) == 2


def test_class_of_two_videos_has_one_on_each_side(tmp_path):
    put(tmp_path, "run/a.mp4", "run/b.mp4")
    for fraction in (0.05, 0.5, 0.95):
        split = read_folder(str(tmp_path), test_fraction=fraction).splits[1]
        assert len(split.train) == len(split.test) == 1


@pytest.mark.parametrize("side, other", [("train", "test"), ("test", "train")])
def test_one_side_alone(tmp_path, side, other):
    put(tmp_path, f"{side}/run/a.mp4")
    with pytest.raises(UserError, match=f"has one of train/ and test/ but not {other}/"):
        read_folder(str(tmp_path))


@pytest.mark.parametrize("names", [["a.mp4"], ["run/notes.txt"], ["train/a.mp4", "test/b.mp4"], ["run/deeper/a.mp4"]])
def test_folder_without_a_video_in_the_right_place(tmp_path, names):
    put(tmp_path, *names)
    with pytest.raises(UserError, match=r"--video_dir=.* has no video in folders named by class: .*\.mp4"):
        read_folder(str(tmp_path))
