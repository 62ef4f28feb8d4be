"""UCF101 (Soomro et al., 2012) with its official lists; also anything laid out like it, such as the demo set."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

from ccsn_tf.data.datasets.listing import Entry, Listing, find_listed, read_lines, require_folder, select_classes
from ccsn_tf.errors import UserError

_GROUP = re.compile(r"_g(\d+)_c\d+$")
_TRAIN_LIST = re.compile(r"trainlist(\d+)\.txt")  # not copies and drafts of lists
_LISTS = "--split_dir must hold UCF101's lists"


def read_ucf101(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <class>/v_<class>_gNN_cMM.avi, or folders of their frames, by UCF101's lists.

    Every split found in `split_dir` is read (classInd.txt, trainlist0N.txt, testlist0N.txt); `classes` keeps some,
    in its order. Groups are the gNN of the names.

    Raises:
        UserError: a folder or list is missing, a line is malformed, or as `find_listed`.
    """
    videos, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    official = _read_class_index(lists / "classInd.txt")
    kept = select_classes(tuple(official.values()), classes, "classInd.txt")
    entries = {}
    for path in sorted(lists.iterdir()):
        if matched := _TRAIN_LIST.fullmatch(path.name):
            test_list = path.with_name(path.name.replace("train", "test"))
            train, test = _read_list(path, official, "train"), _read_list(test_list, official, "test")
            entries[int(matched[1])] = [*train, *test]
    if not entries:
        raise UserError(f"--split_dir={split_dir} has no trainlist01.txt: it must hold UCF101's lists.")
    return find_listed(kept, entries, videos)


def _read_class_index(path: pathlib.Path) -> dict[str, str]:
    index = {}
    for number, line in read_lines(path, _LISTS):
        fields = line.split()
        if len(fields) != 2 or not fields[0].isdecimal() or fields[0] in index or fields[1] in index.values():
            raise UserError(f"{path}, line {number}: expected '<number> <class>', each once. Received: {line!r}.")
        index[fields[0]] = fields[1]
    return index


def _read_list(path: pathlib.Path, official: dict[str, str], side: str) -> Iterator[Entry]:
    for number, line in read_lines(path, _LISTS):
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
        group = _GROUP.search(name)
        yield Entry(name, folder, group[1] if group else name, side, relative, source)
