import json

import pytest
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.sthv2 import read_sthv2
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.errors import UserError

# The published numbers of the six classes that a mirror exchanges; the others' names do not matter here.
PAIRED = {86: "Pulling something from left to right", 87: "Pulling something from right to left"}
PAIRED |= {number + 7: name.replace("Pull", "Push") for number, name in PAIRED.items()}
PAIRED |= {166 + n: f"Turning the camera {side} while filming something" for n, side in enumerate(("left", "right"))}
NAMES = [PAIRED.get(number, f"Doing {number} to something, then not") for number in range(174)]
FEW = (NAMES[0], NAMES[87], NAMES[86])


def entry(name, label):
    return {
        "id": str(name),
        "label": label.replace("something", "a cup", 1).lower(),
        "template": label.replace("something", "[something]", 1),
        "placeholders": ["a cup"],
    }


def write_lists(folder, train, validation, names=NAMES):
    """The publisher's lists; `train` and `validation` are {id: label number}."""
    folder.mkdir()
    contents = {
        "labels": {name: str(number) for number, name in sorted(enumerate(names), key=lambda pair: pair[1])},
        "train": [entry(name, names[label]) for name, label in train.items()],
        "validation": [entry(name, names[label]) for name, label in validation.items()],
        "test": [{"id": "990"}],
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def write_set(root, names):
    """A training and a validation clip a class, by the classes' numbers. Empty files: the reader opens no video."""
    (root / "videos").mkdir()
    for name in range(2 * len(names)):
        (root / "videos" / f"{name}.webm").touch()
    numbers = range(len(names))
    write_lists(root / "lists", {n: n for n in numbers}, {len(names) + n: n for n in numbers}, names)
    return root


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path, FEW)


def read(root, classes=()):
    return read_sthv2(str(root / "videos"), str(root / "lists"), classes)


def rewrite(root, name, change):
    path = root / "lists" / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content)))


def test_labels_and_mirrored_pairs_are_those_of_the_published_numbers(tmp_path):
    listing = read(write_set(tmp_path, NAMES))
    assert listing.classes == tuple(NAMES)
    index = listing.classes.index
    assert {clip.name: index(clip.label) for clip in listing.clips} == {str(name): name % 174 for name in range(348)}
    pairs = {86: 87, 93: 94, 166: 167}
    both = {**pairs, **{b: a for a, b in pairs.items()}}
    assert {index(a): index(b) for a, b in listing.mirrored.items()} == both


def test_both_names_of_the_lists_and_numbers_in_place_of_texts(root):
    plain = read(root)
    rewrite(root, "labels.json", lambda labels: {name: int(number) for name, number in labels.items()})
    for path in list((root / "lists").iterdir()):
        path.rename(path.with_name(f"something-something-v2-{path.name}"))
    assert read(root) == plain


def test_chosen_classes_of_odd_names_and_their_mirror_images(root):
    listing = read(root, FEW[:2])
    assert listing.classes == FEW[:2] and "," in FEW[0]
    assert [clip.name for clip in listing.clips] == ["0", "1", "3", "4"]
    assert listing.mirrored[FEW[1]] == FEW[2]  # though it is not chosen


def test_mp4_files_and_two_videos_of_one_id(root):
    (root / "videos" / "5.webm").rename(root / "videos" / "5.mp4")
    (root / "videos" / "5").mkdir()  # beside the video, which comes first
    assert str(root / "videos" / "5.mp4") in {clip.path for clip in read(root).clips}
    (root / "videos" / "5.webm").touch()
    with pytest.raises(UserError, match=r"5\.\w+ and 5\.\w+ differ in their suffix only"):
        read(root)


BAD = {
    "no template": ("train", lambda entries: [*entries, {"id": "7"}], "entry 4: expected an id and a template"),
    "no dict": ("validation", lambda entries: ["7", *entries], "entry 1: expected an id and a template"),
    "unknown": ("train", lambda entries: [*entries, entry(7, "Flying")], "entry 4: 'Flying' is not in labels"),
    "a dict": ("train", lambda entries: {"3": "x"}, "is no such list: --split_dir"),
    "empty": ("validation", lambda entries: [], "is no such list: --split_dir"),
    "no number": ("labels", lambda labels: {**labels, FEW[1]: "two"}, "from 0 to 2"),
    "from one": ("labels", lambda labels: {name: str(int(n) + 1) for name, n in labels.items()}, "from 0 to 2"),
    "a number twice": ("labels", lambda labels: {**labels, FEW[1]: "2"}, "from 0 to 2"),
}


@pytest.mark.parametrize("name, change, reason", BAD.values(), ids=BAD)
def test_bad_list(root, name, change, reason):
    rewrite(root, f"{name}.json", change)
    with pytest.raises(UserError, match=rf"{name}\.json.* {reason}"):
        read(root)


@pytest.mark.parametrize("name", ["labels", "train", "validation"])
def test_list_that_is_damaged_or_absent(root, name):
    path = root / "lists" / f"{name}.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UserError, match=rf"{name}\.json is no such list: --split_dir"):
        read(root)
    path.unlink()
    with pytest.raises(UserError, match=rf"{name}\.json cannot be read .*: --split_dir .*something-something-v2-"):
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
    manifest = prepare(config, 5)
    assert [(clip.name, clip.label) for clip in manifest.clips] == [("11", FEW[0]), ("12", FEW[1]), ("13", FEW[0])]
    assert manifest.skipped.keys() == manifest.skipped_labels.keys()
    assert manifest.skipped_labels == {"14": FEW[1], "15": FEW[0]}
    assert manifest.count_skipped(1, "train", FEW[:2]) == 2
    assert manifest.count_skipped(1, "train", FEW[:1]) == manifest.count_skipped(1, "train", FEW[1:2]) == 1
    assert manifest.mirrored == {FEW[1]: FEW[2], FEW[2]: FEW[1]}
