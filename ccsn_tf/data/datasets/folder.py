"""One's own videos: a folder a class, split by folder or by a reproducible draw."""

from __future__ import annotations

import pathlib

from ccsn_tf.data.datasets.listing import (
    VIDEO_SUFFIXES,
    Clip,
    Listing,
    Split,
    draw_split,
    require_folder,
    select_classes,
)
from ccsn_tf.data.frames import is_frame_folder
from ccsn_tf.errors import UserError


def read_folder(video_dir: str, classes: tuple[str, ...] = (), test_fraction: float = 0.2) -> Listing:
    """Reads `train/<class>/<video>` and `test/<class>/<video>`, or `<class>/<video>` split by `test_fraction`.

    A video may also be the folder of its frames (see `frames`). In the second form the test clips are drawn by
    a hash of their names (see `draw_split`). Every video is its own group. The split has the number 1.

    Raises:
        UserError: the folder is missing, empty, or has no videos, or a class is empty.
    """
    root = require_folder(video_dir, "video_dir")
    if any((root / side).is_dir() for side in Split._fields):
        for side in Split._fields:
            if not (root / side).is_dir():
                raise UserError(
                    f"--video_dir={video_dir} has one of train/ and test/ but not {side}/: add it, or put the folders "
                    "of the classes directly into --video_dir."
                )
        found = [_scan(root / side, root) for side in Split._fields]
    else:
        found = [_scan(root, root)]
    available = tuple(sorted({clip.label for side in found for clip in side}))
    if not available:
        raise UserError(
            f"--video_dir={video_dir} has no video in folders named by class: expected <class>/<video>, with a suffix "
            f"among {', '.join(sorted(VIDEO_SUFFIXES))}, or folders of frames, <class>/<video>/img_00001.jpg."
        )
    kept = select_classes(available, classes, video_dir)
    names = [tuple(clip.name for clip in side if clip.label in kept) for side in found]
    clips = tuple(clip for side in found for clip in side if clip.label in kept)
    split = Split(*names) if len(names) == 2 else draw_split(*names, clips, test_fraction)
    return Listing(kept, clips, {1: split})


def _scan(side: pathlib.Path, root: pathlib.Path) -> list[Clip]:
    clips, folders = {}, {}
    for path in sorted(side.glob("[!.]*/[!.]*")):  # hidden: what systems leave beside one's files
        of_kind, name = (folders if path.is_dir() else clips), path.relative_to(root)
        if path.is_dir():
            if not is_frame_folder(path):
                continue
        elif path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            name = name.with_suffix("")
        else:
            continue
        name = name.as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{str(path)!a} has a name that is not UTF-8: rename it.") from None
        if name in of_kind:
            raise UserError(f"{path} and {clips[name].path} differ in their suffix only: rename one of them.")
        of_kind[name] = Clip(name, str(path), path.parent.name, name)
    return [clip for _, clip in sorted({**folders, **clips}.items())]  # a folder in place of a video, not beside it
