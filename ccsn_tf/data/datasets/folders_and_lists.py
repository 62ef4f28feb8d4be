"""One's own videos: a folder a class, split by folder or by a reproducible draw, or plain text lists."""

import csv
import dataclasses
import pathlib
import re

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import (
    Clip,
    Entry,
    Listing,
    Split,
    draw_split,
    find_listed,
    read_lines,
    require_folder,
    select_classes,
)
from ccsn_tf.data.datasets.videos import VIDEO_SUFFIXES, VideoFinder, videos_below, without_suffix
from ccsn_tf.errors import UserError

_PATH = "path|video|file|clip|name|(?:file|video)[ _]?(?:name|path|id)"
_HEADER = re.compile(rf'"?(?:{_PATH})"?[,\t ].*"?\b(?:label|class|action|category|target)(?:[ _]?(?:name|id))?"?', re.I)
_LINE = "expected '<path> <label>' or '<path> <number of frames> <label>'"


def read_folder(config: DataConfig) -> Listing:
    """Reads `train/<class>/<video>` and `test/<class>/<video>`, or `<class>/<video>` split by `test_fraction`.

    In the first form a side may be absent: the set then serves the other alone. In the second the test clips are drawn
    by a hash of their names (see `draw_split`). A video may lie at any depth below its class, and may also be the
    folder of its frames (see `frames`). Every video is its own group. The split has the number 1.

    Raises:
        UserError: the folder is missing, empty, or has no videos, or a class is empty.
    """
    root = require_folder(config.video_dir, "video_dir")
    sides = [side for side in Split._fields if (root / side).is_dir()]
    if sides:
        others = [path.name for path in root.glob("[!.]*") if path.is_dir() and path.name not in Split._fields]
        if len(sides) == 1 and others:
            other = "test" if sides == ["train"] else "train"
            raise UserError(
                f"--video_dir={root} has {sides[0]}/ and {others[0]}/, but not {other}/: add it, which may be "
                f"empty, or rename {sides[0]}/ if it is a class."
            )
    found, clips = videos_below(root), {side: {} for side in (Split._fields if sides else ("",))}
    for path in map(pathlib.PurePosixPath, found.paths):
        side, *below = path.parts if sides else ("", *path.parts)
        if side not in clips or len(below) < 2:
            found.unused["outside the folders of classes"] = found.unused.get("outside the folders of classes", 0) + 1
            continue
        name = without_suffix(path).as_posix()
        try:
            name.encode()  # as the manifest has it
        except UnicodeEncodeError:
            raise UserError(f"{str(root / path)!a} has a name that is not UTF-8: rename it.") from None
        if other := clips[side].get(name):
            raise UserError(f"{root / path} and {other.path} differ in their suffix only: rename one of them.")
        clips[side][name] = Clip(name, str(root / path), below[0], name)
    available = tuple(sorted({clip.label for of_side in clips.values() for clip in of_side.values()}))
    if not available:
        raise UserError(
            f"--video_dir={root} has no video in folders named by class: expected <class>/<video>, or folders of "
            f"frames, <class>/<video>/img_00001.jpg. {found.in_words()}".rstrip()
        )
    kept = select_classes(available, config.classes, str(root))
    chosen = [clip for of_side in clips.values() for _, clip in sorted(of_side.items()) if clip.label in kept]
    names = {side: tuple(clip.name for clip in chosen if clip.name in of_side) for side, of_side in clips.items()}
    split = Split(**names) if sides else draw_split(names[""], chosen, config.test_fraction)
    notes = (found.in_words(),) if found.unused else ()
    return Listing(kept, tuple(chosen), {1: split}, notes=notes, unused=found.unused)


def read_text_list(config: DataConfig) -> Listing:
    """Reads lists of '<path> <label>' a line, or '<path> <number of frames> <label>', whose number is ignored.

    A path is that of a video or of the folder of its frames, absolute or below `video_dir`; it may have spaces, quotes
    around it, backslashes in place of slashes, and another suffix than the file. The label is the last word, or what
    follows a tab, or a comma if every line has one, or is in quotes: a class's name or number. Blank lines, lines that
    begin with '# ' and a first line of column names (path, label) do not count. Every clip is its own group. The split
    has the number 1. Without a `video_dir` paths begin at the working folder, without a `train_list` the set is only
    tested on, without a `test_list` clips are drawn for the test (see `draw_split`), without a `class_file` labels are
    the classes' names.

    Raises:
        UserError: a list is missing or empty, a line is malformed, a label is no class, or as `find_listed`.
    """
    lists = {side: path for side, path in (("train", config.train_list), ("test", config.test_list)) if path}
    if not lists:
        raise UserError("--train_list is not given: name the list of the training clips.")
    root = require_folder(config.video_dir, "video_dir") if config.video_dir else pathlib.Path()
    finder, headers = VideoFinder(root), []
    listed = [(side, *line) for side, path in lists.items() for line in _read_list(pathlib.Path(path), finder, headers)]
    available, class_of, notes = _understand({label for _, _, label, _ in listed}, config.class_file)
    kept = select_classes(available, config.classes, config.class_file or next(iter(lists.values())))
    entries = []
    for side, relative, label, source in listed:
        if label not in class_of:
            raise UserError(
                f"{source}: label {label} is not one of {config.class_file}'s {len(available)} classes (their names, "
                "or numbers from 0)."
            )
        name = without_suffix(relative).as_posix()
        entries.append(Entry(name, class_of[label], name, side, relative, source))
    listing = find_listed(kept, {1: entries}, root, finder.find, notes=(*headers, *notes))
    if config.test_list:
        return listing
    split = draw_split(listing.splits[1].train, listing.clips, config.test_fraction)
    return dataclasses.replace(listing, splits={1: split})


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
