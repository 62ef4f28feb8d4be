"""One's own videos: a folder a class, split by folder or by a reproducible draw."""

from __future__ import annotations

import pathlib

from ccsn_tf.data.datasets.listing import Clip, Listing, Split, draw_split, require_folder, select_classes
from ccsn_tf.data.datasets.videos import videos_below, without_suffix
from ccsn_tf.errors import UserError


def read_folder(video_dir: str, classes: tuple[str, ...] = (), test_fraction: float = 0.2) -> Listing:
    """Reads `train/<class>/<video>` and `test/<class>/<video>`, or `<class>/<video>` split by `test_fraction`.

    In the first form a side may be absent: the set then serves the other alone. In the second the test clips are drawn
    by a hash of their names (see `draw_split`). A video may lie at any depth below its class, and may also be the
    folder of its frames (see `frames`). Every video is its own group. The split has the number 1.

    Raises:
        UserError: the folder is missing, empty, or has no videos, or a class is empty.
    """
    root = require_folder(video_dir, "video_dir")
    sides = [side for side in Split._fields if (root / side).is_dir()]
    if sides:
        others = [path.name for path in root.glob("[!.]*") if path.is_dir() and path.name not in Split._fields]
        if len(sides) == 1 and others:
            other = "test" if sides == ["train"] else "train"
            raise UserError(
                f"--video_dir={video_dir} has {sides[0]}/ and {others[0]}/, but not {other}/: add it, which may be "
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
            f"--video_dir={video_dir} has no video in folders named by class: expected <class>/<video>, or folders of "
            f"frames, <class>/<video>/img_00001.jpg. {found.in_words()}".rstrip()
        )
    kept = select_classes(available, classes, video_dir)
    chosen = [clip for of_side in clips.values() for _, clip in sorted(of_side.items()) if clip.label in kept]
    names = {side: tuple(clip.name for clip in chosen if clip.name in of_side) for side, of_side in clips.items()}
    split = Split(**names) if sides else draw_split(names[""], chosen, test_fraction)
    notes = (found.in_words(),) if found.unused else ()
    return Listing(kept, tuple(chosen), {1: split}, notes=notes, unused=found.unused)
