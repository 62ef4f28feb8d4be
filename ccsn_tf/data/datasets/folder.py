"""One's own videos: a folder a class, split by folder or by a reproducible draw."""

from __future__ import annotations

import pathlib

from ccsn_tf.data.datasets.listing import (
    VIDEO_SUFFIXES,
    Clip,
    Listing,
    Split,
    draw_test,
    require_folder,
    select_classes,
)
from ccsn_tf.data.frames import is_frame_folder
from ccsn_tf.errors import UserError


def read_folder(video_dir: str, classes: tuple[str, ...] = (), test_fraction: float = 0.2) -> Listing:
    """Reads `train/<class>/<video>` and `test/<class>/<video>`, or `<class>/<video>` split by `test_fraction`.

    A video may also be the folder of its frames (see `frames`). In the second form the test clips are drawn by
    a hash of their names (see `draw_test`). Every video is its own group. The split has the number 1.

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
            f"among {', '.join(sorted(VIDEO_SUFFIXES))}, or folders of frames, <class>/<video>/img_00001.jpg."
        )
    kept = select_classes(available, classes, video_dir)
    found = {side: [clip for clip in clips if clip.label in kept] for side, clips in found.items()}
    if "all" in found:
        test = draw_test(found["all"], test_fraction)
        train = [clip.name for clip in found["all"] if clip.name not in test]
        split = Split(tuple(train), tuple(sorted(test)))
    else:
        split = Split(*(tuple(clip.name for clip in found[side.name]) for side in sides))
    return Listing(kept, tuple(clip for clips in found.values() for clip in clips), {1: split})


def _scan(side: pathlib.Path, root: pathlib.Path) -> list[Clip]:
    clips, folders = {}, []
    for path in sorted(side.glob("[!.]*/[!.]*")):  # hidden: what systems leave beside one's files
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            name = _name(path, root)
            if name in clips:
                raise UserError(f"{path} and {clips[name].path} differ in their suffix only: rename one of them.")
            clips[name] = Clip(name, str(path), path.parent.name, name)
    for path in folders:  # in place of a video, not beside it
        if is_frame_folder(path):
            name = _name(path, root)
            clips.setdefault(name, Clip(name, str(path), path.parent.name, name))
    return [clips[name] for name in sorted(clips)]


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
    relative = path.relative_to(root)
    name = (relative if path.is_dir() else relative.with_suffix("")).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{str(path)!a} has a name that is not UTF-8: rename it.") from None
    return name
