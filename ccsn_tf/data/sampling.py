"""Where a clip is looked at, in time and in space: at random for training, at fixed places for tests.

Positions in time are indices of stored flow fields, from 0; field i leaves stored frame i. A snippet of L fields that
starts at t is seen by the temporal stream whole, and by the spatial stream as its middle frame, t + L // 2. In space a
clip has one box, (top, left, height, width), shared by its segments and by both streams. Both are sampled as in
Temporal Segment Networks (Wang et al., ECCV 2016).
"""

from collections.abc import Sequence

import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.records.manifest import StoredClip

# Where TSN's crops lie in what the box leaves free, (down, right) in quarters: corners and centre, the middles of the
# edges, and the four points half-way between centre and corners.
_CORNERS, _EDGES = ((0, 0), (0, 4), (4, 0), (4, 4)), ((0, 2), (2, 0), (2, 4), (4, 2))
PLACES = (*_CORNERS, (2, 2), *_EDGES, (1, 1), (1, 3), (3, 1), (3, 3))


def train_starts(num_fields: int, num_segments: int, flow_length: int, rng: np.random.Generator) -> np.ndarray:
    """A random start in each of K equal parts of N fields, at least L: int64 (K,), sorted, each in [0, N - L]."""
    positions = num_fields - flow_length + 1
    # Real-valued bounds spread the remainder over all segments, where TSN's integer part never reaches the clip's end.
    edges = np.arange(num_segments) * (positions / num_segments)
    offsets = rng.random(num_segments) * (positions / num_segments)
    return np.minimum((edges + offsets).astype(np.int64), positions - 1)


def centre_starts(num_fields: int, num_segments: int, flow_length: int) -> np.ndarray:
    """The middle of each of `num_segments` equal parts, int64 (K,), sorted, each in [0, N - L]."""
    positions = num_fields - flow_length + 1
    return ((np.arange(num_segments) + 0.5) * (positions / num_segments)).astype(np.int64)


def middle_frame(starts: np.ndarray, flow_length: int) -> np.ndarray:
    """The frame that the spatial stream sees of each snippet."""
    return starts + flow_length // 2


def training_box(clip: StoredClip, data: DataConfig, rng: np.random.Generator) -> np.ndarray:
    if data.crop == "corners":
        return corner_box(clip.height, clip.width, data.crop_scales, rng)
    return random_box(clip.height, clip.width, data.min_crop_scale, rng)


def random_box(height: int, width: int, min_scale: float, rng: np.random.Generator) -> np.ndarray:
    """A square of random side, `min_scale` to 1 of the short side, at a random place: int64 (4,), inside the frame."""
    side = max(1, round(min(height, width) * rng.uniform(min_scale, 1.0)))
    return np.array([rng.integers(height - side + 1), rng.integers(width - side + 1), side, side])


def corner_box(height: int, width: int, scales: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """TSN's multi-scale corner crop, int64 (4,), inside the frame.

    Height and width are shares of the short side, drawn from the pairs of `scales` (in order, each in (0, 1]) that are
    at most one step apart; the place is one of `PLACES`. All pairs are equally likely, and so are all places.
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
    side, corners = min(height, width), ((0, 0), (0, 1), (1, 0), (1, 1))
    places = {1: [(0.5, 0.5)], 3: [(0, 0), (0.5, 0.5), (1, 1)]}.get(crops, [(0.5, 0.5), *corners])
    if crops > 3:
        side = max(1, round(side * 7 / 8))
    boxes = [_box(height, width, side, side, down, right) for down, right in places]
    return [(box, mirrored) for mirrored in ((False, True) if crops == 10 else (False,)) for box in boxes]


def box_on_field(box: Sequence[int], frame: tuple[int, int], field: tuple[int, int]) -> list[int]:
    """A frame's box on a field of another (height, width): its edges scaled and rounded, halves up, at least a pixel.

    `serving.saved_model.decoding` does the same in whole numbers, inside the graph.
    """
    begins, sizes = [], []
    for begin, length, whole, scaled in zip(box[:2], box[2:], frame, field, strict=True):
        first, last = ((2 * int(place) * scaled + whole) // (2 * whole) for place in (begin, begin + length))
        begins.append(min(first, scaled - 1))
        sizes.append(max(1, last - begins[-1]))
    return begins + sizes


def _box(height, width, tall, wide, down, right):
    return np.array([round((height - tall) * down), round((width - wide) * right), tall, wide])
