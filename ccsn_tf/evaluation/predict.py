"""From a video file to class scores, with flow computed only for the snippets that are looked at."""

from __future__ import annotations

import os
from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.encode import refuse_few_frames
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.frame_folders import iter_flow
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.data.sampling import centre_starts, middle_frame
from ccsn_tf.data.transform import empty_frames, network_frames, network_input
from ccsn_tf.evaluation.protocol import LOGITS, average_views, score_views


def predict_video(path: str, forward: Callable, config: Config) -> dict[str, np.ndarray]:
    """Class probabilities of one video.

    Args:
        path: the video, or the folder of its frames.
        forward: from `make_forward`.
        config: of the run; frames and flow are made as its records were, but for the JPEG between.

    Returns:
        {"spatial", "temporal", "fused"}: float32 (classes,), softmax of the logits averaged over views.

    Raises:
        VideoError: the video cannot be used, or is shorter than a snippet.
    """
    views = _views_of_frames(path, config) if config.model.flow_source == "graph" else _views(path, config)
    crops = len(next(iter(views.values())))
    outputs = average_views(score_views(forward, views), crops, config.eval.average)
    return {stream: _softmax(outputs[name][0]) for stream, name in LOGITS.items()}


def _views(path, config):
    """The network's inputs `rgb` and `flow`, one view after the other."""
    frames, fields = read_snippets(path, config, config.eval.test_segments)
    views = [
        network_input(frames, fields, box, mirrored, config.model.image_size)
        for box, mirrored in view_boxes(*frames.shape[1:3], config.eval.test_crops)
    ]
    return dict(zip(("rgb", "flow"), (np.stack(parts) for parts in zip(*views, strict=True)), strict=True))


def _views_of_frames(path, config):
    """The network's input `frames`, one view after the other."""
    snippets = read_frames(path, config, config.eval.test_segments)
    boxes = view_boxes(*snippets[0][0].shape[:2], config.eval.test_crops)
    frames = empty_frames((len(boxes), len(snippets)), config.model.flow_length, config.model.image_size)
    for out, (box, mirrored) in zip(frames, boxes, strict=True):
        network_frames(snippets, box, mirrored, out)
    return {"frames": frames}


def read_frames(path: str, config: Config, num_segments: int) -> list[list[np.ndarray]]:
    """All L + 1 frames of evenly spaced snippets, K times L + 1, uint8 (H, W, 3): for flow inside the network.

    Raises:
        VideoError: see `predict_video`.
    """
    length, num_frames = config.model.flow_length, count_frames(path)
    refuse_few_frames(path, num_frames, length, 1)
    snippets = centre_starts(num_frames - 1, num_segments, length)[:, None] + np.arange(length + 1)
    wanted = np.unique(snippets).tolist()
    frames = dict(zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True))
    return [[frames[index] for index in snippet] for snippet in snippets.tolist()]


def read_snippets(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames, uint8 (K, H, W, 3), and quantised flow, uint8 (K, L, 2, H, W), of evenly spaced snippets.

    They are those that the video's record would have; only the frames that are looked at are converted.

    Raises:
        VideoError: see `predict_video`.
    """
    length, stride, num_frames = config.model.flow_length, config.data.flow_stride, count_frames(path)
    refuse_few_frames(path, num_frames, length, stride)
    starts = centre_starts((num_frames - 1) // stride, num_segments, length)
    snippets = stride * (starts[:, None] + np.arange(length))
    leaves = np.unique(snippets)  # snippets that overlap share their fields
    wanted = np.unique([leaves, leaves + 1]).tolist()
    frames = dict(zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True))
    fields = dict(zip(leaves.tolist(), _fields(path, frames, leaves.tolist(), config.data), strict=True))
    middles = stride * middle_frame(starts, length)
    return (
        np.stack([frames[index] for index in middles.tolist()]),
        np.array([[fields[index].transpose(2, 0, 1) for index in snippet] for snippet in snippets.tolist()]),
    )


def _fields(path, frames, leaves, data):
    """The quantised fields, uint8 (H, W, 2), that leave these frames."""
    if data.flow == "stored" and os.path.isdir(path):
        return iter_flow(path, data.short_side, leaves)
    estimator, greys = make_estimator(data), {index: grey_of(frame) for index, frame in frames.items()}
    return (quantise(estimator(greys[index], greys[index + 1]), data.flow_bound) for index in leaves)


def _softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
