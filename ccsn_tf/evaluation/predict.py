"""Scores of videos and of recorded clips: views of segments and crops, run through the network and averaged."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.data.sampling import view_boxes
from ccsn_tf.data.views import InputForm, frame_size
from ccsn_tf.evaluation.metrics import Scores, softmax
from ccsn_tf.models.train_step import LOGITS

EMBEDDINGS = ("spatial_embedding", "temporal_embedding")

# Images of each stream in one forward pass: bounds memory whatever the number of views.
_IMAGES_A_PASS = 48


def make_forward(model: keras.Model) -> Callable:
    """The network as one compiled function of a batch of clips, without dropout."""
    return tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)


def predict_video(path: str, forward: Callable, config: Config) -> dict[str, np.ndarray]:
    """Class probabilities of one video; flow is computed only for the snippets that are looked at.

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
    return {stream: softmax(outputs[name][0]) for stream, name in LOGITS.items()}


def video_views(path: str, config: Config) -> dict[str, np.ndarray]:
    """The network's inputs by name, uint8 (crops, K, ...): the test views of a video; raises as `predict_video`."""
    form = InputForm(config.model)
    snippets = form.of_video(path, config, config.eval.test_segments)
    boxes = view_boxes(*frame_size(snippets), config.eval.test_crops)
    views = form.empty((len(boxes), config.eval.test_segments))
    for number, (box, mirrored) in enumerate(boxes):
        form.write(snippets, box, mirrored, {name: part[number] for name, part in views.items()})
    return views


def score_views(forward: Callable, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the network for inputs (V, K, ...), in passes of bounded size."""
    views, segments = next(iter(inputs.values())).shape[:2]
    count = max(1, _IMAGES_A_PASS // segments)
    passes = [
        forward({name: values[start : start + count] for name, values in inputs.items()})
        for start in range(0, views, count)
    ]
    return {name: np.concatenate([np.asarray(outputs[name]) for outputs in passes]) for name in passes[0]}


def average_views(outputs: dict[str, np.ndarray], crops: int, average: str = "logits") -> dict[str, np.ndarray]:
    """Means over the crops of each clip; embeddings are brought back to unit length.

    Args:
        outputs: of the network, (clips * crops, ...) each.
        crops: of a clip.
        average: "logits", as they are (TSN), or "probabilities", whose mean is returned as its logarithm.
    """
    if average == "probabilities":
        outputs = {name: softmax(v) if name in LOGITS.values() else v for name, v in outputs.items()}
    means = {name: values.reshape(-1, crops, values.shape[-1]).mean(axis=1) for name, values in outputs.items()}
    if average == "probabilities":
        means |= {name: np.log(np.maximum(means[name], np.finfo(np.float32).tiny)) for name in LOGITS.values()}
    for name in EMBEDDINGS:
        means[name] = means[name] / np.maximum(np.linalg.norm(means[name], axis=1, keepdims=True), 1e-12)
    return means


def score_clips(
    forward: Callable,
    views: tf.data.Dataset,
    num_clips: int,
    num_segments: int,
    num_crops: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    average: str = "logits",
) -> Scores:
    """Scores clips by the protocol of `num_segments` x `num_crops` views.

    The crops of a clip are clips of their own to the network, which averages over segments itself (consensus).

    Args:
        forward: from `make_forward`, or another function of such a batch with such outputs.
        views: of each clip, from `pipeline.evaluation_views`; results keep their order.
        num_clips: number of them.
        num_segments, num_crops: of the views.
        progress: called with (clips done, clips in all).
        average: see `average_views`.
    """
    together = max(1, _IMAGES_A_PASS // (num_segments * num_crops))
    parts, labels = [], []
    for batch in views.batch(together):
        labels.extend(batch.pop("label").numpy())
        inputs = {name: tf.reshape(values, [-1, *values.shape[2:]]) for name, values in batch.items()}
        parts.append(average_views(score_views(forward, inputs), num_crops, average))
        progress(len(labels), num_clips)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Scores(
        np.array(labels),
        {stream: joined[name] for stream, name in LOGITS.items()},
        {name.removesuffix("_embedding"): joined[name] for name in EMBEDDINGS},
    )
