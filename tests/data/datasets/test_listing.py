"""What all readers of lists have in common: one small set, laid out for each of them."""

import dataclasses
import json
import pathlib

import pytest

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.errors import UserError

CLIPS = [
    ("train", "run", "a"),
    ("train", "run", "b"),
    ("test", "run", "c"),
    ("train", "sit", "d"),
    ("test", "sit", "e"),
]


def video(dataset, label, name):
    """Where a clip lies."""
    return f"{name}.webm" if dataset == "sthv2" else f"{label}/{name}.avi"


def write_lists(folder, dataset, clips=CLIPS):
    """The lists of `clips` as the data set has them; the classes are run and sit."""
    sides = {side: [clip[1:] for clip in clips if clip[0] == side] for side in ("train", "test")}
    paths = {side: [video(dataset, *clip) for clip in of_side] for side, of_side in sides.items()}
    entries = {
        side: json.dumps([{"id": name, "template": f"[{label}]"} for label, name in clips])
        for side, clips in sides.items()
    }
    texts = {
        "ucf101": {
            "classInd.txt": "1 run\n2 sit\n",
            "trainlist01.txt": "".join(f"{path} {1 + path.startswith('sit')}\n" for path in paths["train"]),
            "testlist01.txt": "".join(f"{path}\n" for path in paths["test"]),
        },
        "hmdb51": {
            f"{label}_test_split1.txt": "".join(
                f"{name}.avi {1 + (side == 'test')}\n" for side, of, name in clips if of == label
            )
            for label in ("run", "sit")
        },
        "sthv2": {
            "labels.json": json.dumps({"sit": "1", "run": "0"}),
            "train.json": entries["train"],
            "validation.json": entries["test"],
        },
        "list": {
            f"{side}.txt": "".join(f"{path} {path.split('/')[0]}\n" for path in of_side)
            for side, of_side in paths.items()
        },
    }
    folder.mkdir(exist_ok=True)
    for name, text in texts[dataset].items():
        (folder / name).write_text(text)


@pytest.fixture(params=["ucf101", "hmdb51", "sthv2", "list"])
def config(request, tmp_path):
    """Empty files are enough: no reader opens a video."""
    for _, label, name in CLIPS:
        path = tmp_path / "videos" / video(request.param, label, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lists = tmp_path / "lists"
    write_lists(lists, request.param)
    own = {"train_list": str(lists / "train.txt"), "test_list": str(lists / "test.txt")}
    folders = own if request.param == "list" else {"split_dir": str(lists)}
    return DataConfig(dataset=request.param, video_dir=str(tmp_path / "videos"), **folders)


def place_of(config, label, name):
    return pathlib.Path(config.video_dir, video(config.dataset, label, name))


def name_of(config, label, name):
    return name if config.dataset == "sthv2" else f"{label}/{name}"


def test_clips_classes_and_split(config):
    listing = read_listing(config)
    assert listing.classes == ("run", "sit") and set(listing.splits) == {1}
    names = {side: tuple(name_of(config, *clip[1:]) for clip in CLIPS if clip[0] == side) for side in ("train", "test")}
    assert listing.splits[1]._asdict() == names
    seen = [(clip.name, clip.path, clip.label, clip.group) for clip in listing.clips]
    expected = [(name_of(config, *clip), str(place_of(config, *clip)), clip[0]) for _, *clip in CLIPS]
    assert seen == [(*clip, clip[0]) for clip in expected]  # a group of its own where the name tells none
    assert listing.absent == () and listing.mirrored == {} and listing.notes == ()


def test_chosen_classes_in_their_order(config):
    assert read_listing(dataclasses.replace(config, classes=("sit", "run"))).classes == ("sit", "run")
    listing = read_listing(dataclasses.replace(config, classes=("sit",)))
    assert {clip.label for clip in listing.clips} == {"sit"} and len(listing.splits[1].train) == 1
    for classes, reason in ((("sit", "fly"), "fly"), (("sit", "sit"), "twice")):
        with pytest.raises(UserError, match=f"--classes names .*{reason}"):
            read_listing(dataclasses.replace(config, classes=classes))


def test_clip_that_is_not_there_is_listed_with_its_class(config):
    place_of(config, "run", "b").unlink()
    listing, name = read_listing(config), name_of(config, "run", "b")
    ((absent, reason),) = listing.absent
    assert absent == name and listing.absent_labels == {name: "run"} and len(listing.clips) == 4
    assert reason.startswith(f"{place_of(config, 'run', 'b')} is named in ") and "does not exist" in reason
    assert name in listing.splits[1].train  # the split stays as published


def test_class_without_a_video(config):
    for name in "de":
        place_of(config, "sit", name).unlink()
    with pytest.raises(UserError, match=r"class sit .*\(1 of 2 classes\).*--classes"):
        read_listing(config)
    assert len(read_listing(dataclasses.replace(config, classes=("run",))).clips) == 3


@pytest.mark.parametrize("flat", [False, True])
def test_folder_of_frames_in_place_of_a_video(config, flat):
    path = place_of(config, "run", "b")
    frames = pathlib.Path(config.video_dir, "b") if flat else path.with_suffix("")
    frames.mkdir()
    assert read_listing(config).clips[1].path == str(path)  # the video comes first
    path.unlink()
    listing = read_listing(config)
    assert listing.absent == () and listing.clips[1].path == str(frames)


@pytest.mark.parametrize("side", ["train", "test"])
def test_clip_listed_twice_or_on_both_sides(config, side, tmp_path):
    write_lists(tmp_path / "lists", config.dataset, [*CLIPS, (side, "run", "b")])
    name = name_of(config, "run", "b")
    with pytest.raises(UserError, match=rf"{tmp_path}\S+, (line|entry) \d names {name}, which {tmp_path}\S+, \w+ 2 "):
        read_listing(config)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_lists_of_other_encodings_and_with_old_line_ends(config, tmp_path, encoding):
    plain = read_listing(config)
    for path in (tmp_path / "lists").iterdir():
        path.write_bytes(path.read_text().replace("\n", "\r").encode(encoding))
    assert read_listing(config) == plain


@pytest.mark.parametrize("suffix", [".AVI", ".mts"])
def test_another_suffix_than_the_list_s(config, suffix):
    path = place_of(config, "run", "b")
    path.rename(path.with_suffix(suffix))
    listing = read_listing(config)
    assert listing.absent == () and listing.clips[1].path == str(path.with_suffix(suffix))
    path.with_suffix(".mov").touch()
    with pytest.raises(UserError, match=r"b\.\w+ and b\.\w+ differ in their suffix only"):
        read_listing(config)


def test_a_video_beside_the_class_folders_is_taken_where_its_name_is_the_only_one(config, tmp_path):
    """As TSN's tools leave frames, and archives unpacked flat: b is sit's too, c is not."""
    if config.dataset == "sthv2":
        pytest.skip("has no folders of classes")
    write_lists(tmp_path / "lists", config.dataset, [*CLIPS, ("train", "sit", "b")])
    for label, name in (("run", "b"), ("run", "c"), ("sit", "b")):
        place_of(config, label, name).unlink(missing_ok=True)
    for name in "bc":
        (tmp_path / "videos" / f"{name}.avi").touch()
    listing = read_listing(config)
    assert {name for name, _ in listing.absent} == {"run/b", "sit/b"}
    assert all(str(place_of(config, name[:3], "b")) in reason for name, reason in listing.absent)
    assert {clip.path for clip in listing.clips if clip.name == "run/c"} == {str(tmp_path / "videos" / "c.avi")}


def test_list_that_cannot_be_read(config, tmp_path):
    for path in (tmp_path / "lists").iterdir():
        content = path.read_bytes()
        path.write_bytes(b"\xff\xff\x00\x81")
        with pytest.raises(UserError, match=rf"{path.name} is not a text file"):
            read_listing(config)
        path.write_bytes(content)
    for path in (tmp_path / "lists").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"--(split_dir|train_list)"):
        read_listing(config)


def test_folders(config, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").touch()
    for flag in ("video_dir", "split_dir")[: 1 if config.dataset == "list" else 2]:
        for path, reason in (("absent", "not a folder"), ("file", "not a folder"), ("nothing", "empty")):
            with pytest.raises(UserError, match=f"--{flag}=.* is {reason}"):
                read_listing(dataclasses.replace(config, **{flag: str(tmp_path / path)}))
    if config.dataset != "list":
        with pytest.raises(UserError, match="--split_dir is not given"):
            read_listing(dataclasses.replace(config, split_dir=""))
