"""The joint training step under `tf.distribute`; the one file of the models that needs TensorFlow."""

from __future__ import annotations

import keras
from keras import ops

from ccsn_tf.losses import positive_share

if keras.backend.backend() == "tensorflow":  # the network alone runs on every Keras backend
    import tensorflow as tf


class JointTraining:
    """Gives a two-stream `keras.Model` its `train_step`: compile it with `loss=JointLoss(...)` and an optimizer.

    One backward pass through cross-entropies and ranking. Embeddings and labels are gathered over all replicas before
    they are ranked, so that the triplets are those of the global batch: a step on n replicas is the step that one
    replica would do on the whole batch, to rounding.

    Attributes:
        clip_norm: the gradient of the global batch is scaled down to this global norm; 0 leaves it. (The optimizer's
            own clipping would see each replica's share of the gradient.)
        upper: a function without arguments to the model's upper half (`CCSN.halves`), for batches of maps in place of
            images; None: the batches are images. (A function, because Keras would track the layers twice.)
    """

    clip_norm = 0.0
    upper = None

    def train_step(self, data):
        """One step on a replica's share of the batch.

        Args:
            data: (inputs, int labels (b,)), the inputs being the model's or its upper half's; every replica has the
                same b.

        Returns:
            float32 scalars of the global batch, equal on every replica: `loss`, its terms `ce_spatial`, `ce_temporal`,
            `ce_fused`, `intra`, `inter` (unweighted), the accuracies `spatial`, `temporal`, `fused`, and `positives`,
            the share of clips with another of their class in the batch.
        """
        inputs, labels = data
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        with tf.GradientTape() as tape:
            outputs = (self.upper() if self.upper else self)(inputs, training=True)
            terms = self.loss.cross_entropies(labels, outputs)
            everywhere, all_labels = _gather(replica, outputs, labels)
            ranking = self.loss.ranking(all_labels, everywhere)
            loss = ops.mean(self.loss.weighted_cross_entropy(terms)) + self.loss.weighted_ranking(ranking)
            # Gradients are summed over replicas: each brings its share of the mean.
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        if self.clip_norm:
            gradients = self._clip(replica, gradients)
        self.optimizer.apply(gradients, variables)

        accuracies = {
            "spatial": outputs["spatial_logits"],
            "temporal": outputs["temporal_logits"],
            "fused": outputs["logits"],
        }
        values = {"loss": loss, **{name: ops.mean(term) for name, term in terms.items()}, **ranking}
        values |= {name: _accuracy(labels, logits) for name, logits in accuracies.items()}
        values["positives"] = positive_share(all_labels)
        stacked = tf.stack([tf.cast(value, tf.float32) for value in values.values()])
        if replicas > 1:
            stacked = replica.all_reduce(tf.distribute.ReduceOp.MEAN, stacked)
        return dict(zip(values, tf.unstack(stacked), strict=True))

    def _clip(self, replica, gradients):
        """Clips the summed gradient, then divides it among the replicas, for the optimizer to sum again."""
        replicas = replica.num_replicas_in_sync
        if replicas > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        scale = self.optimizer.scale_loss(1.0)  # fp16: gradients carry the loss scale
        clipped, _ = tf.clip_by_global_norm(gradients, self.clip_norm * scale)
        return [gradient / replicas for gradient in clipped]


def _gather(replica, outputs, labels):
    """The embeddings and labels of all replicas, in replica order."""
    embeddings = {name: outputs[name] for name in ("spatial_embedding", "temporal_embedding")}
    if replica.num_replicas_in_sync == 1:
        return embeddings, labels
    # A tensor straight from the input iterator has no device that the collective could name: identity gives it one.
    return {name: replica.all_gather(tf.identity(value), axis=0) for name, value in embeddings.items()}, (
        replica.all_gather(tf.identity(labels), axis=0)
    )


def _accuracy(labels, logits):
    hits = ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int32"))
    return ops.mean(ops.cast(hits, "float32"))
