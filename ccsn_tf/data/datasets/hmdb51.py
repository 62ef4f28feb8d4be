"""HMDB51 (Kuehne et al., ICCV 2011) with its official splits: a list a class and split."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

from ccsn_tf.data.datasets.listing import (
    Entry,
    Listing,
    find_listed,
    read_lines,
    require_folder,
    select_classes,
)
from ccsn_tf.data.datasets.videos import without_suffix
from ccsn_tf.errors import UserError

_LIST = re.compile(r"(.+)_test_split(\d+)\.txt")
_LISTS = "--split_dir must hold HMDB51's lists, <class>_test_split<number>.txt"
_SIDES = {"1": "train", "2": "test", "0": ""}  # 0: used by other splits, or by none

# <source>_<class>_<visible body>_<camera motion>_np<people>_<viewpoint>_<quality>_<number>
_ATTRIBUTES = re.compile(r"_[fuhl]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+$")


def read_hmdb51(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <class>/<video>.avi, or folders of their frames, by the lists <class>_test_split<number>.txt.

    The classes are those of the lists in alphabetical order; `classes` keeps some, in its order. Every split found in
    `split_dir` is read. Clips that no split uses are left out. HMDB51 names no groups; here a group is, by the names,
    what a class has from one source, a film as a rule. None of these 2,291 groups is on both sides of an official
    split. Sources do recur in other classes, there on other sides.

    Raises:
        UserError: a folder or list is missing, a line is malformed, or as `find_listed`.
    """
    videos, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    found = [matched.groups() for path in lists.iterdir() if (matched := _LIST.fullmatch(path.name))]
    if not found:
        raise UserError(f"--split_dir={split_dir} has no such list: {_LISTS}.")
    kept = select_classes(tuple(sorted({label for label, _ in found})), classes, split_dir)
    entries = {
        int(number): [e for label in kept for e in _read_list(lists / f"{label}_test_split{number}.txt", label)]
        for number in sorted({number for _, number in found}, key=int)
    }
    return find_listed(kept, entries, videos)


def _read_list(path: pathlib.Path, label: str) -> Iterator[Entry]:
    for number, line in read_lines(path, _LISTS):
        video, side = (line.rsplit(maxsplit=1) + [""])[:2]
        if side not in _SIDES or "/" in video:
            raise UserError(f"{path}, line {number}: expected '<video> 0', 1 or 2. Received: {line!r}.")
        relative = pathlib.PurePosixPath(label, video)
        name = without_suffix(relative).as_posix()
        yield Entry(name, label, _group(name, label), _SIDES[side], relative, f"{path}, line {number}")


def _group(name: str, label: str) -> str:
    attributes = _ATTRIBUTES.search(name)
    if not attributes:
        return name
    return name[: attributes.start()].removeprefix(f"{label}/").removesuffix(f"_{label}")
