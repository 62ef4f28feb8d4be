"""Something-Something V2 (Goyal et al., ICCV 2017) with its official JSON lists."""

from __future__ import annotations

import json
import os
import pathlib

from ccsn_tf.data.datasets.listing import (
    VIDEO_SUFFIXES,
    Clip,
    Listing,
    Split,
    read_text,
    refuse_both_sides,
    refuse_repeats,
    require_folder,
    select_classes,
)
from ccsn_tf.errors import UserError

# Each list has been published under two names.
LABELS = ("labels.json", "something-something-v2-labels.json")
TRAIN = ("train.json", "something-something-v2-train.json")
VALIDATION = ("validation.json", "something-something-v2-validation.json")
_LISTS = "--split_dir must hold Something-Something V2's lists (labels.json, train.json, validation.json)"

MIRRORED = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)
"""Classes that a mirror exchanges: labels 86 and 87, 93 and 94, 166 and 167 of the official labels.json."""


def read_sthv2(video_dir: str, split_dir: str, classes: tuple[str, ...] = ()) -> Listing:
    """Reads <id>.webm or <id>.mp4, or folders of their frames, by labels.json, train.json and validation.json.

    The validation list tests, as everywhere in the literature: the test list has no labels. Labels count as in
    labels.json. The data set names no groups: every clip is its own. The split has the number 1.

    Args:
        video_dir: folder of the videos.
        split_dir: folder of the lists.
        classes: keep only these, in this order.

    Raises:
        UserError: a folder or list is missing, empty or malformed, a class has no clip, or a clip is listed twice.
    """
    root, lists = require_folder(video_dir, "video_dir"), require_folder(split_dir, "split_dir")
    official = _read_classes(_find(lists, LABELS))
    kept = select_classes(official, classes, "labels.json")
    wanted, videos = frozenset(kept), _scan(root)
    clips, absent, absent_labels, sides = [], {}, {}, []
    paths = [_find(lists, names) for names in (TRAIN, VALIDATION)]
    for path in paths:
        listed = [(name, label) for name, label in _read_list(path, frozenset(official)) if label in wanted]
        refuse_repeats((name for name, _ in listed), str(path))
        for name, label in listed:
            if name in videos:
                clips.append(Clip(name, videos[name], label, name))
            else:
                absent[name] = f"{root / name}.webm (or .mp4) is named in {path.name} but does not exist."
                absent_labels[name] = label
        sides.append(tuple(name for name, _ in listed))
    refuse_both_sides(*sides, paths[0].name, str(paths[1]))
    pairs = [pair for pair in MIRRORED if set(pair) <= set(official)]
    mirrored = {name: other for pair in pairs for name, other in (pair, pair[::-1])}
    ordered = tuple(sorted(clips, key=lambda clip: clip.name))
    return Listing(kept, ordered, {1: Split(*sides)}, tuple(sorted(absent.items())), absent_labels, mirrored)


def _find(folder: pathlib.Path, names: tuple[str, str]) -> pathlib.Path:
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise UserError(f"{folder / names[0]} does not exist, nor does {names[1]}: {_LISTS}.")
    return found[0]


def _read_json(path: pathlib.Path, kind: type):
    try:
        content = json.loads(read_text(path, _LISTS))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON ({error}): {_LISTS}, as they were published.") from None
    if not isinstance(content, kind) or not content:
        raise UserError(f"{path} is not such a list: {_LISTS}, as they were published.")
    return content


def _read_classes(path: pathlib.Path) -> tuple[str, ...]:
    index = _read_json(path, dict)
    try:
        by_number = {int(number): name for name, number in index.items()}
    except (TypeError, ValueError):
        raise UserError(f"{path} must give a number for each class, as in 'Closing something': '5'.") from None
    if sorted(by_number) != list(range(len(index))):
        raise UserError(f"{path} must number its {len(index)} classes from 0 to {len(index) - 1}, each once.")
    return tuple(by_number[number] for number in range(len(index)))


def _read_list(path: pathlib.Path, official: frozenset[str]) -> list[tuple[str, str]]:
    clips = []
    for number, entry in enumerate(_read_json(path, list), start=1):
        try:
            name, label = str(entry["id"]), entry["template"].replace("[", "").replace("]", "")
        except (KeyError, TypeError, AttributeError):
            received = repr(entry)[:80]
            raise UserError(f"{path}, entry {number}: expected an id and a template. Received: {received}.") from None
        if label not in official:
            raise UserError(f"{path}, entry {number}: {label!r} is not in labels.json.")
        clips.append((name, label))
    return clips


def _scan(root: pathlib.Path) -> dict[str, str]:
    """{id: path} of the files and folders in `root`, videos before folders: one look at a folder of 220,847."""
    videos, folders = {}, {}
    with os.scandir(root) as entries:
        for entry in entries:
            name, suffix = os.path.splitext(entry.name)
            if suffix.lower() in VIDEO_SUFFIXES and entry.is_file():
                if name in videos:
                    raise UserError(f"{entry.path} and {videos[name]} differ in their suffix only: remove one of them.")
                videos[name] = entry.path
            elif entry.is_dir():
                folders[entry.name] = entry.path
    return {**folders, **videos}
