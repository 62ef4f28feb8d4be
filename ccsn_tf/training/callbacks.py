"""What Keras's callbacks cannot: going on inside an epoch exactly as if nothing had happened."""

from __future__ import annotations

import csv
import io
import pathlib
import time
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import ops

from ccsn_tf.files import whole_file, write_text
from ccsn_tf.training.checkpoints import load_state, save_state


class ResumableState(keras.callbacks.Callback):
    """Writes the whole state of a run to a file, at the end of each epoch and every few minutes, and goes on from it.

    The state is that of all weights, optimizer slots, dropout's random seeds and the epoch's means: a run that was
    killed ends with the weights of one that was not. `keras.callbacks.BackupAndRestore` begins the epoch again.

    A resumed epoch does not run its first steps again: its data begin with step `step`, and `fit` is told that the
    steps before are done.

    Args:
        path: checkpoints/last.npz of the work directory.
        whole: the model, of which `fit` may train the top alone: its frozen stages belong to the state.
        steps: steps per epoch.
        minutes: between two checkpoints inside an epoch. Several workers write at the end of an epoch only: they would
            have to agree on the moment.
        statistics: the run's callback, before this one.
        say: receives a line when a run goes on.

    Attributes:
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        rows: figures of the epochs that are done: `epoch`, from 1, `seconds`, `learning_rate` and what `fit` logs.
    """

    def __init__(
        self,
        path: pathlib.Path,
        whole: keras.Model,
        steps: int,
        minutes: float,
        statistics: SynchroniseStatistics,
        say: Callable,
    ):
        super().__init__()
        self._path, self._whole, self._steps, self._minutes, self._say = path, whole, steps, minutes, say
        self._statistics = statistics
        self.epoch, self.step, self.rows, self._seconds, self._restored = 0, 0, [], 0.0, {}

    def restore(self, trained: keras.Model) -> None:
        """Reads the file, if there is one, into the model and the optimizer of the part of it that is compiled."""
        if not self._path.is_file():
            return
        meta = load_state(self._path, self._variables(trained))
        self.epoch, self.step, self.rows, self._seconds = meta["epoch"], meta["step"], meta["rows"], meta["seconds"]
        self._restored = {name: (total, count) for name, (total, count) in meta["means"].items()}
        self._say(f"going on after epoch {self.epoch}, step {self.step}")

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = self._saved = time.monotonic()
        for metric in self._means():
            if metric.name in self._restored:
                total, count = self._restored[metric.name]
                metric.total.assign(total)
                metric.count.assign(count)
        if self.step:
            self._skip(self.step)
        self._restored = {}

    def _skip(self, steps):
        """Lets `fit` count the steps that are done, without data and without training."""
        run, model = self.model.train_function, self.model

        def count(iterator):
            nonlocal steps
            if not steps:
                model.train_function = run
                return run(iterator)
            steps -= 1
            return model.get_metrics_result()

        model.train_function = count

    def on_train_batch_end(self, batch, logs=None):
        if batch < self.step:
            return
        self.step = batch + 1
        alone = self.model.distribute_strategy.cluster_resolver is None
        if alone and self.step < self._steps and time.monotonic() - self._saved >= 60 * self._minutes:
            self._statistics.synchronise()
            self.write()
            self._saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self._seconds + time.monotonic() - self._begun
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        figures = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **figures})
        self.epoch, self.step, self._seconds = epoch + 1, 0, 0.0
        self._begun = time.monotonic()

    def _variables(self, trained):
        return [*self._whole.variables, *trained.optimizer.variables]

    def _means(self):
        return [metric for metric in self.model.metrics if isinstance(metric, keras.metrics.Mean)]

    def write(self) -> None:
        """Writes the file; after an epoch, when all other callbacks have done their part."""
        inside = time.monotonic() - self._begun if self.step else 0.0
        means = {metric.name: (_read(metric.total), _read(metric.count)) for metric in self._means() if self.step}
        meta = {"epoch": self.epoch, "step": self.step, "seconds": self._seconds + inside}
        save_state(self._path, self._variables(self.model), {**meta, "rows": self.rows, "means": means})


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


def _read(variable):
    return float(tf.convert_to_tensor(variable.value))  # over all replicas
