"""Clips by plain text lists, one for the training and one for the test, as TSN and mmaction2 have them."""

from __future__ import annotations

import os
import pathlib

from ccsn_tf.data.datasets.listing import (
    Clip,
    Listing,
    Split,
    draw_test,
    find_clip,
    read_lines,
    refuse_both_sides,
    require_folder,
    select_classes,
    without_suffix,
)
from ccsn_tf.errors import UserError

_LINE = "expected '<path> <label>' or '<path> <number of frames> <label>'"


def read_text_list(
    video_dir: str,
    train_list: str,
    test_list: str = "",
    class_file: str = "",
    classes: tuple[str, ...] = (),
    test_fraction: float = 0.2,
) -> Listing:
    """Reads lists of '<path> <label>' a line, or '<path> <number of frames> <label>', whose number is ignored.

    A path is that of a video or of the folder of its frames, absolute or below `video_dir`; it may have spaces. The
    label is the last word, or what follows a tab: a class's name or number. Blank lines and lines that begin with
    '# ' do not count. Every clip is its own group. The split has the number 1.

    Args:
        video_dir: folder that relative paths begin at; empty: the working folder.
        train_list: the training clips.
        test_list: the test clips; empty: `test_fraction` of the clips, drawn as `draw_test` says.
        class_file: names of the classes, one a line, from label 0; empty: the labels are the names.
        classes: keep only these, in this order.
        test_fraction: see `test_list`.

    Raises:
        UserError: a list is missing or empty, a line is malformed, a label is not among the classes, a class has no
            clip, or a clip is listed twice.
    """
    if not train_list:
        raise UserError("--train_list is not given: name the list of the training clips.")
    root = require_folder(video_dir, "video_dir") if video_dir else pathlib.Path()
    lists = [pathlib.Path(name) for name in (train_list, test_list) if name]
    listed = [(path, _read_list(path, root)) for path in lists]
    labels = {label for _, entries in listed for _, label, _ in entries}
    available, class_of, notes = _understand(labels, class_file)
    kept = select_classes(available, classes, class_file or train_list)
    clips, absent, absent_labels, sides = {}, {}, {}, []
    for path, entries in listed:
        names = []
        for relative, label, line in entries:
            if label not in class_of:
                raise UserError(
                    f"{path}, line {line}: label {label} is not one of {class_file}'s {len(available)} classes (their "
                    "names, or numbers from 0)."
                )
            if class_of[label] not in kept:
                continue
            name = without_suffix(relative).as_posix()
            names.append(name)
            place = find_clip(root, relative)
            if place:
                clips[name] = Clip(name, str(place), class_of[label], name)
            else:
                absent[name] = f"{root / relative} is named in {path.name}, line {line}, but does not exist."
                absent_labels[name] = class_of[label]
        sides.append(tuple(names))
    if test_list:
        refuse_both_sides(*sides, train_list, test_list)
    else:
        test = draw_test(clips.values(), test_fraction)
        sides = [tuple(name for name in sides[0] if name not in test), tuple(sorted(test))]
    ordered = tuple(clips[name] for name in sorted(clips))
    return Listing(kept, ordered, {1: Split(*sides)}, tuple(sorted(absent.items())), absent_labels, notes=notes)


def _read_list(path: pathlib.Path, root: pathlib.Path) -> list[tuple[pathlib.PurePosixPath, str, int]]:
    """(path, label, line number) of each clip; paths below `root` are relative to it."""
    lines = [
        (number, line)
        for number, line in read_lines(path, "--train_list and --test_list name text files")
        if line != "#" and not line.startswith("# ")  # a name may begin with a number sign: #1_fan.avi
    ]
    halves = [_halves(line) for _, line in lines]
    # Where every line has a number before the label, only a file of that name can say that it belongs to the path.
    counted = all(_without_count(text) for text, _ in halves)
    clips, seen = [], {}
    for (number, line), (text, label) in zip(lines, halves, strict=True):
        if not text:
            raise UserError(f"{path}, line {number}: {_LINE}. Received: {line!r}.")
        relative, shorter = (_below(name, root) for name in (text, _without_count(text)))
        if shorter and not find_clip(root, relative) and (counted or find_clip(root, shorter)):
            relative = shorter
        name = without_suffix(relative)
        if name in seen:
            raise UserError(f"{path}, line {number}: {name} is in line {seen[name]} already: remove one of the two.")
        seen[name] = number
        clips.append((relative, label, number))
    if not clips:
        raise UserError(f"{path} is empty: {_LINE} a line.")
    return clips


def _halves(text: str) -> tuple[str, str]:
    """What is before and behind the last tab, or else the last white space; before is empty where there is none."""
    before, tab, behind = text.rpartition("\t")
    return (before.strip(), behind.strip()) if tab else (text.removesuffix(text.split()[-1]).strip(), text.split()[-1])


def _without_count(text: str) -> str:
    """The path before a number of frames; empty where there is no such number."""
    path, count = _halves(text) if text else ("", "")
    return path if count.isdecimal() else ""


def _below(name: str, root: pathlib.Path) -> pathlib.PurePosixPath | None:
    if not name:
        return None
    path, base = (pathlib.PurePosixPath(os.path.normpath(path)) for path in (root / name, root))
    return path.relative_to(base) if path.is_relative_to(base) else path


def _understand(labels: set[str], class_file: str) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """The classes in label order, {label: class}, and what is to be said about it."""
    are_numbers = all(label.isdecimal() for label in labels)
    if not class_file:
        names = tuple(sorted(labels, key=(lambda label: (int(label), label)) if are_numbers else None))
        return names, dict(zip(names, names, strict=True)), ()
    names = read_class_file(pathlib.Path(class_file))
    if not are_numbers or labels <= set(names):
        return names, dict(zip(names, names, strict=True)), ()
    numbers = {int(label) for label in labels}
    first = int(min(numbers) == 1 and max(numbers) == len(names))
    notes = (f"The labels run from 1 to {len(names)}, so that 1 is {names[0]}, the first class.",) if first else ()
    return names, {label: names[int(label) - first] for label in labels if 0 <= int(label) - first < len(names)}, notes


def read_class_file(path: pathlib.Path) -> tuple[str, ...]:
    """The classes that a file names, one a line. UserError: it cannot be read, is empty or names one twice."""
    names = tuple(line for _, line in read_lines(path, "--class_file names the classes, one a line"))
    if not names:
        raise UserError(f"{path} is empty: it must name the classes, one a line.")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} names class {twice} twice: remove one of the two.")
    return names
