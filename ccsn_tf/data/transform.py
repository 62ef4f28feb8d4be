"""JPEGs of a clip to the network's input; the same for training, evaluation and prediction.

By OpenCV, which takes half the time of TensorFlow's operations for the same (docs/BENCHMARKS.md) and lets go of
Python's lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ccsn_tf.errors import UserError


def decode_frame(jpeg: np.ndarray) -> np.ndarray:
    """A frame's JPEG, uint8 (bytes,), to uint8 RGB (H, W, 3)."""
    return _decode(jpeg, cv2.IMREAD_COLOR_RGB)


def decode_field(jpeg: np.ndarray) -> np.ndarray:
    """A flow field's JPEG, uint8 (bytes,), to uint8 (2, H, W)."""
    stacked = _decode(jpeg, cv2.IMREAD_GRAYSCALE)
    return stacked.reshape(2, -1, stacked.shape[1])


def _decode(jpeg, flags):
    image = cv2.imdecode(jpeg, flags)
    if image is None:
        raise UserError("a record holds a damaged JPEG: prepare again into another --record_dir")
    return image


def network_input(
    frames: Sequence[np.ndarray],
    fields: Sequence[Sequence[np.ndarray]],
    box: Sequence[int],
    mirrored: bool,
    image_size: int,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops, mirrors and scales both modalities alike; bilinear, without antialiasing (docs/BENCHMARKS.md).

    Args:
        frames: K frames, uint8 (H, W, 3), one per snippet.
        fields: K times L flow fields, uint8 (2, H, W).
        box: top, left, height, width of what to keep.
        mirrored: a mirrored x-flow v becomes 255 - v (METHOD, Streams).
        image_size: side S of the result.
        out: arrays to write into; default: new ones.

    Returns:
        `rgb` uint8 (K, S, S, 3) and `flow` uint8 (K, S, S, 2L), channels x1, y1, x2, y2, ...
    """
    rows, columns = _part(box)
    size = (image_size, image_size)
    rgb, flow = out or empty_input((len(fields),), len(fields[0]), image_size)
    for number, frame in enumerate(frames):
        rgb[number] = _scaled(frame[rows, columns], size, mirrored)
    for number, snippet in enumerate(fields):
        planes = [_scaled(plane[rows, columns], size, mirrored) for field in snippet for plane in field]
        if mirrored:
            planes[0::2] = [cv2.bitwise_not(plane) for plane in planes[0::2]]
        cv2.merge(planes, dst=flow[number])
    return rgb, flow


def network_frames(
    snippets: Sequence[Sequence[np.ndarray]], box: Sequence[int], mirrored: bool, out: np.ndarray
) -> np.ndarray:
    """Crops, mirrors and scales the frames of snippets, as `network_input` does; flow computed from them is mirrored.

    Args:
        snippets: K times L + 1 frames, uint8 (H, W, 3).
        box, mirrored: see `network_input`.
        out: uint8 (K, L + 1, S, S, 3), written to and returned.
    """
    rows, columns = _part(box)
    size = out.shape[2:4]
    for number, snippet in enumerate(snippets):
        for place, frame in enumerate(snippet):
            out[number, place] = _scaled(frame[rows, columns], size, mirrored)
    return out


def _part(box):
    """The rows and columns of a box, as slices."""
    top, left, height, width = (int(number) for number in box)
    return slice(top, top + height), slice(left, left + width)


def _scaled(image: np.ndarray, size: tuple[int, int], mirrored: bool) -> np.ndarray:
    scaled = cv2.resize(image, size)
    return cv2.flip(scaled, 1) if mirrored else scaled


def empty_frames(leading: tuple[int, ...], flow_length: int, image_size: int) -> np.ndarray:
    """An array for `network_frames` with these leading axes, aligned likewise."""
    return _aligned((*leading, flow_length + 1, image_size, image_size, 3))


def empty_input(leading: tuple[int, ...], flow_length: int, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for `network_input` with these leading axes, aligned so that TensorFlow takes them without copying."""
    return tuple(_aligned((*leading, image_size, image_size, channels)) for channels in (3, 2 * flow_length))


def _aligned(shape, alignment=64):
    size = int(np.prod(shape))
    raw = np.empty(size + alignment, np.uint8)
    begin = -raw.ctypes.data % alignment
    return raw[begin : begin + size].reshape(shape)
