"""From a video file to class scores, with flow computed only for the snippets that are looked at."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable

import cv2
import keras
import numpy as np

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.encode import refuse_few_frames
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.frame_folders import iter_flow
from ccsn_tf.data.frames import count_frames, iter_frames
from ccsn_tf.data.sampling import centre_starts, middle_frame
from ccsn_tf.data.transform import network_input
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
    frames, fields = read_snippets(path, config, config.eval.test_segments)
    views = [
        network_input(frames, fields, box, mirrored, config.model.image_size)
        for box, mirrored in view_boxes(*frames.shape[1:3], config.eval.test_crops)
    ]
    rgb, flow = (np.stack(parts) for parts in zip(*views, strict=True))
    outputs = average_views(score_views(forward, rgb, flow), len(views), config.eval.average)
    return {stream: _softmax(outputs[name][0]) for stream, name in LOGITS.items()}


def read_snippets(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames, uint8 (K, H, W, 3), and quantised flow, uint8 (K, L, 2, H, W), of evenly spaced snippets.

    They are those that the video's record would have; only the frames that are looked at are converted.

    Raises:
        VideoError: see `predict_video`.
    """
    snippets, middles, frames = read_frames(path, config, num_segments)
    fields = flow_of(path, snippets, frames, config.data)
    return (
        np.stack([frames[index] for index in middles.tolist()]),
        np.array([[fields[index].transpose(2, 0, 1) for index in snippet] for snippet in snippets.tolist()]),
    )


def read_frames(path: str, config: Config, num_segments: int) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """The frames of `read_snippets`, before there is any flow.

    Returns:
        int64 (K, L): the frames that the fields of each snippet leave; int64 (K,): its middle frame; {index: uint8 RGB
        (H, W, 3)} of all frames that are looked at.

    Raises:
        VideoError: see `predict_video`.
    """
    length, stride, num_frames = config.model.flow_length, config.data.flow_stride, count_frames(path)
    refuse_few_frames(path, num_frames, length, stride)
    starts = centre_starts((num_frames - 1) // stride, num_segments, length)
    snippets = stride * (starts[:, None] + np.arange(length))
    wanted = np.unique([snippets, snippets + 1]).tolist()
    frames = dict(zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True))
    return snippets, stride * middle_frame(starts, length), frames


def flow_of(path: str, snippets: np.ndarray, frames: dict[int, np.ndarray], data: DataConfig) -> dict[int, np.ndarray]:
    """The quantised fields, uint8 (H, W, 2), that leave the frames `snippets`; those of several are made once."""
    leaves = np.unique(snippets).tolist()
    if data.flow == "stored" and os.path.isdir(path):
        fields = iter_flow(path, data.short_side, leaves)
    else:
        fields = _computed(frames, leaves, data)
    return dict(zip(leaves, fields, strict=True))


def _computed(frames, leaves, data):
    """As many threads as OpenCV may use, which is one in processes that share the cores among them.

    OpenCV's own threads gain nothing on pictures of this size.
    """
    greys, threads = {index: grey_of(frame) for index, frame in frames.items()}, max(1, cv2.getNumThreads())

    def share(first):
        estimator = make_estimator(data)  # holds buffers: one a thread
        return [quantise(estimator(greys[at], greys[at + 1]), data.flow_bound) for at in leaves[first::threads]]

    fields = [None] * len(leaves)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for first, part in enumerate(pool.map(share, range(threads))):
            fields[first::threads] = part
    return fields


def _softmax(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))
