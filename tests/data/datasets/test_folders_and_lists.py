"""Videos of one's own, by folder and by list."""

import os

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.errors import UserError


def read_folder(root, **settings):
    return read_listing(DataConfig(dataset="folder", video_dir=str(root), **settings))


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
    listing = read_folder(tmp_path)
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
    listing = read_folder(drawn, test_fraction=fraction)
    split = listing.splits[1]
    assert sorted(split.train + split.test) == [clip.name for clip in listing.clips]
    for label in ("run", "sit"):
        assert sum(name.startswith(label) for name in split.test) == tests


def test_the_only_clip_of_a_class_trains(drawn):
    listing = read_folder(put(drawn, "fly/a.mp4"))
    assert "fly/a" in listing.splits[1].train and {name[:3] for name in listing.splits[1].test} == {"run", "sit"}


@pytest.mark.parametrize("side", ["train", "test"])
def test_one_side_alone(tmp_path, side):
    """A set that is only tested on, or one whose test comes later; the other folder may be there, empty."""
    listing = read_folder(put(tmp_path, f"{side}/run/a.mp4", f"{side}/sit/a.mp4"))
    assert listing.splits[1]._asdict() == {"train": (), "test": (), side: (f"{side}/run/a", f"{side}/sit/a")}
    (tmp_path / ("test" if side == "train" else "train")).mkdir()
    assert read_folder(tmp_path).splits == listing.splits


def test_draw_moves_few_when_a_video_comes_and_grows_with_the_fraction(drawn):
    before = set(read_folder(drawn).splits[1].test)
    larger = read_folder(drawn, test_fraction=0.4).splits[1].test
    after = set(read_folder(put(drawn, "run/new.mp4")).splits[1].test)
    assert before < set(larger) and len(before - after) <= 1
    assert {name for name in before if name.startswith("sit")} <= after


def test_other_and_hidden_files_are_no_videos(drawn):
    before = read_folder(drawn)
    put(drawn, "run/notes.txt", "run/.clip 1.mp4", "run/._clip 2.mp4", ".cache/run/a.mp4", ".Trash/a.mp4", "a.mp4")
    put(drawn, "run/folder.mp4/notes.txt")
    (drawn / "empty").mkdir()
    listing = read_folder(drawn)
    assert (listing.classes, listing.clips, listing.splits) == (before.classes, before.clips, before.splits)
    counted = {"hidden": 4, ".txt": 2, "empty folder": 1, "outside the folders of classes": 1}
    assert listing.unused == counted and before.unused == {} and before.notes == ()
    assert listing.notes == ("Not recognised: 4 hidden, 2 .txt, 1 empty folder, 1 outside the folders of classes.",)


def test_a_class_is_the_first_folder_however_deep_its_videos_lie(tmp_path):
    put(tmp_path, "run/2024/may/a.mp4", "run/2024/june/a.MTS", "run/b.mp4", "sit/x/y/z/img_00001.png", "sit/c.3gp")
    labels = {clip.name: clip.label for clip in read_folder(tmp_path).clips}
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
        read_folder(tmp_path)


BAD_FOLDERS = [
    (["run/a.avi", "run/a.mp4", "run/b.mp4"], r"a\.mp4 and .*a\.avi differ in their suffix only"),
    (["train/run/a.mp4", "val/run/b.mp4"], "has train/ and val/, but not test/: .* rename train/"),
    (["test/run/a.mp4", "run/a.mp4"], "has test/ and run/, but not train/: .* rename test/"),
    *(
        ([*names], r"--video_dir=.* has no video in folders named by class")
        for names in (["a.mp4"], ["run/notes.txt"], ["train/a.mp4", "test/b.mp4"])
    ),
]


@pytest.mark.parametrize("names, reason", BAD_FOLDERS)
def test_bad_folder(tmp_path, names, reason):
    put(tmp_path, *names)
    with pytest.raises(UserError, match=reason):
        read_folder(tmp_path)


# Lists

TRAIN = ["run/a.mp4 run", "run/b 2.mov run", "sit/größer 走.avi sit", "sit/#1 (2).webm sit"]
TEST = ["run/c.mp4 run", "sit/d.mp4 sit"]


@pytest.fixture
def root(tmp_path):
    """Empty files are enough: the reader opens no video."""
    for line in TRAIN + TEST:
        path = tmp_path / "videos" / line.rsplit(" ", 1)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    put_lists(tmp_path, TRAIN, TEST)
    (tmp_path / "classes.txt").write_text("run\nsit\n")
    return tmp_path


def put_lists(root, train, test=TEST):
    (root / "train.txt").write_text("".join(f"{line}\n" for line in train))
    (root / "test.txt").write_text("".join(f"{line}\n" for line in test))


def read(root, test_list=True, class_file=False, **options):
    lists = {"train_list": str(root / "train.txt")}
    lists |= {"test_list": str(root / "test.txt")} if test_list else {}
    lists |= {"class_file": str(root / "classes.txt")} if class_file else {}
    return read_listing(DataConfig(dataset="list", video_dir=str(root / "videos"), **lists, **options))


def numbered(lines, run, sit, count=""):
    """The lines with the labels `run` and `sit` in place of the names, and a number of frames before them."""
    return [f"{line.rsplit(' ', 1)[0]} {count} {run if line.endswith('run') else sit}" for line in lines]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: numbered(lines, 0, 1),
        lambda lines: numbered(lines, "run", "sit", "300"),
        lambda lines: numbered(lines, "0", "1", "\t300\t"),
        lambda lines: ["#", "# path label", *lines, "# x"],
        lambda lines: [line[::-1].replace(" ", ",", 1)[::-1] for line in lines],
        lambda lines: [line[::-1].replace(" ", " ,003,", 1)[::-1] for line in lines],
        lambda lines: [f'"{line[:-4]}",{line[-3:]}' for line in lines],
        lambda lines: [f"'{line[:-4]}' {line[-3:]}" for line in lines],
        lambda lines: [f'{line[:-4]} "{line[-3:]}"' for line in lines],
        lambda lines: [line.replace("/", "\\").replace("mp4", "avi").replace("mov", "MOV") for line in lines],
    ],
    ids=["numbers", "frames counted", "by tabs", "comments", "commas", "commas, frames counted"]
    + ["quotes, commas", "quotes", "label in quotes", "backslashes, other suffixes"],
)
def test_the_same_lists_written_otherwise(root, change):
    plain = read(root)
    put_lists(root, change(TRAIN), change(TEST))
    assert read(root, class_file=True) == plain


@pytest.mark.parametrize("header", ["path,label", "Video_Path,Frames,Class ID", '"filename","action"', "name\tlabel"])
def test_a_line_of_column_names_is_left_out_and_said(root, header):
    plain = read(root)
    comma = "\t" if "\t" in header else ","
    lists = [[header, *(comma.join(line.rsplit(" ", 1)) for line in lines)] for lines in (TRAIN, TEST)]
    put_lists(root, *lists)
    listing = read(root, class_file=True)
    assert (listing.classes, listing.clips, listing.splits) == (plain.classes, plain.clips, plain.splits)
    assert [
        f"{name}.txt, line 1 names columns ({header})" in note
        for name, note in zip(("train", "test"), listing.notes, strict=True)
    ] == [True, True]
    put_lists(root, ["path label"] + TRAIN)  # a video of that name is a video
    (root / "videos" / "path.mp4").touch()
    assert "label" in read(root).classes


def test_numbers_without_a_class_file_are_the_names_in_their_order(root):
    put_lists(root, numbered(TRAIN, 9, 10), numbered(TEST, 9, 10))
    listing = read(root)
    assert listing.classes == ("9", "10")
    assert {clip.name: clip.label for clip in listing.clips}["sit/d"] == "10"


def test_labels_from_one_are_noticed_and_said(root):
    plain = read(root)
    put_lists(root, numbered(TRAIN, 1, 2), numbered(TEST, 1, 2))
    listing = read(root, class_file=True)
    assert (listing.classes, listing.clips, listing.splits) == (plain.classes, plain.clips, plain.splits)
    assert listing.notes == ("The labels run from 1 to 2, so that 1 is run, the first class.",)


def test_number_that_belongs_to_the_name(root):
    """Folders of frames may end in numbers, with and without a number of frames behind."""
    for name in ("take 1", "take 2", "12"):
        (root / "videos" / "run" / name).mkdir()
    put_lists(root, [*TRAIN, "run/take 1 run", "run/take 2 40 run", "run/12 run"])
    assert read(root).splits[1].train[4:] == ("run/take 1", "run/take 2", "run/12")
    put_lists(root, ["run/take 1 run", "run/take 2 run", "run/12 9 run", "sit/d.mp4 77 sit"], ["run/c.mp4 run"])
    assert read(root).splits[1].train == ("run/take 1", "run/take 2", "run/12", "sit/d")


def test_absent_clip_with_a_number_of_frames(root):
    put_lists(root, ["run/lost 40 run", "run/a.mp4 14 run", "sit/#1 (2).webm 9 sit"])
    assert dict(read(root).absent).keys() == {"run/lost"}
    put_lists(root, ["run/lost 40 run", "run/a.mp4 run", "sit/#1 (2).webm sit"])
    assert dict(read(root).absent).keys() == {"run/lost 40"}


def test_tab_before_a_label_of_several_words(root):
    put_lists(root, ["run/b 2.mov\trun away", "sit/d.mp4\tsit down"], ["run/c.mp4\trun away"])
    listing = read(root)
    assert listing.classes == ("run away", "sit down") and listing.splits[1].train == ("run/b 2", "sit/d")


def test_commas_of_names_and_labels(root):
    (root / "videos" / "run" / "first, then.mp4").touch()
    put_lists(root, [*TRAIN, "run/first, then.mp4 run"])
    assert "run/first, then" in read(root).splits[1].train
    put_lists(root, ['"run/first, then.mp4",run', "sit/d.mp4,sit down"], ["run/c.mp4,run"])
    listing = read(root)
    assert listing.classes == ("run", "sit down") and listing.splits[1].train == ("run/first, then", "sit/d")


def test_absolute_paths_and_no_video_dir(root, monkeypatch):
    outside = root / "elsewhere" / "e.mp4"
    outside.parent.mkdir()
    outside.touch()
    inside = root / "videos" / "run" / "a.mp4"
    put_lists(root, [f"{inside} run", f"{outside} sit"])
    clips = {clip.name: clip.path for clip in read(root).clips}
    assert clips["run/a"] == str(inside) and clips[str(outside.with_suffix(""))] == str(outside)
    monkeypatch.chdir(root / "videos")
    put_lists(root, TRAIN)
    listing = read_listing(DataConfig(dataset="list", train_list="../train.txt", test_list="../test.txt"))
    assert listing.splits == read(root).splits and all(os.path.isfile(clip.path) for clip in listing.clips)


def test_without_a_test_list_a_share_is_drawn(root):
    put_lists(root, [*TRAIN, *TEST, "run/lost.mp4 run"])
    split = read(root, test_list=False, test_fraction=0.4).splits[1]
    assert len(split.test) == 2 and len(split.train) == 5 and "run/lost" in split.train
    assert not set(split.train) & set(split.test)


TWICE = r"train\.txt, line \d names run/a, which .*train\.txt, line 1 "
BAD = {
    "one word": (["run/a.mp4"], r"train\.txt, line 1: expected '<path> <label>'"),
    "two labels": (["run/a.mp4 run", "# x", "run/a.mp4 sit"], TWICE),
    "twice, spelled": (["run/a.mp4 run", "run/../run/./a.mp4 run"], TWICE),
    "suffixes": (["run/a.mp4 run", "run/a.avi run"], TWICE),
    "empty": (["", "# nothing"], r"train\.txt is empty"),
    "unknown": (
        [*TRAIN, "run/a2.mp4 walk"],
        r"train\.txt, line 5: label walk is not one of .*classes\.txt's 2 classes",
    ),
}


@pytest.mark.parametrize("lines, reason", BAD.values(), ids=BAD)
def test_bad_list(root, lines, reason):
    put_lists(root, lines)
    with pytest.raises(UserError, match=reason):
        read(root, class_file=True)


@pytest.mark.parametrize("content, reason", [(b"", "is empty"), (b"run\nrun\n", "class run twice"), (b"\xff", "UTF-8")])
def test_bad_class_file(root, content, reason):
    (root / "classes.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"classes\.txt .*{reason}"):
        read(root, class_file=True)
