"""What a data set reader returns: clips with their class, and which of them train and which test."""

import codecs
import collections
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ccsn_tf.data.datasets.videos import VideoFinder, without_suffix
from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video: `name` is its path below the data set's root without suffix, `group` what must not be split.

    `path` is a file, or the folder of its frames (see `frames`). Groups of different classes are different.
    """

    name: str
    path: str
    label: str
    group: str


class Split(NamedTuple):
    """Names of the clips on each side, as listed: some may be absent."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set.

    `classes` in label order; `clips`; `splits` by number; `absent`: names of listed clips that are not there, with the
    reason, and `absent_labels` their classes; `mirrored` {class: class that its mirror image shows}, both ways, where
    that is another one; `notes`: how the lists were understood, where they can be read in several ways; `unused`
    {kind: how many} of what is in the folder and no video.
    """

    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    splits: dict[int, Split]
    absent: tuple[tuple[str, str], ...] = ()
    absent_labels: dict[str, str] = dataclasses.field(default_factory=dict)
    mirrored: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unused: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        present = {clip.label for clip in self.clips}
        empty = [name for name in self.classes if name not in present]
        if empty:
            raise UserError(
                f"No clip of class {some_of(empty)} was found ({len(empty)} of {len(self.classes)} classes): complete "
                "--video_dir, or name the classes you have with --classes."
            )


def some_of(names: Sequence[str]) -> str:
    """The first five of them, for a sentence."""
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def require_folder(path: str, flag: str) -> pathlib.Path:
    """The folder as a path. UserError: the flag is not given, or names no folder, or an empty one."""
    if not path:
        raise UserError(f"--{flag} is not given: name the folder.")
    folder = pathlib.Path(path)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"--{flag}={path} is {'empty' if folder.is_dir() else 'not a folder'}: check the path.")
    return folder


def select_classes(available: tuple[str, ...], wanted: tuple[str, ...], source: str) -> tuple[str, ...]:
    """`wanted` in its own order, or all that are available. UserError: one does not exist, or is named twice."""
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise UserError(f"--classes names {', '.join(unknown)}, which {source} does not have: check the spelling.")
    if len(set(wanted)) != len(wanted):
        raise UserError("--classes names a class twice: remove one.")
    return wanted or available


def read_lines(path: pathlib.Path, what: str) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, stripped, with their numbers; see `read_text`."""
    lines = re.split("\r\n?|\n", read_text(path, what))  # not splitlines: names may hold what it takes for an end
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_text(path: pathlib.Path, what: str) -> str:
    """The text of a list in UTF-8 or UTF-16, with or without the mark that editors on Windows put in front.

    Args:
        path: the file.
        what: for errors, what it should be, as in "--split_dir must hold UCF101's lists".

    Raises:
        UserError: it is missing, or no such text.
    """
    try:
        content = path.read_bytes()
        encoding = "utf-8-sig"
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            encoding = "utf-16"
        elif 0 in content[:2]:  # of a letter of ASCII, one byte is
            encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
        text = content.decode(encoding)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {what}.") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path} is not a text file in UTF-8 or UTF-16: {what}.")
    return text


class Entry(NamedTuple):
    """A clip as a list names it: its video is to be at `relative` below the data set's folder.

    `side` is "train", "test" or, where a split leaves the clip out, empty; `source` list and line, for errors.
    """

    name: str
    label: str
    group: str
    side: str
    relative: pathlib.PurePath
    source: str


def find_listed(
    classes: tuple[str, ...],
    entries: Mapping[int, Iterable[Entry]],
    folder: pathlib.Path,
    find: Callable[[pathlib.PurePath], pathlib.Path | None] | None = None,
    **more,
) -> Listing:
    """Finds the videos of listed clips; those that no split uses are left out.

    Where there is none, it may lie in `folder` itself, if no other listed clip has its bare name (TSN, denseflow).

    Args:
        classes: in label order; clips of others are left out.
        entries: of each split, by its number.
        folder: of the data set.
        find: gives the place of a video, or None, of its path below `folder`; default: `VideoFinder.find`.
        more: of the `Listing`.

    Raises:
        UserError: a split names a clip twice, on one side or on both, or a class has no clip.
    """
    clips, absent, splits, kept = {}, {}, {}, frozenset(classes)
    find = find or VideoFinder(folder).find
    entries = {number: list(listed) for number, listed in entries.items()}
    names = {entry.name: without_suffix(entry.relative).name for listed in entries.values() for entry in listed}
    times = collections.Counter(names.values())
    for number, listed in entries.items():
        sides, seen = {"train": [], "test": [], "": []}, {}
        for entry in listed:
            if entry.label not in kept:
                continue
            if entry.name in seen:
                raise UserError(
                    f"{entry.source} names {entry.name}, which {seen[entry.name]} names too: remove one of the two."
                )
            seen[entry.name] = entry.source
            sides[entry.side].append(entry.name)
            if not entry.side or entry.name in clips or entry.name in absent:
                continue
            place = find(entry.relative)
            if not place and times[names[entry.name]] == 1:
                place = find(pathlib.PurePath(entry.relative.name))
            if place:
                clips[entry.name] = Clip(entry.name, str(place), entry.label, entry.group)
            else:
                source = pathlib.PurePath(entry.source).name
                reason = f"{folder / entry.relative} is named in {source}, but does not exist."
                absent[entry.name] = reason, entry.label
        splits[number] = Split(tuple(sides["train"]), tuple(sides["test"]))
    return Listing(
        classes,
        tuple(clips[name] for name in sorted(clips)),
        splits,
        tuple((name, reason) for name, (reason, _) in sorted(absent.items())),
        {name: label for name, (_, label) in absent.items()},
        **more,
    )


def draw_split(names: Iterable[str], clips: Iterable[Clip], fraction: float) -> Split:
    """Holds out for the test, of each class, the first `fraction` of the clips by a hash of the name.

    Adding or removing a video moves few others.

    Args:
        names: of all clips, as listed; those that are not among `clips` train.
        clips: those that are there.
        fraction: of them; at least one clip is on each side, but the only clip of a class trains.
    """
    by_label, drawn = {}, set()
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip.name)
    for of_label in by_label.values():
        ranked = sorted(of_label, key=lambda name: hashlib.sha256(name.encode()).digest())
        drawn.update(ranked[: min(len(of_label) - 1, max(1, round(fraction * len(of_label))))])
    return Split(tuple(name for name in names if name not in drawn), tuple(sorted(drawn)))
