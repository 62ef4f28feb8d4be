"""Videos that look the same although their files differ: copies that were encoded again, or scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np

from ccsn_tf.data.frames import iter_frames

_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the frames that are compared, as shares of the video
_SIZE = 32
_FLAT = 4.0  # grey levels of standard deviation: a frame with less, as a black one, shows nothing
_MOST_BITS = 7  # of 64 that may differ, on average over the frames
_FEWEST_FRAMES = 3  # of a pair of videos that must be comparable
_ROWS = 256  # compared at a time


def likeness(path: str, beat: Callable[[], None] = lambda: None) -> tuple[int, ...]:
    """Five 64-bit numbers, one a frame, that stay nearly the same when a video is encoded again or scaled.

    A bit says whether a place of the frame is brighter than the one on its right (a difference hash: the frame is
    averaged to 8 rows of 9 places). Frames without contrast give 0.

    Raises:
        VideoError: the video cannot be used.
    """
    small = []
    for frame in iter_frames(path, _SIZE):
        small.append(cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA))
        beat()
    return tuple(_bits(small[int(place * len(small))]) for place in _PLACES)


def alike(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, str]]:
    """Yields pairs of names, of `one` and of `other`, whose videos look the same; both map names to likenesses."""
    names = list(one), list(other)
    if not names[0] or not names[1]:
        return
    rows, columns = (np.array([side[name] for name in side], np.uint64) for side in (one, other))
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS, None]
        comparable = (some != 0) & (columns != 0)
        differing = np.where(comparable, np.bitwise_count(some ^ columns), 0).sum(axis=2, dtype=np.int64)
        number = comparable.sum(axis=2)
        same = (number >= _FEWEST_FRAMES) & (differing <= _MOST_BITS * number)
        for row, column in zip(*np.nonzero(same), strict=True):
            yield names[0][start + row], names[1][column]


def _bits(image):
    if image.std() < _FLAT:
        return 0
    return int.from_bytes(np.packbits(image[:, 1:] > image[:, :-1]).tobytes(), "big")
