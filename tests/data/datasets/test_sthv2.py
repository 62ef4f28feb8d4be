import json

import pytest

from ccsn_tf.data.datasets.sthv2 import read_sthv2
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
