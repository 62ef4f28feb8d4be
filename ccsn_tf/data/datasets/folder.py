"""One's own videos: a folder a class, split by folder or by a reproducible draw."""

from __future__ import annotations

import hashlib
import pathlib

from ccsn_tf.data.datasets.listing import VIDEO_SUFFIXES, Clip, Listing, Split, require_folder, select_classes
from ccsn_tf.errors import UserError


def read_folder(video_dir: str, classes: tuple[str, ...] = (), test_fraction: float = 0.2) -> Listing:
    """Reads `train/<class>/<video>` and `test/<class>/<video>`, or `<class>/<video>` split by `test_fraction`.

    In the second form the videos of each class are ordered by a hash of their name and the first share tests: adding
    or removing a video moves few others. Every video is its own group. The split has the number 1.

    Raises:
        UserError: the folder is missing, empty, or has no videos, or a class is empty.
    """
    root = require_folder(video_dir, "video_dir")
    sides = [root / "train", root / "test"]
    if any(side.is_dir() for side in sides):
        for side in sides:
            if not side.is_dir():
                raise UserError(
                    f"--video_dir={video_dir} has one of train/ and test/ but not {side.name}/: add it, or put the "
                    "folders of the classes directly into --video_dir."
                )
        found = {side.name: _scan(side, root) for side in sides}
    else:
        found = {"all": _scan(root, root)}
    available = tuple(sorted({clip.label for clips in found.values() for clip in clips}))
    if not available:
        raise UserError(
            f"--video_dir={video_dir} has no video in folders named by class: expected <class>/<video>, with a suffix "
            f"among {', '.join(sorted(VIDEO_SUFFIXES))}."
        )
    kept = select_classes(available, classes, video_dir)
    found = {side: [clip for clip in clips if clip.label in kept] for side, clips in found.items()}
    if "all" in found:
        test = _draw(found["all"], test_fraction)
        train = [clip.name for clip in found["all"] if clip.name not in test]
        split = Split(tuple(train), tuple(sorted(test)))
    else:
        split = Split(*(tuple(clip.name for clip in found[side.name]) for side in sides))
    return Listing(kept, tuple(clip for clips in found.values() for clip in clips), {1: split})


def _scan(side: pathlib.Path, root: pathlib.Path) -> list[Clip]:
    clips = {}
    for path in sorted(side.glob("[!.]*/[!.]*")):  # hidden: what systems leave beside one's files
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            name = path.relative_to(root).with_suffix("").as_posix()
            if not _is_unicode(name):
                raise UserError(f"{str(path)!a} has a name that is not UTF-8: rename it.")
            if name in clips:
                raise UserError(f"{path} and {clips[name].path} differ in their suffix only: rename one of them.")
            clips[name] = Clip(name, str(path), path.parent.name, name)
    return list(clips.values())


def _is_unicode(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _draw(clips: list[Clip], fraction: float) -> set[str]:
    by_label = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip.name)
    drawn = set()
    for label, names in by_label.items():
        if len(names) < 2:
            raise UserError(f"Class {label} has one video, which cannot both train and test: add another.")
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        drawn.update(ranked[: min(len(names) - 1, max(1, round(fraction * len(names))))])
    return drawn
