"""How a two-stream model learns under `tf.distribute`: the custom `train_step`. It alone here needs TensorFlow."""

import contextlib

import keras
import numpy as np
from keras import ops

from ccsn_tf.errors import UserError, at_least_0
from ccsn_tf.losses import JointLoss, positive_share

if keras.backend.backend() == "tensorflow":  # the network alone runs on every Keras backend
    import tensorflow as tf

LOGITS = {"spatial": "spatial_logits", "temporal": "temporal_logits", "fused": "logits"}
_TERMS = ("loss", "ce_spatial", "ce_temporal", "ce_fused", "intra", "inter", *LOGITS, "positives")
_BAD_LABELS = "labels outside the classes"


class TwoStreamModel(keras.Model):
    """A `keras.Model` with the five outputs of `CCSN`, trained by `JointLoss` in one backward pass.

    `compile`, `fit`, `evaluate`, `predict` and `save` are those of any Keras model. Labels are integers (B,). `metrics`
    given to `compile` see the labels and the fused logits. Reported, as means over the epoch: `loss`; its unweighted
    terms `ce_spatial`, `ce_temporal`, `ce_fused`, `intra` and `inter`; the accuracies `spatial`, `temporal` and
    `fused`; and `positives`, the share of clips with another clip of their class in the batch.

    In training, embeddings and labels are gathered over all replicas before they are ranked, so that the triplets are
    those of the global batch: a step on n replicas is the step of one replica on the whole batch, to rounding. In
    evaluation a replica ranks the clips of its own share.
    """

    clip_norm = 0.0

    def compile(self, optimizer="adamw", loss=None, metrics=None, clip_norm=0.0, **kwargs):
        """Configures the training; see `keras.Model.compile`.

        Args:
            optimizer: as in Keras.
            loss: `JointLoss`; None: with its defaults.
            metrics: list of Keras metrics of (labels, fused logits).
            clip_norm: float, at least 0: the gradient of the global batch is scaled down to this norm; 0 leaves it. (An
                optimizer's own clipping sees each replica's share of the gradient.)
            kwargs: the other arguments of Keras, less `loss_weights` and `weighted_metrics`.

        Raises:
            UserError: another loss, or arguments that it has no use for.
            ValueError: `clip_norm` below 0.
        """
        loss = JointLoss() if loss is None else loss
        if not isinstance(loss, JointLoss):
            raise UserError(f"`loss` must be a JointLoss, which has the weights of all terms. Received: {loss!r}")
        for name in ("loss_weights", "weighted_metrics"):
            if kwargs.get(name):
                raise UserError(f"`{name}` must be None: JointLoss has the weights, and no clip has one of its own.")
        clip_norm = at_least_0("clip_norm", clip_norm)
        # The loss is not handed on: Keras would apply it to each of the outputs by itself.
        super().compile(optimizer=optimizer, metrics=metrics, **kwargs)
        self.loss, self.clip_norm = loss, clip_norm
        *streams, features = (*self.get_layer("fused_logits").weights_of_inputs, None)[:3]
        loss.fusion_weights = None if features is None else tuple(streams)
        self._terms = [keras.metrics.Mean(name=name) for name in _TERMS]
        self._compiled_with = {"metrics": metrics, "clip_norm": clip_norm, **kwargs}
        # All variables are made here. Keras would make them inside the first step, where the functions that read
        # records may then wait for a thread that waits for them.
        self.optimizer.build(self.trainable_variables)
        if metrics:
            classes = self.get_layer("spatial_logits").units
            self._compile_metrics.build(keras.KerasTensor((None,), "int32"), keras.KerasTensor((None, classes)))

    def get_compile_config(self):
        if not self.compiled:
            return {}
        arguments = {"optimizer": self.optimizer, "loss": self.loss, **self._compiled_with}
        return keras.saving.serialize_keras_object(arguments)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self):
        own = getattr(self, "_terms", None) or []
        return [*own, *(metric for metric in super().metrics if metric.name != "loss" and metric not in own)]

    def train_step(self, data):
        """One step on a replica's share of the batch: (inputs, int labels (b,)); every replica has the same b."""
        inputs, labels = _unpack(data)
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        labels = self._checked(labels)
        with tf.GradientTape() as tape:
            outputs = self(inputs, training=True)
            loss, terms = self._objective(labels, outputs, *_gather(replica, outputs, labels))
            # Gradients are summed over replicas: each brings its share of the mean.
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        if self.clip_norm:
            gradients = self._clip(replica, gradients)
        self.optimizer.apply(gradients, variables)
        return self._report(labels, outputs, loss, terms)

    def test_step(self, data):
        """Loss, terms and accuracies of a replica's share of the batch, as `train_step` has them."""
        inputs, labels = _unpack(data)
        labels = self._checked(labels)
        outputs = self(inputs, training=False)
        return self._report(labels, outputs, *self._objective(labels, outputs, outputs, labels))

    def _objective(self, labels, outputs, everywhere, all_labels):
        """The joint loss, and its unweighted terms."""
        terms = self.loss.cross_entropies(labels, outputs)
        ranking = self.loss.ranking(all_labels, everywhere)
        loss = ops.mean(self.loss.weighted_cross_entropy(terms)) + self.loss.weighted_ranking(ranking)
        terms = {name: ops.mean(term) for name, term in terms.items()}
        return loss, {**terms, **ranking, "positives": positive_share(all_labels)}

    def _report(self, labels, outputs, loss, terms):
        """Adds a batch to the epoch's means, weighted by its clips, and returns all means."""
        hits = {name: _accuracy(labels, outputs[output]) for name, output in LOGITS.items()}
        values = {"loss": loss, **terms, **hits}
        count = ops.shape(labels)[0]
        for tracker in self._terms:
            tracker.update_state(values[tracker.name], sample_weight=count)
        return self.compute_metrics(None, labels, outputs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)

    def _checked(self, labels):
        if len(labels.shape) == 2 and labels.shape[1] == 1:
            labels = ops.squeeze(labels, axis=1)
        if len(labels.shape) != 1:
            raise UserError(f"`y` must have one class index per clip, shape (B,). Received: {tuple(labels.shape)}.")
        whole = ops.cast(labels, "int32")
        known = (
            (whole >= 0) & (whole < self.get_layer("spatial_logits").units) & (ops.cast(whole, labels.dtype) == labels)
        )
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(known), [_BAD_LABELS], summarize=1)]):
            return tf.identity(whole)

    def _clip(self, replica, gradients):
        """Clips the summed gradient, then divides it among the replicas, for the optimizer to sum again."""
        replicas = replica.num_replicas_in_sync
        if replicas > 1:
            gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        scale = self.optimizer.scale_loss(1.0)  # fp16: gradients carry the loss scale
        clipped, _ = tf.clip_by_global_norm(gradients, self.clip_norm * scale)
        return [gradient / replicas for gradient in clipped]

    def fit(self, x=None, y=None, *args, **kwargs):
        if isinstance(x, tf.data.Dataset):  # whose order is its own: Keras would warn of its own default
            kwargs.setdefault("shuffle", False)
        with _sentences(self):
            return super().fit(x, _numbers(y), *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        with _sentences(self):
            return super().evaluate(x, _numbers(y), *args, **kwargs)

    def _maybe_symbolic_build(self, *args, **kwargs):
        """`compile` has built everything. Keras would read a batch for it, and fails with several workers."""

    # Keras 3.15 fails in reducing the results of several workers' steps: every replica returns the same ones.

    def make_train_function(self, force=False):
        if not _several_workers(self):
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = self._local_results(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if not _several_workers(self):
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = self._local_results(self.test_step)
        return self.test_function

    def _local_results(self, step):
        strategy = self.distribute_strategy
        run = tf.function(lambda batch: strategy.run(step, args=(batch,)))

        def function(iterator):
            values = run(next(iterator))
            return {name: strategy.experimental_local_results(value)[0] for name, value in values.items()}

        return function


@contextlib.contextmanager
def _sentences(model):
    """Turns what TensorFlow says of wrong labels into one sentence."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if _BAD_LABELS not in str(error):
            raise
        classes = model.get_layer("spatial_logits").units
        raise UserError(
            f"`y` has labels that are none of the model's {classes} classes, the whole numbers 0 to {classes - 1}: "
            "correct them, or build the model for all classes."
        ) from None


def _numbers(labels):
    """Labels that Keras takes: lists as arrays. UserError for names."""
    if isinstance(labels, (list, tuple)):
        labels = np.asarray(labels)
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "biuf":
        raise UserError(
            f"`y` must be class indices, whole numbers (B,), and is of {labels.dtype}: pass "
            "[model.classes.index(name) for name in y] for names."
        )
    return labels


@keras.saving.register_keras_serializable("ccsn_tf")
class Dropout(keras.layers.Layer):
    """As `keras.layers.Dropout`, but every replica draws a mask of its own.

    Under `MirroredStrategy` replicas share the state of Keras's seeds, and so their masks.
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise UserError(f"`dropout` rates must be at least 0 and below 1. Received: {rate}.")
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed
        if rate > 0:
            self.seed_generator = _ReplicaSeeds(seed)

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        return keras.random.dropout(inputs, self.rate, self.noise_shape, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class _ReplicaSeeds(keras.random.SeedGenerator):
    def next(self, ordered=True):
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        context = tf.distribute.get_replica_context()
        number = 0 if context is None else context.replica_id_in_sync_group
        # Not the second, which counts the draws: a replica would draw the mask that its neighbour draws next.
        return seed + ops.convert_to_tensor([1, 0], seed.dtype) * ops.cast(number, seed.dtype)


def _several_workers(model):
    return isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _unpack(data):
    inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if labels is None:
        raise UserError("`y` is missing: the clips' class indices, (B,), or `x` as a dataset of (inputs, labels).")
    if weights is not None:
        raise UserError("`sample_weight` must be None: a triplet belongs to three clips, so it has no clip's weight.")
    return inputs, labels


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
