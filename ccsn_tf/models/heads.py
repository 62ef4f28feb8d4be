"""From the streams' last maps to the model's outputs: consensus over segments, classifiers, embeddings."""

import itertools

import keras
from keras import layers, ops

from ccsn_tf.models.inputs import UnfoldSegments
from ccsn_tf.models.train_step import Dropout

# Of the ordered subsets of one size, at most so many are looked at: all of them up to nine segments.
MOST_SUBSETS = 128


def consensus_of(maps, reference, stream, kind):
    """Global average over positions, then the mean over segments (TSN) or their relations (TRN): float32 (B, D)."""
    pooled = layers.GlobalAveragePooling2D(name=f"{stream}_pool", dtype="float32")(maps)
    segments = UnfoldSegments(name=f"{stream}_segments", dtype="float32")([pooled, reference])
    layer = TemporalRelation if kind == "trn" else layers.GlobalAveragePooling1D
    return layer(name=f"{stream}_consensus", dtype="float32")(segments)


def heads(features, num_classes, embedding_dim, dropouts, fusion_weights, fusion_features):
    """Classifiers and embeddings, in float32 whatever the compute dtype (METHOD, Heads)."""
    logits, embeddings, kept = {}, {}, {}
    for stream, feature in features.items():
        kept[stream] = Dropout(dropouts[stream], name=f"{stream}_dropout", dtype="float32")(feature)
        logits[stream] = _classifier(num_classes, f"{stream}_logits")(kept[stream])
        linear = layers.Dense(embedding_dim, use_bias=False, dtype="float32", name=f"{stream}_projection")
        unit = layers.UnitNormalization(dtype="float32", name=f"{stream}_embedding")
        embeddings[stream] = unit(linear(feature))
    terms, weights = list(logits.values()), list(fusion_weights)
    if fusion_features:
        both = layers.Concatenate(dtype="float32", name="both_features")(list(kept.values()))
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
    return layers.Dense(num_classes, kernel_initializer=start, dtype="float32", name=name)


@keras.saving.register_keras_serializable("ccsn_tf")
class WeightedSum(layers.Layer):
    """Sum of its inputs, each times its weight, of which there is one an input."""

    def __init__(self, weights, **kwargs):
        super().__init__(**kwargs)
        self.weights_of_inputs = tuple(weights)

    def call(self, inputs):
        return sum(weight * x for weight, x in zip(self.weights_of_inputs, inputs, strict=True))

    def get_config(self):
        return {**super().get_config(), "weights": self.weights_of_inputs}


def ordered_subsets(count: int, size: int, most: int = MOST_SUBSETS) -> list[tuple[int, ...]]:
    """The subsets of `size` out of segments 0 .. `count` - 1, each in order of time, in lexicographic order.

    Where there are more than `most`, these many, spread evenly over the list.
    """
    subsets = list(itertools.combinations(range(count), size))
    if len(subsets) <= most:
        return subsets
    return [subsets[int((i + 0.5) * len(subsets) / most)] for i in range(most)]


@keras.saving.register_keras_serializable("ccsn_tf")
class TemporalRelation(layers.Layer):
    """TRN: what the order of a clip's segments says (Zhou et al., Temporal Relational Reasoning, ECCV 2018).

    A linear layer brings each segment to `units` values, x_1 .. x_K. For each size s of 2 .. K,

        h_s = mean over ordered subsets i_1 < ... < i_s of  relu(W_s relu([x_i1; ...; x_is]) + b_s)

    and the result is h_2, ..., h_K, one after the other. A linear classifier on it is the sum of one classifier a size:
    TRN's. There, three subsets of a size are drawn at random in each pass, in tests too, and summed; here, all
    `ordered_subsets` count, so that a clip has one answer.

    Args:
        units: width of a segment's feature and of h_s; by default the paper's.

    Call arguments:
        segments: float (B, K, C), K fixed and at least 2, in order of time.

    Returns:
        (B, (K - 1) * units).

    Raises:
        ValueError: K is not known, or less than 2.
    """

    def __init__(self, units=256, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        count = shape[1]
        if count is None or count < 2:
            raise ValueError(f"Relations need a fixed number of segments, at least 2. Received: shape={tuple(shape)}.")
        self.subsets = {size: ordered_subsets(count, size) for size in range(2, count + 1)}
        self.feature = self._linear(shape[-1], "feature")
        self.relations = [self._linear(size * self.units, f"relation_{size}") for size in self.subsets]

    def _linear(self, inputs, name):
        layer = layers.Dense(self.units, dtype=self.dtype_policy, name=name)
        layer.build((None, inputs))
        return layer

    def call(self, segments):
        features = ops.relu(self.feature(segments))
        found = []
        for (size, subsets), relation in zip(self.subsets.items(), self.relations, strict=True):
            chosen = [index for subset in subsets for index in subset]
            tuples = ops.reshape(ops.take(features, chosen, axis=1), (-1, len(subsets), size * self.units))
            found.append(ops.mean(ops.relu(relation(tuples)), axis=1))
        return ops.concatenate(found, axis=-1)

    def compute_output_shape(self, shape):
        return (shape[0], (shape[1] - 1) * self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
