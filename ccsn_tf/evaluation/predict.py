"""From a video file to class scores, with flow computed only for the snippets that are looked at."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.flow import flow_fields, make_estimator, quantise
from ccsn_tf.data.sampling import centre_starts, middle_frame
from ccsn_tf.data.transform import network_input
from ccsn_tf.data.video import VideoError, count_frames, iter_frames
from ccsn_tf.evaluation.protocol import LOGITS, average_views, score_views


def predict_video(path: str, forward: Callable, config: Config) -> dict[str, np.ndarray]:
    """Class probabilities of one video.

    Args:
        path: the video.
        forward: from `make_forward`.
        config: of the run; frames and flow are made as its records were, but for the JPEG between.

    Returns:
        {"spatial", "temporal", "fused"}: float32 (classes,), softmax of the logits averaged over views.

    Raises:
        VideoError: the video cannot be used, or is shorter than a snippet.
    """
    frames, fields = read_snippets(path, config, config.eval.test_segments)
    views = [
        network_input(frames, fields, box, mirrored, config.model.image_size)
        for box, mirrored in view_boxes(*frames.shape[1:3], config.eval.test_crops)
    ]
    rgb, flow = (np.stack(parts) for parts in zip(*views, strict=True))
    outputs = average_views(score_views(forward, rgb, flow), len(views), config.eval.average)
    return {stream: _softmax(outputs[name][0]) for stream, name in LOGITS.items()}


def read_snippets(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and quantised flow of evenly spaced snippets; see `transform.decode_snippets` for the shapes.

    Raises:
        VideoError: see `predict_video`.
    """
    length, num_frames = config.model.flow_length, count_frames(path)
    if num_frames <= length:
        raise VideoError(f"{path} has {num_frames} frames: a snippet of {length} flow fields needs {length + 1}.")
    starts = centre_starts(num_frames - 1, num_segments, length)
    wanted = np.unique(starts[:, None] + np.arange(length + 1))
    frames = dict(zip(wanted.tolist(), iter_frames(path, config.data.short_side, wanted.tolist()), strict=True))
    estimator = make_estimator(config.data)
    fields = {}
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1):  # snippets that overlap share their fields
        flows = flow_fields((frames[index] for index in run.tolist()), estimator)
        fields.update(zip(run.tolist(), (quantise(flow, config.data.flow_bound) for flow in flows), strict=False))
    snippets = [[fields[start + offset].transpose(2, 0, 1) for offset in range(length)] for start in starts.tolist()]
    return np.stack([frames[index] for index in middle_frame(starts, length).tolist()]), np.array(snippets)


def _softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
