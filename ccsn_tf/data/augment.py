"""Spatial sampling: one square box a clip, shared by its segments and by both streams."""

from __future__ import annotations

import numpy as np


def random_box(height: int, width: int, min_scale: float, rng: np.random.Generator) -> np.ndarray:
    """A square of random side, `min_scale` to 1 of the short side, at a random place.

    Returns:
        int64 (3,): top, left, side, inside the frame.
    """
    side = max(1, round(min(height, width) * rng.uniform(min_scale, 1.0)))
    return np.array([rng.integers(height - side + 1), rng.integers(width - side + 1), side])


def view_boxes(height: int, width: int, crops: int) -> list[tuple[np.ndarray, bool]]:
    """The test views as (box, mirrored): the centre, three squares, or TSN's centre and corners, then these mirrored.

    The centre view is the largest square; the three are as large, at both ends and in the middle of the long side. The
    five of the 5- and 10-crop protocols have 7/8 of its side (TSN: 224 of 256), so that corners differ from the centre
    in a square frame too.
    """
    short = min(height, width)
    if crops == 1:
        return [(_box(height, width, short, 0.5, 0.5), False)]
    if crops == 3:
        return [(_box(height, width, short, place, place), False) for place in (0, 0.5, 1)]
    side = max(1, round(short * 7 / 8))
    places = [(0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)]
    boxes = [_box(height, width, side, down, right) for down, right in places]
    return [(box, mirrored) for mirrored in ((False, True) if crops == 10 else (False,)) for box in boxes]


def _box(height, width, side, down, right):
    return np.array([round((height - side) * down), round((width - side) * right), side])
