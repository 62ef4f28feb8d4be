"""Going on inside an epoch exactly as if nothing had happened: the state of a run, in one file, and the callback."""

import json
import pathlib
import time
import zipfile
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.training.callbacks import SynchroniseStatistics

_META = "__meta__"


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


def save_state(path: pathlib.Path, variables: Sequence[keras.Variable], meta: dict) -> None:
    """Writes variables, in an order that is the run's own, and `meta` (JSON-safe: epoch, history, best score)."""
    arrays = {_entry(number, variable): variable.numpy() for number, variable in enumerate(variables)}
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **{_META: np.array(json.dumps(meta))})


def load_state(path: pathlib.Path, variables: Sequence[keras.Variable]) -> dict:
    """Reads what `save_state` wrote into the variables, and returns `meta`.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            meta = json.loads(str(stored[_META]))
            arrays = [stored[name] for name in sorted(set(stored.files) - {_META})]
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it to start the training again.") from None
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise UserError(f"{path} is of another model: choose another --workdir.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return meta


def _entry(number, variable):
    # Numbered in the order of creation: Keras numbers paths anew in every process.
    return f"{number:04d} {variable.path}".replace("/", ".")


def _read(variable):
    return float(tf.convert_to_tensor(variable.value))  # over all replicas
