"""UCF101 (Soomro et al., 2012) with its official lists; also anything laid out like it, such as the demo set."""

from __future__ import annotations

import pathlib
import re

from ccsn_tf.data.datasets.listing import (
    Clip,
    Listing,
    Split,
    find_clip,
    read_lines,
    refuse_both_sides,
    refuse_repeats,
    require_folder,
    select_classes,
)
from ccsn_tf.errors import UserError

_GROUP = re.compile(r"_g(\d+)_c\d+$")
_TRAIN_LIST = re.compile(r"trainlist(\d+)\.txt")
_LISTS = "--split_dir must hold UCF101's lists"


def read_ucf101(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <class>/v_<class>_gNN_cMM.avi, or folders of their frames, by the lists that are named in what follows.

    Args:
        video_dir: folder of one folder a class.
        split_dir: folder of classInd.txt, trainlist0N.txt and testlist0N.txt; every split found there is read.
        classes: keep only these, in this order.

    Raises:
        UserError: a folder or list is missing or empty, a line is malformed, a class has no clip, or a clip both
            trains and tests, or is listed twice.
    """
    videos, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    official = _read_class_index(lists / "classInd.txt")
    kept = select_classes(tuple(official.values()), classes, "classInd.txt")
    clips, absent, absent_labels, splits = {}, {}, {}, {}
    for train_list in sorted(lists.glob("trainlist*.txt")):
        matched = _TRAIN_LIST.fullmatch(train_list.name)
        if not matched:  # a copy or a draft of a list
            continue
        sides = []
        for list_path in (train_list, lists / train_list.name.replace("train", "test", 1)):
            names = []
            for relative in _read_list(list_path, official):
                if relative.parts[0] not in kept:
                    continue
                name = relative.with_suffix("").as_posix()
                if name not in clips and name not in absent:
                    path = find_clip(videos, relative)
                    if path:
                        group = _GROUP.search(name)
                        clips[name] = Clip(name, str(path), relative.parts[0], group.group(1) if group else name)
                    else:
                        absent[name] = f"{videos / relative} is named in {list_path.name} but does not exist."
                        absent_labels[name] = relative.parts[0]
                names.append(name)
            refuse_repeats(names, str(list_path))
            sides.append(tuple(names))
        refuse_both_sides(*sides, train_list.name, str(list_path))
        splits[int(matched.group(1))] = Split(*sides)
    if not splits:
        raise UserError(f"--split_dir={split_dir} has no trainlist01.txt: it must hold UCF101's lists.")
    ordered = tuple(clips[name] for name in sorted(clips))
    return Listing(kept, ordered, splits, tuple(sorted(absent.items())), absent_labels)


def _read_class_index(path: pathlib.Path) -> dict[int, str]:
    index = {}
    for number, line in read_lines(path, _LISTS):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdecimal():
            raise UserError(f"{path}, line {number}: expected '<number> <class>'. Received: {line!r}.")
        if int(fields[0]) in index or fields[1] in index.values():
            raise UserError(f"{path}, line {number}: number or class is there twice. Received: {line!r}.")
        index[int(fields[0])] = fields[1]
    if not index:
        raise UserError(f"{path} is empty: it must list the classes.")
    return index


def _read_list(path: pathlib.Path, official: dict[int, str]) -> list[pathlib.PurePosixPath]:
    clips = []
    for number, line in read_lines(path, _LISTS):
        name, *label = line.split(maxsplit=1)
        relative = pathlib.PurePosixPath(name)
        if len(relative.parts) != 2 or ".." in relative.parts:
            raise UserError(f"{path}, line {number}: expected '<class>/<video>'. Received: {line!r}.")
        if relative.parts[0] not in official.values():
            raise UserError(f"{path}, line {number}: class {relative.parts[0]} is not in classInd.txt.")
        if label and official.get(_as_int(label[0])) != relative.parts[0]:
            raise UserError(
                f"{path}, line {number}: label {label[0]} is not {relative.parts[0]}'s in classInd.txt "
                "(labels count from 1)."
            )
        clips.append(relative)
    return clips


def _as_int(text):
    return int(text) if text.isdecimal() else None
