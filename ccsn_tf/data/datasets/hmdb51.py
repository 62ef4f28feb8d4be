"""HMDB51 (Kuehne et al., ICCV 2011) with its official splits: a list a class and split."""

from __future__ import annotations

import pathlib
import re

from ccsn_tf.data.datasets.listing import (
    Clip,
    Listing,
    Split,
    find_clip,
    read_lines,
    refuse_repeats,
    require_folder,
    select_classes,
    without_suffix,
)
from ccsn_tf.errors import UserError

_LIST = re.compile(r"(.+)_test_split(\d+)\.txt")
_LISTS = "--split_dir must hold HMDB51's lists, <class>_test_split<number>.txt"
_SIDES = {"1": "train", "2": "test", "0": None}  # 0: used by other splits, or by none

# <source>_<class>_<visible body>_<camera motion>_np<people>_<viewpoint>_<quality>_<number>
_ATTRIBUTES = re.compile(r"_[fuhl]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+$")


def read_hmdb51(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <class>/<video>.avi, or folders of their frames, by the lists <class>_test_split<number>.txt.

    The classes are those of the lists in alphabetical order. Clips that no split uses are left out. HMDB51 names no
    groups; here a group is what its names show: the clips that a class has from one source, a film as a rule. None of
    these 2,291 groups is on both sides of an official split. Sources do recur in other classes, there on other sides.

    Args:
        video_dir: folder of one folder a class.
        split_dir: folder of the lists; every split found there is read.
        classes: keep only these, in this order.

    Raises:
        UserError: a folder or list is missing or empty, a line is malformed, a class has no clip, or a clip is listed
            twice.
    """
    videos, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    found = sorted(matched.groups() for path in lists.iterdir() if (matched := _LIST.fullmatch(path.name)))
    if not found:
        raise UserError(f"--split_dir={split_dir} has no such list: {_LISTS}.")
    available = tuple(sorted({label for label, _ in found}))
    kept = select_classes(available, classes, split_dir)
    clips, absent, absent_labels, splits = {}, {}, {}, {}
    for number in sorted({number for _, number in found}, key=int):
        sides = {"train": [], "test": []}
        for label in kept:
            path = lists / f"{label}_test_split{number}.txt"
            names = []
            for video, side in _read_list(path):
                relative = pathlib.PurePosixPath(label, video)
                name = without_suffix(relative).as_posix()
                names.append(name)
                if side and name not in clips and name not in absent:
                    place = find_clip(videos, relative)
                    if place:
                        clips[name] = Clip(name, str(place), label, _group(name, label))
                    else:
                        absent[name] = f"{videos / relative} is named in {path.name} but does not exist."
                        absent_labels[name] = label
                if side:
                    sides[side].append(name)
            refuse_repeats(names, str(path))
        splits[int(number)] = Split(tuple(sides["train"]), tuple(sides["test"]))
    ordered = tuple(clips[name] for name in sorted(clips))
    return Listing(kept, ordered, splits, tuple(sorted(absent.items())), absent_labels)


def _read_list(path: pathlib.Path) -> list[tuple[str, str | None]]:
    videos = []
    for number, line in read_lines(path, _LISTS):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2 or fields[1] not in _SIDES or "/" in fields[0]:
            raise UserError(f"{path}, line {number}: expected '<video> 0', 1 or 2. Received: {line!r}.")
        videos.append((fields[0], _SIDES[fields[1]]))
    return videos


def _group(name: str, label: str) -> str:
    attributes = _ATTRIBUTES.search(name)
    if not attributes:
        return name
    return name[: attributes.start()].removeprefix(f"{label}/").removesuffix(f"_{label}")
