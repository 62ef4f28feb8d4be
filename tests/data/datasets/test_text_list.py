import os

import pytest

from ccsn_tf.data.datasets.text_list import read_text_list
from ccsn_tf.errors import UserError

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
    lists = [root / "train.txt", root / "test.txt" if test_list else "", root / "classes.txt" if class_file else ""]
    return read_text_list(str(root / "videos"), *map(str, lists), **options)


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
    listing = read_text_list("", "../train.txt", "../test.txt")
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
