"""Clips by plain text lists, one for the training and one for the test, as TSN and mmaction2 have them."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import re

from ccsn_tf.data.datasets.listing import (
    Entry,
    Listing,
    draw_split,
    find_listed,
    read_lines,
    require_folder,
    select_classes,
)
from ccsn_tf.data.datasets.videos import VIDEO_SUFFIXES, VideoFinder, without_suffix
from ccsn_tf.errors import UserError

_PATH = "path|video|file|clip|name|(?:file|video)[ _]?(?:name|path|id)"
_HEADER = re.compile(rf'"?(?:{_PATH})"?[,\t ].*"?\b(?:label|class|action|category|target)(?:[ _]?(?:name|id))?"?', re.I)
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

    A path is that of a video or of the folder of its frames, absolute or below `video_dir`; it may have spaces, quotes
    around it, backslashes in place of slashes, and another suffix than the file. The label is the last word, or what
    follows a tab, or a comma if every line has one, or is in quotes: a class's name or number. Blank lines, lines that
    begin with '# ' and a first line of column names (path, label) do not count. Every clip is its own group. The split
    has the number 1.

    Args:
        video_dir: folder that relative paths begin at; empty: the working folder.
        train_list: the training clips; empty: none, for a set that is only tested on.
        test_list: the test clips; empty: `test_fraction` of the clips, drawn as `draw_split` says.
        class_file: names of the classes, one a line, from label 0; empty: the labels are the names.
        classes: keep only these, in this order.
        test_fraction: see `test_list`.

    Raises:
        UserError: a list is missing or empty, a line is malformed, a label is no class, or as `find_listed`.
    """
    if not train_list and not test_list:
        raise UserError("--train_list is not given: name the list of the training clips.")
    root = require_folder(video_dir, "video_dir") if video_dir else pathlib.Path()
    lists = {side: path for side, path in (("train", train_list), ("test", test_list)) if path}
    finder = VideoFinder(root)
    headers = []
    listed = [(side, *line) for side, path in lists.items() for line in _read_list(pathlib.Path(path), finder, headers)]
    available, class_of, notes = _understand({label for _, _, label, _ in listed}, class_file)
    kept = select_classes(available, classes, class_file or train_list or test_list)
    entries = []
    for side, relative, label, source in listed:
        if label not in class_of:
            raise UserError(
                f"{source}: label {label} is not one of {class_file}'s {len(available)} classes (their names, or "
                "numbers from 0)."
            )
        name = without_suffix(relative).as_posix()
        entries.append(Entry(name, class_of[label], name, side, relative, source))
    listing = find_listed(kept, {1: entries}, root, finder.find, notes=(*headers, *notes))
    if test_list:
        return listing
    return dataclasses.replace(listing, splits={1: draw_split(listing.splits[1].train, listing.clips, test_fraction)})


def _read_list(
    path: pathlib.Path, finder: VideoFinder, headers: list[str]
) -> list[tuple[pathlib.PurePosixPath, str, str]]:
    """(path, label, list and line) of each clip; paths below the finder's folder are relative to it.

    A line of column names is left out, and a sentence on it added to `headers`.
    """
    numbered = [
        (number, line)
        for number, line in read_lines(path, "--train_list and --test_list name text files")
        if line != "#" and not line.startswith("# ")  # a name may begin with a number sign: #1_fan.avi
    ]
    if numbered and _HEADER.fullmatch(numbered[0][1]) and not finder.find_written(_first_field(numbered[0][1]))[1]:
        headers.append(f"{path}, line {numbered[0][0]} names columns ({numbered.pop(0)[1]}), and is left out.")
    if not numbered:
        raise UserError(f"{path} is empty: {_LINE} a line.")
    tabbed = _tabbed([line for _, line in numbered])
    lines = [(f"{path}, line {n}", line, *_halves(tab)) for (n, line), tab in zip(numbered, tabbed, strict=True)]
    # Where every line has a number before the label, only a file of that name can say that it belongs to the path.
    counted = all(_without_count(text) for _, _, text, _ in lines)
    clips = []
    for source, line, text, label in lines:
        if not text:
            raise UserError(f"{source}: {_LINE}. Received: {line!r}.")
        relative, video = finder.find_written(text)
        if not video and (without := _without_count(text)):
            shorter, video = finder.find_written(without)
            relative = shorter if counted or video else relative
        clips.append((relative, label, source))
    return clips


def _first_field(line: str) -> str:
    return re.split(r"[,\t ]", line, maxsplit=1)[0].strip('"')


def _tabbed(lines: list[str]) -> list[str]:
    """The lines with tabs between their fields where these were separated by commas, or the label is in quotes."""
    try:
        rows = [next(csv.reader([line])) for line in lines]
    except csv.Error:  # longer than any path
        return lines
    # A name or a label may have a comma: it separates where every line has one and what follows can be a label.
    if all(len(row) > 1 and "\t" not in line and _is_label(row) for row, line in zip(rows, lines, strict=True)):
        counts = [len(row) > 2 and row[-2].strip().isdecimal() for row in rows]
        ends = [row[-2:] if count else row[-1:] for row, count in zip(rows, counts, strict=True)]
        parts = [(",".join(row[: -len(end)]), *end) for row, end in zip(rows, ends, strict=True)]
        return ["\t".join(part.strip() for part in line) for line in parts]
    return [re.sub(r'\s+"([^"]+)"$', r"\t\1", line) for line in lines]


def _is_label(row):
    is_video = pathlib.PurePath(row[0]).suffix.lower() in VIDEO_SUFFIXES
    return is_video or not any(map(str.isspace, row[-1].strip()))


def _halves(text: str) -> tuple[str, str]:
    """What is before and behind the last tab, or else the last white space; before is empty where there is none."""
    before, tab, behind = text.rpartition("\t")
    return (before.strip(), behind.strip()) if tab else (text.removesuffix(text.split()[-1]).strip(), text.split()[-1])


def _without_count(text: str) -> str:
    """The path before a number of frames; empty where there is no such number."""
    path, count = _halves(text) if text else ("", "")
    return path if count.isdecimal() else ""


def _understand(labels: set[str], class_file: str) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """The classes in label order, {label: class}, and what is to be said about it."""
    are_numbers = all(label.isdecimal() for label in labels)
    if not class_file:
        names = tuple(sorted(labels, key=(lambda label: (int(label), label)) if are_numbers else None))
        return names, dict(zip(names, names, strict=True)), ()
    names = read_class_file(pathlib.Path(class_file))
    if not are_numbers or labels <= set(names):
        return names, {name: name for name in names}, ()
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
