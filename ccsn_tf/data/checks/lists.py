"""Checks of what the lists of a data set say, before any video is opened."""

from __future__ import annotations

import collections
import json
import os
import pathlib
from collections.abc import Iterator

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.sides import groups
from ccsn_tf.data.datasets import Listing
from ccsn_tf.data.datasets.listing import VIDEO_SUFFIXES

_MOST = 0.9  # of the labels that must be off by the same number


def labels_against_class_index(config: DataConfig) -> Iterator[Finding]:
    """UCF101's lists whose numbers are shifted against classInd.txt: the reader refuses their first line only."""
    if config.dataset not in ("ucf101", "demo"):
        return
    folder = pathlib.Path(config.video_dir, "ucfTrainTestlist") if config.dataset == "demo" else config.split_dir
    numbers = {
        name: int(number) for number, name, *_ in _words(pathlib.Path(folder, "classInd.txt")) if number.isdecimal()
    }
    for path in sorted(pathlib.Path(folder).glob("trainlist*.txt")):
        shifts = collections.Counter(
            int(label) - numbers[video.split("/")[0]]
            for video, label, *_ in _words(path)
            if label.isdecimal() and video.split("/")[0] in numbers
        )
        yield from _shifted(shifts, f"{path.name} counts its labels", "classInd.txt its classes")


def labels_against_folders(config: Config, listing: Listing) -> Iterator[Finding]:
    """Clips whose label is another class than the folder that they lie in: lists that count from 0 read as from 1."""
    index = {name: number for number, name in enumerate(listing.classes)}
    folders = {clip: pathlib.PurePath(clip.path).parent.name for clip in listing.clips}
    shifts = {clip: index[clip.label] - index[folder] for clip, folder in folders.items() if folder in index}
    shifted = list(_shifted(collections.Counter(shifts.values()), "The lists count their labels", "the folders' names"))
    yield from shifted
    for clip, shift in shifts.items():
        if shift and not shifted:
            message = f"{clip.path} is labelled {clip.label}, but lies in {folders[clip]}/."
            yield Finding("label of another class", clip.name, message, True)


def _shifted(shifts, lists, classes):
    """A finding if nearly all of the differences are the same one, and not zero."""
    if not shifts:
        return
    (shift, count), total = shifts.most_common(1)[0], shifts.total()
    if shift and count >= _MOST * total:
        yield Finding(
            "labels off by one" if abs(shift) == 1 else "labels shifted",
            "",
            f"{lists} {abs(shift)} {'higher' if shift > 0 else 'lower'} than {classes} ({count} of {total} clips): "
            "number both from the same one.",
            True,
        )


def ambiguous_lists(config: Config, listing: Listing) -> Iterator[Finding]:
    """How lists were understood that can be read in several ways."""
    for note in listing.notes:
        yield Finding("lists taken so", "", note)


def absent_clips(config: Config, listing: Listing) -> Iterator[Finding]:
    """Clips that are listed but not there."""
    for name, reason in listing.absent:
        yield Finding("listed but absent", name, reason)


def unlisted_videos(config: Config, listing: Listing) -> Iterator[Finding]:
    """Videos that are there but in no list, in the folders of the classes that are used."""
    listed = {os.path.abspath(clip.path) for clip in listing.clips}
    skipped = set(listing.classes) if config.data.classes else None  # the other classes are left out on purpose
    for folder, _, names in os.walk(config.data.video_dir) if config.data.video_dir else ():
        if skipped and pathlib.PurePath(folder).name not in skipped:
            continue
        for name in sorted(names):
            path = os.path.join(folder, name)
            if pathlib.PurePath(name).suffix.lower() in VIDEO_SUFFIXES and os.path.abspath(path) not in listed:
                yield Finding("in no list", os.path.relpath(path, config.data.video_dir), f"{path} is in no list.")


def groups_on_both_sides(config: Config, listing: Listing) -> Iterator[Finding]:
    """See `sides.groups`."""
    yield from groups(listing.clips, {number: (split.train, split.test) for number, split in listing.splits.items()})


def other_classes(classes: tuple[str, ...], workdir: str, source: str) -> Iterator[Finding]:
    """Where a run in `workdir` was trained on other classes, or in another order."""
    path = pathlib.Path(workdir, "classes.json")
    if not workdir or not path.is_file():
        return
    try:
        trained = tuple(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        yield Finding("classes differ", "", f"{path} cannot be read ({error}): choose another --workdir.", True)
        return
    yield from differing_classes(trained, f"the run in {workdir}", classes, source)


def differing_classes(one: tuple[str, ...], of_one: str, other: tuple[str, ...], of_other: str) -> Iterator[Finding]:
    """A finding where two lists of classes are not the same, in the same order."""
    if one == other:
        return
    position = next(i for i in range(max(len(one), len(other))) if one[i : i + 1] != other[i : i + 1])
    names = (f"{classes[position]}" if position < len(classes) else "no class" for classes in (one, other))
    here, there = names
    yield Finding(
        "classes differ",
        "",
        f"Label {position} is {here} in {of_one} but {there} in {of_other} ({len(one)} and {len(other)} classes): name "
        "the classes in one order with --classes, or prepare or train anew.",
        True,
    )


def _words(path):
    """The words of each line that has at least two; of a file that cannot be read, none: the reader says so."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [words for words in map(str.split, lines) if len(words) >= 2]


CHECKS = (labels_against_folders, ambiguous_lists, absent_clips, unlisted_videos, groups_on_both_sides)
"""Each is called with the config and the listing."""
