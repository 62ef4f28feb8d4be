"""What a data set reader returns: clips with their class, and which of them train and which test."""

from __future__ import annotations

import dataclasses
import pathlib

from ccsn_tf.errors import UserError

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv"})


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video: `name` is its path below the data set's root without suffix, `group` what must not be split."""

    name: str
    path: str
    label: str
    group: str


@dataclasses.dataclass(frozen=True)
class Split:
    """Names of the clips on each side, as listed: some may be absent."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set: classes in label order, clips, splits by number, and listed clips that cannot be used, with why."""

    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    splits: dict[int, Split]
    absent: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        present = {clip.label for clip in self.clips}
        empty = [name for name in self.classes if name not in present]
        if empty:
            raise UserError(
                f"No clip of class {', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''} was found "
                f"({len(empty)} of {len(self.classes)} classes): complete --video_dir, or name the classes you have "
                "with --classes."
            )


def require_folder(path: str, flag: str) -> pathlib.Path:
    """The folder as a path.

    Raises:
        UserError: the flag is not given, or names no folder, or an empty one.
    """
    if not path:
        raise UserError(f"--{flag} is not given: name the folder.")
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise UserError(f"--{flag}={path} is not a folder: check the path.")
    if not any(folder.iterdir()):
        raise UserError(f"--{flag}={path} is empty: put the data there, or check the path.")
    return folder


def select_classes(available: tuple[str, ...], wanted: tuple[str, ...], source: str) -> tuple[str, ...]:
    """`wanted` in its own order, or all that are available.

    Raises:
        UserError: a wanted class does not exist, or is named twice.
    """
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise UserError(f"--classes names {', '.join(unknown)}, which {source} does not have: check the spelling.")
    if len(set(wanted)) != len(wanted):
        raise UserError("--classes names a class twice: remove one.")
    return wanted or available
