"""The frames and flow fields of a clip's snippets, from its video or from its record. No TensorFlow: workers use it.

Both come in the same form: K frames, uint8 (H, W, 3), the middle one of each snippet, and K times L flow fields, uint8
(2, H, W), quantised; snippets that overlap share their arrays.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.frame_folders import iter_flow
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.data.prepare.encode import flow_failure, refuse_few_frames
from ccsn_tf.data.records.read import read_jpegs
from ccsn_tf.data.sampling import centre_starts, middle_frame
from ccsn_tf.data.stopwatch import Stopwatch
from ccsn_tf.data.transform import decode_field, decode_frame

Snippets = tuple[list[np.ndarray], list[list[np.ndarray]]]


def video_snippets(path: str, config: Config, num_segments: int, watch: Stopwatch | None = None) -> Snippets:
    """Snippets that are evenly spaced over a video, as its record would have them, but for the JPEG.

    Only the frames that are looked at are converted, and flow is computed for them alone.

    Args:
        path: the video, or the folder of its frames.
        config: how frames and flow are made.
        num_segments: K.
        watch: of the stages "decode" and "flow".

    Raises:
        VideoError: the video cannot be used, or is shorter than a snippet.
    """
    watch = watch or Stopwatch()
    length, stride, frames, fields = config.model.flow_length, config.data.flow_stride, {}, {}
    with watch.stage("decode"):
        num_frames = count_frames(path, watch.beat)
        refuse_few_frames(path, num_frames, length, stride)
        starts = centre_starts((num_frames - 1) // stride, num_segments, length)
        snippets = stride * (starts[:, None] + np.arange(length))
        leaves = np.unique(snippets)
        wanted = np.unique([leaves, leaves + 1]).tolist()
        for index, frame in zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True):
            frames[index] = frame
            watch.beat()
    with watch.stage("flow"):
        for index, field in zip(leaves.tolist(), _fields(path, frames, leaves.tolist(), config.data), strict=True):
            fields[index] = field.transpose(2, 0, 1)
            watch.beat()
    seen = stride * middle_frame(starts, length)
    return [frames[index] for index in seen.tolist()], [[fields[i] for i in row] for row in snippets.tolist()]


def video_frames(
    path: str, config: Config, num_segments: int, watch: Stopwatch | None = None
) -> list[list[np.ndarray]]:
    """As `video_snippets`, all L + 1 frames of each snippet and no flow: K times L + 1, uint8 (H, W, 3).

    Raises:
        VideoError: the video cannot be used, or is shorter than a snippet.
    """
    watch, length, frames = watch or Stopwatch(), config.model.flow_length, {}
    with watch.stage("decode"):
        num_frames = count_frames(path, watch.beat)
        refuse_few_frames(path, num_frames, length, 1)
        snippets = centre_starts(num_frames - 1, num_segments, length)[:, None] + np.arange(length + 1)
        wanted = np.unique(snippets).tolist()
        for index, frame in zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True):
            frames[index] = frame
            watch.beat()
    return [[frames[index] for index in snippet] for snippet in snippets.tolist()]


def record_snippets(
    file: str | bytes,
    offset: int,
    length: int,
    num_fields: int,
    starts: np.ndarray,
    flow_length: int,
) -> Snippets:
    """Snippets of a clip's record, of which only their JPEGs are read and decoded. Safe in threads.

    Args:
        file: TFRecord file; with `offset`, `length` and `num_fields` as in `read_jpegs`.
        starts: int (K,), ascending: first flow field of each snippet.
        flow_length: L.
    """
    seen, snippets = middle_frame(starts, flow_length), starts[:, None] + np.arange(flow_length)
    frames, fields = np.unique(seen).tolist(), np.unique(snippets).tolist()
    frame_jpegs, field_jpegs = read_jpegs(file, offset, length, num_fields, frames, fields)
    frames = dict(zip(frames, map(decode_frame, frame_jpegs), strict=True))
    fields = dict(zip(fields, map(decode_field, field_jpegs), strict=True))
    return [frames[index] for index in seen.tolist()], [[fields[i] for i in row] for row in snippets.tolist()]


def record_frames(
    file: str | bytes, offset: int, length: int, num_fields: int, starts: np.ndarray, flow_length: int
) -> list[list[np.ndarray]]:
    """As `record_snippets`, all L + 1 frames of each snippet and no flow: K times L + 1, uint8 (H, W, 3)."""
    snippets = starts[:, None] + np.arange(flow_length + 1)
    wanted = np.unique(snippets).tolist()
    jpegs, _ = read_jpegs(file, offset, length, num_fields, wanted, [])
    frames = dict(zip(wanted, map(decode_frame, jpegs), strict=True))
    return [[frames[index] for index in row] for row in snippets.tolist()]


def _fields(path, frames, leaves, data):
    """Yields the quantised fields, uint8 (H, W, 2), that leave these frames."""
    if data.flow == "stored" and os.path.isdir(path):
        yield from iter_flow(path, data.short_side, leaves)
        return
    greys, own = {index: grey_of(frame) for index, frame in frames.items()}, threading.local()

    def field(index):
        if not hasattr(own, "estimate"):  # it holds buffers: one a thread
            own.estimate = make_estimator(data)
        return quantise(own.estimate(greys[index], greys[index + 1]), data.flow_bound)

    # As many threads as OpenCV may use, which is one in processes that share the cores among them. Its own threads gain
    # nothing on pictures of this size.
    try:
        with concurrent.futures.ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
            yield from pool.map(field, leaves)
    except cv2.error as error:
        raise flow_failure(path, data, *frames[leaves[0]].shape[:2], error) from None
