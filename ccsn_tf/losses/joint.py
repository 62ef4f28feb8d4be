"""The whole objective: cross-entropy on three predictions and the modality ranking terms (docs/METHOD.md, Losses)."""

import math

import keras
from keras import ops

from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import at_least_0, check_choice
from ccsn_tf.losses.mining import label_vector
from ccsn_tf.losses.ranking import ModalityRankingLoss

FUSED = ("own", "sum")


@keras.saving.register_keras_serializable("ccsn_tf")
class JointLoss(keras.losses.Loss):
    """Cross-entropy and ranking, jointly.

        L = w_s CE(spatial) + w_m CE(temporal) + w_f CE(fused) + lambda_intra * intra + lambda_inter * inter

    with `intra` and `inter` of `ModalityRankingLoss`. Everything is float32 whatever the model's compute dtype.

    Called, it gives the objective of a batch that is whole on one device. A train step on several replicas takes it
    apart: `cross_entropies` on the replica's own clips, `ranking` on embeddings and labels gathered from all replicas,
    so that triplets are those of the global batch, and the `weighted_...` methods to join the terms that it reports.
    `compile(loss=JointLoss())` is for `CCSN`, whose `train_step` calls it so; a plain Keras model would hand it one
    output at a time.

    Args:
        weight_spatial, weight_temporal, weight_fused: w_s, w_m and w_f, at least 0.
        lambda_intra, lambda_inter: weights of the terms within the streams and across them, at least 0.
        label_smoothing: in [0, 1), share of the target spread evenly over all classes (Szegedy et al. 2016).
        fused: "own" or "sum", what CE(fused) is of: the classifier on both features by itself, or the whole fused
            prediction, of which it is a part. In the sum it learns what the streams leave over, and is no prediction
            of its own to add to theirs. For a model without that classifier it is always the sum.
        distance, mining, margin, soft_margin, intra, temperature: see `ModalityRankingLoss`.
        name: the loss's name.

    Raises:
        ValueError: an argument that cannot be used.

    Example:
        loss = JointLoss(mining="semi_hard")
        value = loss(labels, model({"rgb": rgb, "flow": flow}))
    """

    def __init__(
        self,
        weight_spatial=1.0,
        weight_temporal=1.0,
        weight_fused=1.0,
        lambda_intra=0.5,
        lambda_inter=0.5,
        label_smoothing=0.0,
        fused="own",
        distance="euclidean",
        mining="batch_hard",
        margin=0.3,
        soft_margin=False,
        intra="ranking",
        temperature=0.0,
        name="joint_loss",
    ):
        self._ranking = ModalityRankingLoss(distance, mining, margin, soft_margin, intra, temperature)
        weights = {
            "weight_spatial": weight_spatial,
            "weight_temporal": weight_temporal,
            "weight_fused": weight_fused,
            "lambda_intra": lambda_intra,
            "lambda_inter": lambda_inter,
        }
        self._weights = {key: at_least_0(key, value) for key, value in weights.items()}
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"`label_smoothing` must be in [0, 1). Received: label_smoothing={label_smoothing}")
        check_choice("fused", fused, FUSED)
        self.label_smoothing, self.fused = float(label_smoothing), fused
        # Of the streams' logits in the model's fused ones; `CCSN.compile` sets them, None where there is nothing else.
        self.fusion_weights = (1.0, 1.0)
        super().__init__(name=name, dtype="float32")

    def cross_entropies(self, labels, outputs):
        """Softmax cross-entropy of each clip under each prediction.

        Args:
            labels: integer tensor (B,), values in 0..classes-1.
            outputs: the model's dict, with `spatial_logits`, `temporal_logits` and `logits`, each (B, classes).

        Returns:
            `{"ce_spatial": (B,), "ce_temporal": (B,), "ce_fused": (B,)}`, float32, at least 0, unweighted.
        """
        spatial, temporal, fused = (outputs[name] for name in ("spatial_logits", "temporal_logits", "logits"))
        if self.fused == "own" and self.fusion_weights:  # what the classifier on both features has added
            fused = fused - self.fusion_weights[0] * spatial - self.fusion_weights[1] * temporal
        logits = zip(PREDICTIONS, (spatial, temporal, fused), strict=True)
        return {f"ce_{name}": self._cross_entropy(labels, each) for name, each in logits}

    def ranking(self, labels, outputs):
        """The ranking terms; computed whatever their weights, because they are reported too.

        Args:
            labels: integer tensor (B,), of the global batch.
            outputs: dict with `spatial_embedding` and `temporal_embedding`, each (B, E), of the global batch.

        Returns:
            `{"intra": scalar, "inter": scalar}`, float32, at least 0, unweighted.
        """
        return self._ranking(outputs["spatial_embedding"], outputs["temporal_embedding"], labels)

    def weighted_cross_entropy(self, terms):
        """w_s CE(spatial) + w_m CE(temporal) + w_f CE(fused), of the shape that the terms have."""
        return sum(self._weights[f"weight_{stream}"] * terms[f"ce_{stream}"] for stream in PREDICTIONS)

    def weighted_ranking(self, terms):
        """lambda_intra * intra + lambda_inter * inter, a scalar."""
        return sum(self._weights[f"lambda_{term}"] * terms[term] for term in ("intra", "inter"))

    def ranking_at_rest(self) -> float:
        """The value of `intra` and `inter` where no positive is nearer than any negative; NaN where it is not known.

        Both are sums of two hinges, which rest at their margin: a well-known collapse of batch-hard triplets.
        """
        settings = self._ranking.get_config()
        if settings["temperature"] or settings["intra"] != "ranking":
            return math.nan
        return 2 * (math.log(2) if settings["soft_margin"] else settings["margin"])

    def call(self, labels, outputs):
        """The objective of a batch that is whole on one device, a float32 scalar."""
        cross_entropy = ops.mean(self.weighted_cross_entropy(self.cross_entropies(labels, outputs)))
        return cross_entropy + self.weighted_ranking(self.ranking(labels, outputs))

    def __call__(self, labels, outputs, sample_weight=None):
        """As `call`. Keras's own version would turn labels into floats, and multiply a scalar by sample weights.

        There are none to give: a triplet belongs to three clips.
        """
        if sample_weight is not None:
            raise ValueError("`JointLoss` takes no sample weights. Received: sample_weight which is not None")
        with keras.name_scope(self.name):
            return self.call(labels, outputs)

    def get_config(self):
        """Returns the arguments that make an equal loss."""
        own = {"label_smoothing": self.label_smoothing, "fused": self.fused, "name": self.name}
        return {**self._weights, **self._ranking.get_config(), **own}

    def _cross_entropy(self, labels, logits):
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        classes = log_probabilities.shape[-1]
        truth = ops.one_hot(ops.cast(label_vector("labels", labels), "int32"), classes, dtype="float32")
        target = (1.0 - self.label_smoothing) * truth + self.label_smoothing / classes
        return -ops.sum(target * log_probabilities, axis=-1)
