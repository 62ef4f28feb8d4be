"""A clip to its record: decode, compute flow, compress. No TensorFlow: workers need not load it."""

from __future__ import annotations

import collections
import functools
import os
from collections.abc import Callable

import cv2
import numpy as np

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Clip
from ccsn_tf.data.flow import Estimator, flow_fields, make_estimator, quantise
from ccsn_tf.data.frames import iter_flow, iter_jpegs
from ccsn_tf.data.prepare.worker_pool import Outcome, WorkerLostError
from ccsn_tf.data.records.write import EncodedClip, Record, Skipped, framed, last_change, serialise
from ccsn_tf.data.video import VideoError, iter_frames

MAX_BYTES = 2**31 - 2**24  # a protocol buffer ends at 2 GiB; the rest is for its own bookkeeping

_estimator = functools.lru_cache(maxsize=1)(make_estimator)


def make_record(clip: Clip, beat: Callable[[], None], config: DataConfig, min_fields: int) -> Record | Skipped:
    """What a worker does with a clip: decodes its video, computes its flow and serialises both.

    Args:
        clip: which video, and the name that the record bears.
        beat: called for every frame.
        config: sizes, flow and quality.
        min_fields: a clip with fewer flow fields is skipped.
    """
    change = last_change(clip)
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    try:
        encoded = encode_clip(clip.path, _estimator(config), config, min_fields, beat)
    except VideoError as error:
        return Skipped(str(error), change)
    return Record(framed(serialise(clip.name, encoded)), len(encoded.rgb) - 1, encoded.height, encoded.width)


def result_of(outcome: Outcome, clip: Clip) -> Record | Skipped:
    """What a worker made of a clip; where it died, hung or raised what it should not, the clip is to be tried again."""
    if outcome.error is None:
        return outcome.value
    remedy = "; the same command tries it again." if isinstance(outcome.error, WorkerLostError) else ""
    return Skipped(outcome.why(clip.path) + remedy, None)


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
    return _jpeg(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)


def encode_field(field: np.ndarray, quality: int) -> bytes:
    """The JPEG of a quantised flow field, uint8 (H, W, 2): grey, x above y."""
    return _jpeg(np.concatenate(cv2.split(field)), quality)


def _jpeg(image, quality):
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
