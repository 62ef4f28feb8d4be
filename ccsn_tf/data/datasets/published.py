"""UCF101, HMDB51 and Something-Something V2 with their official lists."""

import json
import pathlib
import re
from collections.abc import Iterator

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import (
    Entry,
    Listing,
    find_listed,
    read_lines,
    read_text,
    require_folder,
    select_classes,
)
from ccsn_tf.data.datasets.videos import VideoFinder, without_suffix
from ccsn_tf.errors import UserError

_UCF101_LISTS = "--split_dir must hold UCF101's lists"
_UCF101_TRAIN_LIST = re.compile(r"trainlist(\d+)\.txt")  # not copies and drafts of lists
_UCF101_GROUP = re.compile(r"_g(\d+)_c\d+$")

_HMDB51_LISTS = "--split_dir must hold HMDB51's lists, <class>_test_split<number>.txt"
_HMDB51_LIST = re.compile(r"(.+)_test_split(\d+)\.txt")
_HMDB51_SIDES = {"1": "train", "2": "test", "0": ""}  # 0: used by other splits, or by none
# <source>_<class>_<visible body>_<camera motion>_np<people>_<viewpoint>_<quality>_<number>
_HMDB51_ATTRIBUTES = re.compile(r"_[fuhl]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+$")

_STHV2_LISTS = (
    "--split_dir must hold Something-Something V2's lists as they were published: labels.json, train.json and "
    "validation.json, or something-something-v2-labels.json and so on"
)
# Classes that a mirror exchanges: labels 86 and 87, 93 and 94, 166 and 167 of the official labels.json.
_STHV2_MIRRORED = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)


def _folders(config):
    return require_folder(config.video_dir, "video_dir"), require_folder(config.split_dir, "split_dir")


def read_ucf101(config: DataConfig) -> Listing:
    """Reads <class>/v_<class>_gNN_cMM.avi, or folders of their frames, by UCF101's lists (Soomro et al., 2012).

    Every split found in `split_dir` is read (classInd.txt, trainlist0N.txt, testlist0N.txt); `classes` keeps some,
    in its order. Groups are the gNN of the names.

    Raises:
        UserError: a folder or list is missing, a line is malformed, or as `find_listed`.
    """
    videos, lists = _folders(config)
    official = _ucf101_classes(lists / "classInd.txt")
    kept = select_classes(tuple(official.values()), config.classes, "classInd.txt")
    entries = {}
    for path in sorted(lists.iterdir()):
        if matched := _UCF101_TRAIN_LIST.fullmatch(path.name):
            sides = {"train": path, "test": path.with_name(path.name.replace("train", "test"))}
            entries[int(matched[1])] = [e for side, of in sides.items() for e in _ucf101_entries(of, official, side)]
    if not entries:
        raise UserError(f"--split_dir={lists} has no trainlist01.txt: it must hold UCF101's lists.")
    return find_listed(kept, entries, videos)


def _ucf101_classes(path: pathlib.Path) -> dict[str, str]:
    index = {}
    for number, line in read_lines(path, _UCF101_LISTS):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdecimal() or fields[0] in index or fields[1] in index.values():
            raise UserError(f"{path}, line {number}: expected '<number> <class>', each once. Received: {line!r}.")
        index[fields[0]] = fields[1]
    return index


def _ucf101_entries(path: pathlib.Path, official: dict[str, str], side: str) -> Iterator[Entry]:
    for number, line in read_lines(path, _UCF101_LISTS):
        source = f"{path}, line {number}"
        video, *label = line.split(maxsplit=1)
        relative = pathlib.PurePosixPath(video)
        if len(relative.parts) != 2:
            raise UserError(f"{source}: expected '<class>/<video>'. Received: {line!r}.")
        folder = relative.parts[0]
        if folder not in official.values():
            raise UserError(f"{source}: class {folder} is not in classInd.txt.")
        if label and official.get(label[0]) != folder:
            raise UserError(f"{source}: label {label[0]} is not {folder}'s in classInd.txt (labels count from 1).")
        name = relative.with_suffix("").as_posix()
        group = _UCF101_GROUP.search(name)
        yield Entry(name, folder, group[1] if group else name, side, relative, source)


def read_hmdb51(config: DataConfig) -> Listing:
    """Reads <class>/<video>.avi, or folders of their frames, by HMDB51's lists (Kuehne et al., ICCV 2011).

    The classes are those of the lists, <class>_test_split<number>.txt, in alphabetical order; `classes` keeps some, in
    its order. Every split found in `split_dir` is read. Clips that no split uses are left out. HMDB51 names no groups;
    here a group is, by the names, what a class has from one source, a film as a rule. None of these 2,291 groups is on
    both sides of an official split. Sources do recur in other classes, there on other sides.

    Raises:
        UserError: a folder or list is missing, a line is malformed, or as `find_listed`.
    """
    videos, lists = _folders(config)
    found = [matched.groups() for path in lists.iterdir() if (matched := _HMDB51_LIST.fullmatch(path.name))]
    if not found:
        raise UserError(f"--split_dir={lists} has no such list: {_HMDB51_LISTS}.")
    kept = select_classes(tuple(sorted({label for label, _ in found})), config.classes, str(lists))
    entries = {
        int(number): [e for label in kept for e in _hmdb51_entries(lists / f"{label}_test_split{number}.txt", label)]
        for number in sorted({number for _, number in found}, key=int)
    }
    return find_listed(kept, entries, videos)


def _hmdb51_entries(path: pathlib.Path, label: str) -> Iterator[Entry]:
    for number, line in read_lines(path, _HMDB51_LISTS):
        video, side = (line.rsplit(maxsplit=1) + [""])[:2]
        if side not in _HMDB51_SIDES or "/" in video:
            raise UserError(f"{path}, line {number}: expected '<video> 0', 1 or 2. Received: {line!r}.")
        relative = pathlib.PurePosixPath(label, video)
        name = without_suffix(relative).as_posix()
        yield Entry(name, label, _hmdb51_group(name, label), _HMDB51_SIDES[side], relative, f"{path}, line {number}")


def _hmdb51_group(name: str, label: str) -> str:
    attributes = _HMDB51_ATTRIBUTES.search(name)
    if not attributes:
        return name
    return name[: attributes.start()].removeprefix(f"{label}/").removesuffix(f"_{label}")


def read_sthv2(config: DataConfig) -> Listing:
    """Reads <id>.webm or <id>.mp4, or folders of frames, by Something-Something V2's lists (Goyal et al., ICCV 2017).

    The validation list tests, as everywhere in the literature: the test list has no labels. Labels count as in
    labels.json; `classes` keeps some, in its order. The data set names no groups: every clip is its own. The split has
    the number 1.

    Raises:
        UserError: a folder or list is missing or malformed, or as `find_listed`.
    """
    videos, lists = _folders(config)
    path, index = _sthv2_list(lists, "labels", dict)
    by_number = {str(number): name for name, number in index.items()}
    official = tuple(by_number.get(str(number)) for number in range(len(index)))
    if None in official:
        raise UserError(f"{path} must number its classes from 0 to {len(index) - 1}, as in 'Closing something': '5'.")
    entries = [*_sthv2_entries(lists, "train", official, "train")]
    entries += _sthv2_entries(lists, "validation", official, "test")
    pairs = [pair for pair in _STHV2_MIRRORED if set(pair) <= set(official)]
    mirrored = {name: other for pair in pairs for name, other in (pair, pair[::-1])}
    kept = select_classes(official, config.classes, "labels.json")
    finder = VideoFinder(videos)  # the lists say nothing of suffixes
    return find_listed(kept, {1: entries}, videos, lambda path: finder.find(path.with_suffix("")), mirrored=mirrored)


def _sthv2_list(folder: pathlib.Path, name: str, kind: type) -> tuple[pathlib.Path, dict | list]:
    """A list's path and content; it has been published under two names."""
    path, other = folder / f"{name}.json", folder / f"something-something-v2-{name}.json"
    path = other if other.is_file() and not path.is_file() else path
    try:
        content = json.loads(read_text(path, _STHV2_LISTS))
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, kind) or not content:
        raise UserError(f"{path} is no such list: {_STHV2_LISTS}.")
    return path, content


def _sthv2_entries(folder: pathlib.Path, which: str, official: tuple[str, ...], side: str) -> Iterator[Entry]:
    path, content = _sthv2_list(folder, which, list)
    known = frozenset(official)
    for number, listed in enumerate(content, start=1):
        source = f"{path}, entry {number}"
        try:
            name, label = str(listed["id"]), listed["template"].replace("[", "").replace("]", "")
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{source}: expected an id and a template. Received: {listed!r:.80}.") from None
        if label not in known:
            raise UserError(f"{source}: {label!r} is not in labels.json.")
        yield Entry(name, label, name, side, pathlib.PurePosixPath(f"{name}.webm"), source)
