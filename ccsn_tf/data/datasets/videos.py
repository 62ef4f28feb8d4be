"""The videos here: those below a folder, and those that a list names. Every command asks this one reader.

A video is a file of a container that FFmpeg reads, or the folder of a clip's frames (see `frames`).
"""

import collections
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from ccsn_tf.data.frames import are_frames, is_frame_folder
from ccsn_tf.data.video import is_video
from ccsn_tf.errors import UserError

# Names that say what a file is; others are looked into, where no video has the same name but for the suffix.
VIDEO_SUFFIXES = frozenset(
    (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv")
    + (".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".vob", ".asf", ".mxf")
)


class Found(NamedTuple):
    """Paths below a folder, sorted and with "/", and {kind: how many} of what is there and no video."""

    paths: list[str]
    unused: dict[str, int]

    def in_words(self) -> str:
        """A sentence on what is not used; empty: everything is."""
        counted = sorted(self.unused.items(), key=lambda item: (-item[1], item[0]))
        return f"Not recognised: {', '.join(f'{count} {kind}' for kind, count in counted)}." if counted else ""


def without_suffix(path: pathlib.PurePath) -> pathlib.PurePath:
    """The path without the suffix of a video; other dots belong to the name."""
    return path.with_suffix("") if path.suffix.lower() in VIDEO_SUFFIXES else path


def videos_below(folder: str | os.PathLike) -> Found:
    """All videos below a folder, at any depth. Links are followed, but not to a folder that one is in."""
    paths, unused = [], collections.Counter()
    waiting = [("", ())]
    while waiting:
        place, above = waiting.pop()
        files, folders = _look(os.path.join(folder, place), unused)
        status = os.stat(os.path.join(folder, place))
        above = (*above, (status.st_dev, status.st_ino))
        if place and are_frames(files, folders) and not any(map(_has_suffix, files)):
            paths.append(place)
            continue
        if place and not files and not folders:
            unused["empty folder"] += 1
        known = {os.path.splitext(name)[0] for name in files if _has_suffix(name)}
        for name in files:
            path, (stem, suffix) = os.path.join(place, name), os.path.splitext(name)
            if _has_suffix(name) or (stem not in known and is_video(os.path.join(folder, path))):
                paths.append(path)
            else:
                unused[suffix or "without suffix"] += 1
        for name in folders:
            path = os.path.join(place, name)
            status = os.stat(os.path.join(folder, path))
            if (status.st_dev, status.st_ino) in above:
                unused["link to a folder that it is in"] += 1
            elif name in known and is_frame_folder(os.path.join(folder, path)):
                unused["folder of frames beside its video"] += 1
            else:
                waiting.append((path, above))
    return Found(sorted(paths), dict(unused))


def videos_of(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The videos that paths stand for, a folder for those below it; and what is to be said about it.

    What is no video stays among them, for its reader to say why.
    """
    videos, notes = [], []
    for path in paths:
        if not os.path.isdir(path) or is_frame_folder(path):
            videos.append(path)
            continue
        found = videos_below(path)
        videos += [os.path.join(path, name) for name in found.paths] or [path]
        notes += [f"{path}: {words}" for words in [found.in_words()] if words]
    return videos, notes


class VideoFinder:
    """Where the videos are that a list names; each folder is looked at once.

    Args:
        folder: of the data set.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder, self._looked = pathlib.Path(folder), {}

    def find(self, relative: pathlib.PurePath) -> pathlib.Path | None:
        """The file of that name, or else the video whose suffix alone is another, or the folder of its frames.

        Raises:
            UserError: two videos have that name, with other suffixes.
        """
        place = self._folder / relative.parent
        if place not in self._looked:
            files, folders = _look(place, collections.Counter()) if os.path.isdir(place) else ((), ())
            by_stem = collections.defaultdict(list)
            for name in filter(_has_suffix, files):
                by_stem[os.path.splitext(name)[0]].append(name)
            self._looked[place] = frozenset(files), by_stem, frozenset(folders)
        files, by_stem, folders = self._looked[place]
        stem = without_suffix(relative).name
        same = by_stem.get(stem, ())
        if relative.name in files:
            return place / relative.name
        if len(same) > 1:
            raise UserError(f"{place / same[0]} and {same[1]} differ in their suffix only: remove one of them.")
        return next((place / name for name in (*same, *sorted({stem, relative.name} & folders))), None)

    def find_written(self, text: str) -> tuple[pathlib.PurePosixPath, pathlib.Path | None]:
        """The path below the folder that a list means, perhaps in quotes or with backslashes, and what `find` gives."""
        bare = text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" else text
        paths = [self._below(written) for written in dict.fromkeys((text, bare, bare.replace("\\", "/")))]
        return next(((path, video) for path in paths if (video := self.find(path))), (paths[-1], None))

    def _below(self, text):
        path, base = (pathlib.PurePosixPath(os.path.normpath(name)) for name in (self._folder / text, self._folder))
        return path.relative_to(base) if path.is_relative_to(base) else path


def _has_suffix(name):
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _look(folder, unused):
    """Names of the files and of the folders in a folder, sorted; what is neither or hidden is counted."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):  # what systems leave beside one's files
                    unused["hidden"] += 1
                elif _is(entry.is_dir):
                    folders.append(entry.name)
                elif _is(entry.is_file):
                    files.append(entry.name)
                else:
                    unused["link that leads nowhere" if entry.is_symlink() else "device or pipe"] += 1
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): change its permissions, or move it.") from None
    return sorted(files), sorted(folders)


def _is(kind):
    try:
        return kind()
    except OSError:  # a link to itself
        return False
