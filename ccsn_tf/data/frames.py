"""The frames of a clip, whether it is a video file or a folder of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ccsn_tf.data import frame_folders, video


def iter_frames(path: str, short_side: int, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields frames in order; see `video.iter_frames` and `frame_folders.iter_frames`."""
    return _reader(path).iter_frames(path, short_side, wanted)


def count_frames(path: str, beat: Callable[[], None] = lambda: None) -> int:
    """The number of frames that `iter_frames` yields; see `video.count_frames` and `frame_folders.count_frames`."""
    return frame_folders.count_frames(path) if os.path.isdir(path) else video.count_frames(path, beat)


def changed_at(path: str) -> int:
    """When a clip or its properties were changed last, in nanoseconds: of a folder, the latest of its files.

    Raises:
        OSError: it is not there any more.
    """
    inside = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return max(os.stat(file).st_ctime_ns for file in (path, *inside))


def _reader(path):
    return frame_folders if os.path.isdir(path) else video
