import json

import pytest
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing, read_sthv2
from ccsn_tf.data.datasets.sthv2 import MIRRORED
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.errors import UserError

# The published numbers of the six classes that a mirror exchanges; the others' names do not matter here.
PAIRED = {
    86: "Pulling something from left to right",
    87: "Pulling something from right to left",
    93: "Pushing something from left to right",
    94: "Pushing something from right to left",
    166: "Turning the camera left while filming something",
    167: "Turning the camera right while filming something",
}
NAMES = [PAIRED.get(number, f"Doing {number} to something, then not") for number in range(174)]
OLD, NEW = "something-something-v2-{}.json", "{}.json"
FEW = (NAMES[0], NAMES[87], NAMES[86])


def entry(name, label):
    return {
        "id": str(name),
        "label": label.replace("something", "a cup", 1).lower(),
        "template": label.replace("something", "[something]", 1),
        "placeholders": ["a cup"],
    }


def write_lists(folder, train, validation, names=NAMES, pattern=NEW):
    """The publisher's lists; `train` and `validation` are {id: label number}."""
    folder.mkdir(exist_ok=True)
    contents = {
        "labels": {name: str(number) for number, name in sorted(enumerate(names), key=lambda pair: pair[1])},
        "train": [entry(name, names[label]) for name, label in train.items()],
        "validation": [entry(name, names[label]) for name, label in validation.items()],
        "test": [{"id": "990"}],
    }
    for name, content in contents.items():
        (folder / pattern.format(name)).write_text(json.dumps(content))
    return folder


@pytest.fixture
def root(tmp_path):
    """All 174 classes, a training and a validation clip each. Empty files are enough: the reader opens no video."""
    (tmp_path / "videos").mkdir()
    for name in range(348):
        (tmp_path / "videos" / f"{name}.webm").touch()
    write_lists(tmp_path / "lists", {n: n for n in range(174)}, {174 + n: n for n in range(174)})
    return tmp_path


def read(root, classes=()):
    return read_sthv2(str(root / "videos"), str(root / "lists"), classes)


def rewrite(root, name, change):
    path = root / "lists" / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content)))


def test_labels_are_the_published_numbers(root):
    listing = read(root)
    assert listing.classes == tuple(NAMES)
    for number, name in PAIRED.items():
        assert listing.classes.index(name) == number
    labels = {clip.name: listing.classes.index(clip.label) for clip in listing.clips}
    assert labels == {str(name): name % 174 for name in range(348)}
    assert {clip.path for clip in listing.clips} == {str(root / "videos" / f"{name}.webm") for name in range(348)}
    assert all(clip.group == clip.name for clip in listing.clips)


def test_mirrored_classes_are_86_and_87_93_and_94_166_and_167(root):
    listing = read(root)
    index = listing.classes.index
    assert {index(a): index(b) for a, b in listing.mirrored.items()} == {
        86: 87,
        87: 86,
        93: 94,
        94: 93,
        166: 167,
        167: 166,
    }
    assert {name for pair in MIRRORED for name in pair} == set(PAIRED.values())


def test_validation_list_tests_and_test_list_does_not_count(root):
    split = read(root).splits
    assert set(split) == {1}
    assert split[1].train == tuple(map(str, range(174))) and split[1].test == tuple(map(str, range(174, 348)))


def test_both_names_of_the_lists(root):
    plain = read(root)
    for name in ("labels", "train", "validation", "test"):
        (root / "lists" / NEW.format(name)).rename(root / "lists" / OLD.format(name))
    assert read(root) == plain


def test_through_the_config_with_chosen_classes_of_odd_names(root):
    folders = {"video_dir": str(root / "videos"), "split_dir": str(root / "lists")}
    listing = read_listing(DataConfig(dataset="sthv2", classes=FEW, **folders))
    assert listing.classes == FEW and "," in FEW[0]
    assert [clip.name for clip in listing.clips] == ["0", "174", "260", "261", "86", "87"]
    assert listing.mirrored[FEW[1]] == FEW[2]


def test_mp4_files_folders_of_frames_and_absent_ones(root):
    (root / "videos" / "5.webm").rename(root / "videos" / "5.mp4")
    for name in (6, 7):
        (root / "videos" / f"{name}.webm").unlink()
    (root / "videos" / "6").mkdir()
    (root / "videos" / "8").mkdir()  # beside the video, which comes first
    listing = read(root)
    paths = {clip.name: clip.path for clip in listing.clips}
    assert [paths[name] for name in "568"] == [str(root / "videos" / name) for name in ("5.mp4", "6", "8.webm")]
    ((name, reason),) = listing.absent
    assert name == "7" and listing.absent_labels == {"7": NAMES[7]} and "7" in listing.splits[1].train
    assert reason == f"{root / 'videos' / '7'}.webm (or .mp4) is named in train.json but does not exist."


def test_two_videos_of_one_id(root):
    (root / "videos" / "5.mp4").touch()
    with pytest.raises(UserError, match=r"5\.(webm|mp4) and .*5\.(webm|mp4) differ in their suffix only: remove one"):
        read(root)


def test_marks_and_numbers_in_place_of_texts(root):
    plain = read(root)
    for path in (root / "lists").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    rewrite_marked = json.loads((root / "lists" / "labels.json").read_text(encoding="utf-8-sig"))
    (root / "lists" / "labels.json").write_text(json.dumps({name: int(n) for name, n in rewrite_marked.items()}))
    assert read(root) == plain


BAD = {
    "no template": (
        "train.json",
        lambda list: [*list, {"id": "7"}],
        r"train\.json, entry 175: expected an id and a tem",
    ),
    "no dict": ("validation.json", lambda list: ["7", *list], r"validation\.json, entry 1: expected an id and a temp"),
    "unknown": (
        "train.json",
        lambda list: [*list, entry(7, "Flying")],
        r"train\.json, entry 175: 'Flying' is not in lab",
    ),
    "twice": ("train.json", lambda list: [*list, list[3]], r"train\.json names 3 twice: remove one of the two"),
    "both": (
        "validation.json",
        lambda list: [*list, entry(3, NAMES[0])],
        r"validation\.json names 3, which train\.json",
    ),
    "a dict": (
        "train.json",
        lambda list: {"3": "x"},
        r"train\.json is not such a list: --split_dir must hold Something",
    ),
    "empty": ("validation.json", lambda list: [], r"validation\.json is not such a list"),
    "no number": ("labels.json", lambda labels: {**labels, NAMES[3]: "three"}, r"labels\.json must give a number"),
    "from one": ("labels.json", lambda labels: {n: str(int(k) + 1) for n, k in labels.items()}, r"from 0 to 173, each"),
    "a number twice": ("labels.json", lambda labels: {**labels, NAMES[3]: "4"}, r"labels\.json must number its 174 cl"),
}


@pytest.mark.parametrize("name, change, reason", BAD.values(), ids=BAD)
def test_bad_list(root, name, change, reason):
    rewrite(root, name, change)
    with pytest.raises(UserError, match=reason) as caught:
        read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["labels", "train", "validation"])
def test_list_that_is_absent_or_damaged(root, name):
    path = root / "lists" / f"{name}.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(
        UserError, match=rf"{name}\.json is no JSON \(.*\): --split_dir must hold .* as they were publi"
    ):
        read(root)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=rf"{name}\.json is not a text file in UTF-8"):
        read(root)
    path.unlink()
    with pytest.raises(
        UserError, match=rf"{name}\.json does not exist, nor does something-something-v2-{name}\.json: "
    ):
        read(root)


def test_class_without_a_video(root):
    for name in (9, 183):
        (root / "videos" / f"{name}.webm").unlink()
    with pytest.raises(
        UserError, match=r"No clip of class Doing 9 to something, then not was found \(1 of 174 classes\)"
    ):
        read(root)


def test_real_videos_to_records_and_back(tmp_path):
    """Two WebM files, an MP4 and a damaged one: what is skipped counts for its class, which its name does not tell."""
    (tmp_path / "videos").mkdir()
    for name, suffix in ((11, "webm"), (12, "mp4"), (13, "webm")):
        write_video(tmp_path / "videos" / f"{name}.{suffix}", moving(8, seed=name))
    (tmp_path / "videos" / "14.webm").write_bytes(b"\x1a\x45\xdf\xa3")
    write_lists(tmp_path / "lists", {11: 0, 12: 1, 14: 1, 15: 0}, {13: 0}, names=FEW)
    config = DataConfig(
        dataset="sthv2",
        video_dir=str(tmp_path / "videos"),
        split_dir=str(tmp_path / "lists"),
        record_dir=str(tmp_path / "records"),
        classes=FEW[:2],
        workers=1,
    )
    prepare(config, 5)
    manifest = Manifest.read(config.record_dir)
    assert [(clip.name, clip.label) for clip in manifest.clips] == [("11", FEW[0]), ("12", FEW[1]), ("13", FEW[0])]
    assert manifest.skipped.keys() == {"14", "15"}
    assert manifest.skipped_labels == {"14": FEW[1], "15": FEW[0]}
    assert manifest.count_skipped(1, "train", FEW[:2]) == 2
    assert manifest.count_skipped(1, "train", FEW[:1]) == manifest.count_skipped(1, "train", FEW[1:2]) == 1
    assert manifest.mirrored == {FEW[1]: FEW[2], FEW[2]: FEW[1]}
