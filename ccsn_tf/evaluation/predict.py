"""From a video file to class scores, with flow computed only for the snippets that are looked at."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.snippets import video_frames, video_snippets
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
    snippets = video_frames(path, config, config.eval.test_segments)
    boxes = view_boxes(*snippets[0][0].shape[:2], config.eval.test_crops)
    frames = empty_frames((len(boxes), len(snippets)), config.model.flow_length, config.model.image_size)
    for out, (box, mirrored) in zip(frames, boxes, strict=True):
        network_frames(snippets, box, mirrored, out)
    return {"frames": frames}


def read_snippets(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames, uint8 (K * F, H, W, 3), and quantised flow, uint8 (K, L, 2, H, W), of evenly spaced snippets.

    They are those that the video's record would have; only the frames that are looked at are converted.

    Raises:
        VideoError: see `predict_video`.
    """
    frames, fields = video_snippets(path, config, num_segments)
    return np.stack(frames), np.array(fields)


def _softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
