"""From a video file to class scores, with flow computed only for the snippets that are looked at."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.plan import view_boxes
from ccsn_tf.data.views import InputForm, frame_size
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
    views = video_views(path, config)
    crops = len(next(iter(views.values())))
    outputs = average_views(score_views(forward, views), crops, config.eval.average)
    return {stream: _softmax(outputs[name][0]) for stream, name in LOGITS.items()}


def video_views(path: str, config: Config) -> dict[str, np.ndarray]:
    """The network's inputs by name, uint8 (crops, K, ...): the test views of a video.

    Raises:
        VideoError: see `predict_video`.
    """
    form = InputForm(config.model)
    snippets = form.of_video(path, config, config.eval.test_segments)
    boxes = view_boxes(*frame_size(snippets), config.eval.test_crops)
    views = form.empty((len(boxes), config.eval.test_segments))
    for number, (box, mirrored) in enumerate(boxes):
        form.write(snippets, box, mirrored, {name: part[number] for name, part in views.items()})
    return views


def read_snippets(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames, uint8 (K * F, H, W, 3), and quantised flow, uint8 (K, L, 2, H, W), of evenly spaced snippets.

    They are those that the video's record would have; only the frames that are looked at are converted.

    Raises:
        VideoError: see `predict_video`.
    """
    snippets = InputForm(config.model).of_video(path, config, num_segments)
    return np.stack(snippets["rgb"]), np.array(snippets["flow"])


def _softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
