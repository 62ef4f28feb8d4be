"""A clip to the JPEGs of its record: decode, compute flow, compress. No TensorFlow: workers need not load it."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import Estimator, flow_fields, quantise
from ccsn_tf.data.frames import iter_flow, iter_jpegs
from ccsn_tf.data.video import VideoError, iter_frames

MAX_BYTES = 2**31 - 2**24  # a protocol buffer ends at 2 GiB; the rest is for its own bookkeeping


@dataclasses.dataclass(frozen=True)
class EncodedClip:
    """JPEGs of a clip: `rgb` colour (H, W), `flow` grey (2H, W), x above y, quantised; field i leaves frame i.

    There is one field fewer than frames, or, with `flow=none`, none. With `flow_stride` s, frame i is the video's frame
    i * s.
    """

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
    """Decodes a clip and computes its flow.

    Of a folder of frames, JPEGs of the right size are kept as they are, and with --flow=stored the flow images are
    taken for the flow.

    Args:
        path: the video, or the folder of its frames.
        estimator: from `make_estimator`; not used with --flow=stored.
        config: sizes, bound and quality.
        min_fields: fewest flow fields that the clip must have.
        beat: called for every frame.

    Raises:
        VideoError: the video cannot be used, or is too short.
    """
    rgb, flow, size, seen, total = [], [], {}, 0, 0

    def keep(jpegs, jpeg):
        nonlocal total
        total += len(jpeg)
        if total > MAX_BYTES:  # at once: a video without end would take all memory
            raise VideoError(f"{path} is too long: {len(rgb)} frames fill a record; cut it into shorter videos.")
        jpegs.append(jpeg)

    def stored(frames):  # a frame is kept as JPEG alone: long videos would not fit into memory
        nonlocal seen
        for frame, jpeg in frames:
            if seen % config.flow_stride == 0:
                keep(rgb, jpeg or encode_frame(frame, config.jpeg_quality))
            size["height"], size["width"] = frame.shape[:2]
            seen += 1
            beat()
            yield frame

    frames = stored(_frames(path, config.short_side))
    try:
        for field in _fields(path, frames, estimator, config):
            keep(flow, encode_field(field, config.jpeg_quality))
    except cv2.error as error:
        raise flow_failure(path, config, size["height"], size["width"], error) from None
    refuse_few_frames(path, seen, min_fields, config.flow_stride)
    return EncodedClip(rgb, flow, **size)


def _frames(path, short_side):
    """Frames, each with the JPEG that it was, if it was one."""
    if os.path.isdir(path):
        return iter_jpegs(path, short_side)
    return ((frame, None) for frame in iter_frames(path, short_side))


def _fields(path, frames, estimator, config):
    """Quantised fields, uint8 (H, W, 2), of frames that are used up."""
    stride = config.flow_stride
    if config.flow == "none":
        collections.deque(frames, maxlen=0)  # which keeps their JPEGs
        return ()
    if config.flow != "stored":
        return (quantise(field, config.flow_bound) for field in flow_fields(frames, estimator, stride))
    if not os.path.isdir(path):
        raise VideoError(
            f"{path} is a video, and --flow=stored takes flow images from a folder of frames: choose an algorithm with "
            "--flow."
        )
    num_frames = sum(1 for _ in frames)
    return iter_flow(path, config.short_side, range(0, (num_frames - 1) // stride * stride, stride))


def refuse_few_frames(path: str, num_frames: int, flow_length: int, stride: int) -> None:
    """Raises VideoError where `num_frames` frames hold no snippet of `flow_length` fields, `stride` frames apart."""
    needed = flow_length * stride + 1
    if num_frames < needed:
        frames = f"{num_frames} frame{'s' if num_frames > 1 else ''}"
        apart = f" at --flow_stride={stride}" if stride > 1 else ""
        raise VideoError(
            f"{path} has {frames}: a snippet of --flow_length={flow_length} flow fields{apart} needs {needed}."
        )


def flow_failure(path: str, config: DataConfig, height: int, width: int, error: cv2.error) -> VideoError:
    """What to raise where OpenCV computes no flow of frames, as it does where they are too small for an algorithm."""
    return VideoError(
        f"{path}: --flow={config.flow} fails on frames of {width}x{height} pixels ({error.err or error}): leave the "
        "video out, or make it larger."
    )


def encode_frame(frame: np.ndarray, quality: int) -> bytes:
    """The JPEG of a frame, uint8 RGB (H, W, 3)."""
    return encode_jpeg(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)


def encode_field(field: np.ndarray, quality: int) -> bytes:
    """The JPEG of a quantised flow field, uint8 (H, W, 2): grey, x above y."""
    return encode_jpeg(np.concatenate(cv2.split(field)), quality)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """The JPEG of an image as OpenCV has it, grey (H, W) or BGR (H, W, 3)."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
