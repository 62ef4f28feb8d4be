"""Spatial sampling: one box a clip, (top, left, height, width), shared by its segments and by both streams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Where TSN's crops lie in what the box leaves free, (down, right) in quarters: corners and centre, the middles of the
# edges, and the four points half-way between centre and corners.
_CORNERS, _EDGES = ((0, 0), (0, 4), (4, 0), (4, 4)), ((0, 2), (2, 0), (2, 4), (4, 2))
PLACES = (*_CORNERS, (2, 2), *_EDGES, (1, 1), (1, 3), (3, 1), (3, 3))


def random_box(height: int, width: int, min_scale: float, rng: np.random.Generator) -> np.ndarray:
    """A square of random side, `min_scale` to 1 of the short side, at a random place.

    Returns:
        int64 (4,): top, left, height, width, inside the frame.
    """
    side = max(1, round(min(height, width) * rng.uniform(min_scale, 1.0)))
    return np.array([rng.integers(height - side + 1), rng.integers(width - side + 1), side, side])


def corner_box(height: int, width: int, scales: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """TSN's multi-scale corner crop (Wang et al., Temporal Segment Networks, ECCV 2016).

    Height and width are shares of the short side, drawn from the pairs of `scales` that are at most one step apart; the
    place is one of `PLACES`. All pairs are equally likely, and so are all places.

    Args:
        height, width: of the frame.
        scales: shares of the short side, each in (0, 1], in order.
        rng: consumed twice.

    Returns:
        int64 (4,): top, left, height, width, inside the frame.
    """
    pairs = [(tall, wide) for i, tall in enumerate(scales) for j, wide in enumerate(scales) if abs(i - j) <= 1]
    size = [max(1, int(min(height, width) * scale)) for scale in pairs[rng.integers(len(pairs))]]
    down, right = PLACES[rng.integers(len(PLACES))]
    return _box(height, width, *size, down / 4, right / 4)


def view_boxes(height: int, width: int, crops: int) -> list[tuple[np.ndarray, bool]]:
    """The test views as (box, mirrored): the centre, three squares, or TSN's centre and corners, then these mirrored.

    The centre view is the largest square; the three are as large, at both ends and in the middle of the long side. The
    five of the 5- and 10-crop protocols have 7/8 of its side (TSN: 224 of 256), so that corners differ from the centre
    in a square frame too.
    """
    short = min(height, width)
    if crops == 1:
        return [(_box(height, width, short, short, 0.5, 0.5), False)]
    if crops == 3:
        return [(_box(height, width, short, short, place, place), False) for place in (0, 0.5, 1)]
    side = max(1, round(short * 7 / 8))
    places = [(0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)]
    boxes = [_box(height, width, side, side, down, right) for down, right in places]
    return [(box, mirrored) for mirrored in ((False, True) if crops == 10 else (False,)) for box in boxes]


def _box(height, width, tall, wide, down, right):
    return np.array([round((height - tall) * down), round((width - wide) * right), tall, wide])
