"""The test protocol: views of segments and crops of each clip, scored by the network and averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.models.train_step import LOGITS

EMBEDDINGS = ("spatial_embedding", "temporal_embedding")

# Images of each stream in one forward pass: bounds memory whatever the number of views.
_IMAGES_A_PASS = 48


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of N clips: `labels` int32 (N,), `logits` {"spatial", "temporal", "fused"}: (N, classes), `embeddings` (N, E)."""

    labels: np.ndarray
    logits: dict[str, np.ndarray]
    embeddings: dict[str, np.ndarray]


def make_forward(model: keras.Model) -> Callable:
    """The network as one compiled function of a batch of clips, without dropout."""
    return tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)


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


def protocol_in_words(segments: int, crops: int, average: str = "logits", test_on: str = "test") -> str:
    """The protocol as it is printed beside every figure."""
    held_out = "" if test_on == "test" else ", held-out training groups"
    views = {1: "centre crop", 3: "3 crops", 5: "5 crops", 10: "10 crops"}[crops]
    return f"{segments} segments x {views} a clip, {average} averaged, fused by the model{held_out}"
