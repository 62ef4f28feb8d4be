"""How much a network sees in optical flow: a linear classifier on the frozen features of the temporal stream."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import ModelConfig
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.build import build_model

PENALTIES = 10.0 ** np.arange(0.0, 5.5, 0.5)
FOLDS = 4


def make_features(config: ModelConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """The temporal stream with its starting weights, as far as the stage where it is joined to the other by default.

    Deeper stages know more of ImageNet than of motion: with them every kind of flow did worse.

    Returns:
        A compiled function of flow, uint8 (N, S, S, 2L), to its features, float32 (N, D): the average over positions
        of every stage's map, one after the other.
    """
    model = build_model(config, ["any", "other"])
    backbone = build_backbone(config.backbone, config.image_size, 2 * config.flow_length)
    stages = list(backbone.stages)
    kept = stages[: stages.index(backbone.default_connect_at[-1]) + 1]

    @tf.function
    def features(flow):
        maps, pooled = model.get_layer("temporal_normalization")(flow[:, None]), []
        for stage in kept:
            maps = model.get_layer(f"temporal_{stage}")(maps, training=False)
            pooled.append(keras.ops.mean(maps, axis=tuple(range(1, len(maps.shape) - 1))))
        return tf.concat(pooled, axis=-1)

    return features


def probe(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """The share of test clips that a linear classifier names right.

    Ridge regression to the classes' indicators on standardised features. The penalty is the one of `PENALTIES` that
    does best on training groups held out in turn: the test clips have no say in it.

    Args:
        features: (N, V, D), of V views of a clip: each trains, and their mean is tested.
        labels: int (N,).
        groups: (N,), clips of one group are held out together.
        train, test: bool (N,).

    Returns:
        A fraction.
    """
    kinds = np.unique(groups[train])
    hits = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        held_out = train & np.isin(groups, kinds[fold::FOLDS])
        hits += _hits(features, labels, train & ~held_out, held_out, PENALTIES)
    best = PENALTIES[np.argmax(hits)]
    return float(_hits(features, labels, train, test, [best])[0] / np.count_nonzero(test))


def _hits(features, labels, fit, held_out, penalties):
    """Clips of `held_out` named right by a classifier fitted to those of `fit`, for each penalty."""
    views = features.shape[1]
    seen = features[fit].reshape(-1, features.shape[-1]).astype(np.float64)
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3  # a channel that is always off says nothing
    seen, asked = (seen - mean) / spread, (features[held_out].mean(axis=1) - mean) / spread
    targets = np.repeat(np.eye(labels.max() + 1)[labels[fit]], views, axis=0)
    targets -= targets.mean(axis=0)
    scales, axes = np.linalg.eigh(seen.T @ seen)
    aligned = axes.T @ (seen.T @ targets)
    scores = [asked @ (axes @ (aligned / (scales + penalty)[:, None])) for penalty in penalties]
    return np.array([np.count_nonzero(score.argmax(axis=1) == labels[held_out]) for score in scores])
