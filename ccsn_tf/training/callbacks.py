"""Callbacks that Keras does not have: statistics of replicas, the best weights of an averaged run, history.csv."""

import csv
import io
import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from ccsn_tf.files import whole_file, write_text


class SynchroniseStatistics(keras.callbacks.Callback):
    """Makes every replica's BatchNormalization statistics the mean over replicas before they are used or written.

    Each replica keeps running averages of its own; their updates are linear, so averaging them whenever they are read
    is the same as averaging them in every step.
    """

    def set_model(self, model):
        super().set_model(model)
        self._average = tf.function(lambda: model.distribute_strategy.run(_average_statistics, args=(model,)))

    def on_test_begin(self, logs=None):
        self.synchronise()

    def on_epoch_end(self, epoch, logs=None):
        self.synchronise()

    def synchronise(self) -> None:
        """Does it now."""
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            self._average()


def _average_statistics(model):
    replica = tf.distribute.get_replica_context()
    for variable in model.non_trainable_variables:
        if variable.dtype == "float32":  # not the random states of dropout
            variable.assign(replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable.value)))


class BestWeights(keras.callbacks.Callback):
    """Writes the weights that have the highest fused validation top-1, whole or not at all.

    `keras.callbacks.ModelCheckpoint` writes when the epoch ends: with `SwapEMAWeights` the weights are then no longer
    the averaged ones that were validated. This one is to stand before that callback.

    Args:
        path: of the .weights.h5 file.
        whole: the model to write, of which `fit` may train the top alone.
        best: the highest so far, of an earlier part of the run.
    """

    def __init__(self, path: pathlib.Path, whole: keras.Model, best: float):
        super().__init__()
        self._path, self._whole, self._best = path, whole, best

    def on_test_end(self, logs=None):
        if logs["fused"] > self._best:
            self._best = logs["fused"]
            with whole_file(self._path) as beside:
                self._whole.save_weights(beside)


def write_rows(path: pathlib.Path, rows: Sequence[dict]) -> None:
    """Writes history.csv whole. (`CSVLogger` appends: a killed run leaves rows twice, or columns in two orders.)"""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_text(path, text.getvalue())
