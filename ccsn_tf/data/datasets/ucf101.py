"""UCF101 (Soomro et al., 2012) with its official lists; also anything laid out like it, such as the demo set."""

from __future__ import annotations

import pathlib
import re

from ccsn_tf.data.datasets.listing import Clip, Listing, Split, require_folder, select_classes
from ccsn_tf.errors import UserError

_GROUP = re.compile(r"_g(\d+)_c\d+$")
_TRAIN_LIST = re.compile(r"trainlist(\d+)\.txt")


def read_ucf101(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <class>/v_<class>_gNN_cMM.avi and classInd.txt, trainlist0N.txt, testlist0N.txt.

    Args:
        video_dir: folder of one folder a class.
        split_dir: folder of the lists; every split found there is read.
        classes: keep only these, in this order.

    Raises:
        UserError: a folder or list is missing or empty, a line is malformed, a class has no clip, or a clip both
            trains and tests.
    """
    videos, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    official = _read_class_index(lists / "classInd.txt")
    kept = select_classes(tuple(official.values()), classes, "classInd.txt")
    clips, absent, splits = {}, {}, {}
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
                    path = videos / relative
                    if path.is_file():
                        group = _GROUP.search(name)
                        clips[name] = Clip(name, str(path), relative.parts[0], group.group(1) if group else name)
                    else:
                        absent[name] = f"{path} is named in {list_path.name} but does not exist."
                names.append(name)
            sides.append(tuple(names))
        both = set(sides[0]) & set(sides[1])
        if both:
            raise UserError(
                f"{list_path} names {min(both)}, which {train_list.name} names too ({len(both)} such clips): a clip "
                "cannot both train and test."
            )
        splits[int(matched.group(1))] = Split(*sides)
    if not splits:
        raise UserError(f"--split_dir={split_dir} has no trainlist01.txt: it must hold UCF101's lists.")
    ordered = tuple(clips[name] for name in sorted(clips))
    return Listing(kept, ordered, splits, tuple(sorted(absent.items())))


def _read_class_index(path: pathlib.Path) -> dict[int, str]:
    index = {}
    for number, line in _lines(path):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdigit():
            raise UserError(f"{path}, line {number}: expected '<number> <class>'. Received: {line!r}.")
        if int(fields[0]) in index or fields[1] in index.values():
            raise UserError(f"{path}, line {number}: number or class is there twice. Received: {line!r}.")
        index[int(fields[0])] = fields[1]
    if not index:
        raise UserError(f"{path} is empty: it must list the classes.")
    return index


def _read_list(path: pathlib.Path, official: dict[int, str]) -> list[pathlib.PurePosixPath]:
    clips = []
    for number, line in _lines(path):
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
    return int(text) if text.isdigit() else None


def _lines(path: pathlib.Path):
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: --split_dir must hold UCF101's lists.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file: --split_dir must hold UCF101's lists.") from None
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
