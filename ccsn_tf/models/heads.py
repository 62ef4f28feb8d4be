"""From the streams' last maps to the model's outputs."""

from __future__ import annotations

import keras

from ccsn_tf.models.layers import UnfoldSegments, WeightedSum
from ccsn_tf.models.temporal_relation import TemporalRelation
from ccsn_tf.models.train_step import Dropout


def consensus_of(maps, reference, stream, kind):
    """Global average over positions, then the mean over segments (TSN) or their relations (TRN): float32 (B, D)."""
    pooled = keras.layers.GlobalAveragePooling2D(name=f"{stream}_pool", dtype="float32")(maps)
    segments = UnfoldSegments(name=f"{stream}_segments", dtype="float32")([pooled, reference])
    layer = TemporalRelation if kind == "trn" else keras.layers.GlobalAveragePooling1D
    return layer(name=f"{stream}_consensus", dtype="float32")(segments)


def heads(features, num_classes, embedding_dim, dropouts, fusion_weights, fusion_features):
    """Classifiers and embeddings, in float32 whatever the compute dtype (METHOD, Heads)."""
    logits, embeddings, kept = {}, {}, {}
    for stream, feature in features.items():
        kept[stream] = Dropout(dropouts[stream], name=f"{stream}_dropout", dtype="float32")(feature)
        logits[stream] = _classifier(num_classes, f"{stream}_logits")(kept[stream])
        linear = keras.layers.Dense(embedding_dim, use_bias=False, dtype="float32", name=f"{stream}_projection")
        unit = keras.layers.UnitNormalization(dtype="float32", name=f"{stream}_embedding")
        embeddings[stream] = unit(linear(feature))
    terms, weights = [logits["spatial"], logits["temporal"]], list(fusion_weights)
    if fusion_features:
        both = keras.layers.Concatenate(dtype="float32", name="both_features")([kept["spatial"], kept["temporal"]])
        terms.append(_classifier(num_classes, "feature_logits")(both))
        weights.append(1.0)
    return {
        "logits": WeightedSum(weights, dtype="float32", name="fused_logits")(terms),
        **{f"{stream}_logits": logits[stream] for stream in features},
        **{f"{stream}_embedding": embeddings[stream] for stream in features},
    }


def _classifier(num_classes, name):
    # A small start: the first predictions are even, and the backbone is not shaken by random gradients (TSN: 0.001).
    start = keras.initializers.RandomNormal(stddev=0.001)
    return keras.layers.Dense(num_classes, kernel_initializer=start, dtype="float32", name=name)
