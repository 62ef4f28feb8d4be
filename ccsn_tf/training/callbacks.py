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

from ccsn_tf.files import write_text
from ccsn_tf.training.checkpoints import load_state, save_state
from ccsn_tf.training.strategy import is_chief


class ResumableState(keras.callbacks.Callback):
    """Writes the whole state of a run to a file, at the end of each epoch and every few minutes, and goes on from it.

    The state is that of all weights, optimizer slots, dropout's random seeds and the epoch's means: a run that was
    killed ends with the weights of one that was not. `keras.callbacks.BackupAndRestore` begins the epoch again.

    A resumed epoch does not run its first steps again: its data begin with step `step`, and `fit` is told that the
    steps before are done.

    Args:
        path: checkpoints/last.npz of the work directory.
        steps: steps per epoch.
        minutes: between two checkpoints inside an epoch. Several workers write at the end of an epoch only: they would
            have to agree on the moment.
        say: receives a line when a run goes on.

    Attributes:
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        rows: figures of the epochs that are done: `epoch`, from 1, `seconds`, `learning_rate` and what `fit` logs.
    """

    def __init__(self, path: pathlib.Path, steps: int, minutes: float, say: Callable[[str], None]):
        super().__init__()
        self._path, self._steps, self._minutes, self._say = path, steps, minutes, say
        self.epoch, self.step, self.rows, self._seconds, self._restored = 0, 0, [], 0.0, {}

    def restore(self, model: keras.Model) -> None:
        """Reads the file, if there is one, into the compiled model."""
        if not self._path.is_file():
            return
        meta = load_state(self._path, _variables(model))
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
            synchronise_statistics(self.model)
            self._write()
            self._saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self._seconds + time.monotonic() - self._begun
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        figures = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate, **figures})
        self.epoch, self.step, self._seconds = epoch + 1, 0, 0.0
        self._begun = time.monotonic()

    def write_epoch(self) -> None:
        """Writes the state after an epoch, when all other callbacks have done their part."""
        if is_chief(self.model.distribute_strategy):
            self._write()

    def _means(self):
        return [metric for metric in self.model.metrics if isinstance(metric, keras.metrics.Mean)]

    def _write(self):
        inside = time.monotonic() - self._begun if self.step else 0.0
        means = {metric.name: (_read(metric.total), _read(metric.count)) for metric in self._means() if self.step}
        meta = {"epoch": self.epoch, "step": self.step, "seconds": self._seconds + inside}
        save_state(self._path, _variables(self.model), {**meta, "rows": self.rows, "means": means})


class LastOfEpoch(keras.callbacks.Callback):
    """Calls functions at the end of each epoch; to be the last of the callbacks."""

    def __init__(self, *functions: Callable[[], None]):
        super().__init__()
        self._functions = functions

    def on_epoch_end(self, epoch, logs=None):
        for function in self._functions:
            function()


class SynchroniseStatistics(keras.callbacks.Callback):
    """Makes every replica's BatchNormalization statistics the mean over replicas before they are used or written.

    Each replica keeps running averages of its own; their updates are linear, so averaging them whenever they are read
    is the same as averaging them in every step.
    """

    def on_test_begin(self, logs=None):
        synchronise_statistics(self.model)

    def on_epoch_end(self, epoch, logs=None):
        synchronise_statistics(self.model)


def synchronise_statistics(model: keras.Model) -> None:
    """See `SynchroniseStatistics`."""
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return

    def average():
        replica = tf.distribute.get_replica_context()
        for variable in model.non_trainable_variables:
            if variable.dtype == "float32":  # not the random states of dropout
                variable.assign(replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable.value)))

    tf.function(lambda: strategy.run(average))()


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


def _variables(model: keras.Model) -> Sequence[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
