"""Something-Something V2 (Goyal et al., ICCV 2017) with its official JSON lists."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

from ccsn_tf.data.datasets.listing import (
    Entry,
    Listing,
    find_listed,
    read_text,
    require_folder,
    select_classes,
)
from ccsn_tf.data.datasets.videos import VideoFinder
from ccsn_tf.errors import UserError

_LISTS = (
    "--split_dir must hold Something-Something V2's lists as they were published: labels.json, train.json and "
    "validation.json, or something-something-v2-labels.json and so on"
)

MIRRORED = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)
"""Classes that a mirror exchanges: labels 86 and 87, 93 and 94, 166 and 167 of the official labels.json."""


def read_sthv2(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <id>.webm or <id>.mp4, or folders of their frames, by labels.json, train.json and validation.json.

    The validation list tests, as everywhere in the literature: the test list has no labels. Labels count as in
    labels.json; `classes` keeps some, in its order. The data set names no groups: every clip is its own. The split has
    the number 1.

    Raises:
        UserError: a folder or list is missing or malformed, or as `find_listed`.
    """
    root, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    official = _read_classes(lists)
    train, test = _read_list(lists, "train", official, "train"), _read_list(lists, "validation", official, "test")
    pairs = [pair for pair in MIRRORED if set(pair) <= set(official)]
    mirrored = {name: other for pair in pairs for name, other in (pair, pair[::-1])}
    kept = select_classes(official, classes, "labels.json")
    finder = VideoFinder(root)  # the lists say nothing of suffixes
    return find_listed(
        kept, {1: [*train, *test]}, root, lambda path: finder.find(path.with_suffix("")), mirrored=mirrored
    )


def _load(folder: pathlib.Path, name: str, kind: type) -> tuple[pathlib.Path, dict | list]:
    """A list's path and content; it has been published under two names."""
    path, other = folder / f"{name}.json", folder / f"something-something-v2-{name}.json"
    path = other if other.is_file() and not path.is_file() else path
    try:
        content = json.loads(read_text(path, _LISTS))
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, kind) or not content:
        raise UserError(f"{path} is no such list: {_LISTS}.")
    return path, content


def _read_classes(folder: pathlib.Path) -> tuple[str, ...]:
    path, index = _load(folder, "labels", dict)
    by_number = {str(number): name for name, number in index.items()}
    numbers = list(map(str, range(len(index))))
    if by_number.keys() != set(numbers):
        raise UserError(f"{path} must number its classes from 0 to {numbers[-1]}, as in 'Closing something': '5'.")
    return tuple(by_number[number] for number in numbers)


def _read_list(folder: pathlib.Path, which: str, official: tuple[str, ...], side: str) -> Iterator[Entry]:
    path, content = _load(folder, which, list)
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
