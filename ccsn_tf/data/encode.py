"""A video to the JPEGs of its record: decode, compute flow, compress. No TensorFlow: workers need not load it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import Estimator, flow_fields, quantise
from ccsn_tf.data.video import VideoError, iter_frames

MAX_BYTES = 2**31 - 2**24  # a protocol buffer ends at 2 GiB; the rest is for its own bookkeeping


@dataclasses.dataclass(frozen=True)
class EncodedClip:
    """JPEGs of a clip: `rgb` colour (H, W), `flow` grey (2H, W), x above y, quantised; field i leaves frame i."""

    rgb: list[bytes]
    flow: list[bytes]
    height: int
    width: int


def encode_clip(
    path: str,
    estimator: Estimator,
    config: DataConfig,
    min_fields: int,
    beat: Callable[[], None] = lambda: None,
) -> EncodedClip:
    """Decodes a video and computes its flow.

    Args:
        path: the video.
        estimator: from `make_estimator`.
        config: sizes, bound and quality.
        min_fields: fewest flow fields that the clip must have.
        beat: called for every frame.

    Raises:
        VideoError: the video cannot be used, or is too short.
    """
    rgb, flow, size = [], [], {}

    def stored(frames):  # a frame is kept as JPEG alone: long videos would not fit into memory
        for frame in frames:
            rgb.append(_jpeg(frame[..., ::-1], config.jpeg_quality))
            size["height"], size["width"] = frame.shape[:2]
            beat()
            yield frame

    try:
        for field in flow_fields(stored(iter_frames(path, config.short_side)), estimator):
            field = quantise(field, config.flow_bound)
            flow.append(_jpeg(np.concatenate([field[..., 0], field[..., 1]]), config.jpeg_quality))
    except cv2.error as error:
        raise VideoError(
            f"{path}: --flow={config.flow} fails on frames of {size['width']}x{size['height']} pixels "
            f"({error.err or error}): leave the video out, or make it larger."
        ) from None
    if len(flow) < min_fields:
        raise VideoError(
            f"{path} has {len(rgb)} frame{'s' if len(rgb) > 1 else ''}: a snippet of --flow_length={min_fields} "
            f"flow fields needs {min_fields + 1}."
        )
    if sum(map(len, rgb + flow)) > MAX_BYTES:
        raise VideoError(f"{path} is too long for a record, with {len(rgb)} frames: cut it into shorter videos.")
    return EncodedClip(rgb, flow, **size)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
